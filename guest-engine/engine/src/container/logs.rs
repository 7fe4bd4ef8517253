//! `docker logs`: reads what the shim wrote, from any point on, and follows while it is still written.
//!
//! The shim appends to a `json-file` log and rotates it by renaming. A reader holds its files open, so a
//! rotation takes nothing away from it. Memory is bounded by one block, one line and a few frames.

mod line;
mod segments;
pub(crate) mod sink;

use super::{Containers, record::Observed, state::Status};
use crate::{
    error::{EngineError, Result},
    ports::{OutputFrame, OutputStream, StreamKind},
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use line::Line;
use segments::Segment;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::{mpsc, watch},
};

/// How many frames may wait for a slow client before reading pauses.
const AHEAD: usize = 64;
const BLOCK: usize = 64 * 1024;
/// A longer line is damage, not output: the shim splits at 16 KiB.
const LONGEST_LINE: usize = 4 << 20;
/// How often a followed file is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// What a client wants to read.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    pub stdout: bool,
    pub stderr: bool,
    /// Only the last so many lines; `None` is all.
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Each line behind its time.
    pub timestamps: bool,
    /// Go on until the container ends.
    pub follow: bool,
}

/// A log being read.
pub struct LogStream {
    /// The process has a terminal: frames go out raw.
    pub terminal: bool,
    pub frames: OutputStream,
}

impl std::fmt::Debug for LogStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStream").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Containers {
    /// Reads a container's log, also after its end.
    pub async fn logs(&self, key: &str, query: LogQuery) -> Result<LogStream> {
        if !query.stdout && !query.stderr {
            return Err(EngineError::invalid("Bad parameters: you must choose at least one stream"));
        }
        let handle = self.shared.index.find(key)?;
        let record = handle.record();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            return Err(EngineError::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
        if record.host.log_config.as_ref().and_then(|log| log.typ.as_deref()) == Some("none") {
            return Err(EngineError::not_implemented("configured logging driver does not support reading"));
        }
        let path = self.inspect(&handle.id)?.log_path();
        let tail = query.tail;
        let opened = path.clone();
        let segments = tokio::task::spawn_blocking(move || segments::open(&opened, tail))
            .await
            .map_err(|e| EngineError::system("Log reader ended early").because(e))?
            .map_err(|e| EngineError::system("Could not read the container's log").because(e))?;
        let (frames, receiver) = mpsc::channel(AHEAD);
        let reader = Reader { path, query, frames, rest: Vec::new() };
        tokio::spawn(reader.run(segments, handle.observed));
        let frames = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        Ok(LogStream { terminal: record.terminal(), frames: frames.boxed() })
    }
}

/// Reads the segments in order and hands frames on; ends when the client goes away.
struct Reader {
    path: PathBuf,
    query: LogQuery,
    frames: mpsc::Sender<io::Result<OutputFrame>>,
    /// A line whose end has not been read yet.
    rest: Vec<u8>,
}

/// Why reading stops.
enum Stop {
    /// The client left, or `until` is reached.
    Done,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    async fn run(mut self, segments: Vec<Segment>, observed: watch::Receiver<Observed>) {
        if let Err(Stop::Failed(error)) = self.read_all(segments, observed).await {
            // Told to the client if it is still there.
            drop(self.frames.send(Err(error)).await);
        }
    }

    async fn read_all(
        &mut self,
        segments: Vec<Segment>,
        mut observed: watch::Receiver<Observed>,
    ) -> Result<(), Stop> {
        let mut current = None;
        for segment in segments {
            let (file, inode) = positioned(segment).await?;
            let (file, _) = current.insert((file, inode));
            self.read_to_end(file).await?;
        }
        while self.query.follow {
            // First whether it still runs, then what it wrote: its last words come before its end.
            let ended = {
                let now = observed.borrow_and_update();
                now.removed || !now.record.state.status.counts_as_running()
            };
            if let Some((file, _)) = &mut current {
                self.read_to_end(file).await?;
            }
            let known = current.as_ref().map(|(_, inode)| *inode);
            if let Some(segment) = reopened(&self.path, known).await? {
                // What was written between our last read and the rotation.
                if let Some((file, _)) = &mut current {
                    self.read_to_end(file).await?;
                }
                current = Some(positioned(segment).await?);
                continue;
            }
            if ended {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                // Its owner is gone: look once more, then end.
                changed = observed.changed() => if changed.is_err() { self.query.follow = false },
                () = self.frames.closed() => return Err(Stop::Done),
            }
        }
        Ok(())
    }

    async fn read_to_end(&mut self, file: &mut tokio::fs::File) -> Result<(), Stop> {
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read(&mut block).await?;
            if read == 0 {
                return Ok(());
            }
            let mut bytes = block.get(..read).unwrap_or_default();
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let (line, more) = bytes.split_at(end + 1);
                bytes = more;
                if self.rest.is_empty() {
                    self.pass(line).await?;
                } else {
                    self.rest.extend_from_slice(line);
                    let line = std::mem::take(&mut self.rest);
                    self.pass(&line).await?;
                }
            }
            self.rest.extend_from_slice(bytes);
            if self.rest.len() > LONGEST_LINE {
                self.rest.clear();
            }
        }
    }

    async fn pass(&self, line: &[u8]) -> Result<(), Stop> {
        let Some(line) = Line::parse(line) else { return Ok(()) };
        if self.query.until.is_some_and(|until| line.time > until) {
            return Err(Stop::Done);
        }
        let wanted = match line.stream {
            StreamKind::Stdout => self.query.stdout,
            StreamKind::Stderr => self.query.stderr,
        };
        if !wanted || self.query.since.is_some_and(|since| line.time < since) {
            return Ok(());
        }
        self.frames.send(Ok(line.into_frame(self.query.timestamps))).await.map_err(|_| Stop::Done)
    }
}

async fn positioned(segment: Segment) -> io::Result<(tokio::fs::File, u64)> {
    let mut file = tokio::fs::File::from_std(segment.file);
    if segment.offset > 0 {
        file.seek(io::SeekFrom::Start(segment.offset)).await?;
    }
    Ok((file, segment.inode))
}

async fn reopened(path: &Path, known: Option<u64>) -> io::Result<Option<Segment>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || segments::reopen(&path, known)).await.map_err(io::Error::other)?
}
