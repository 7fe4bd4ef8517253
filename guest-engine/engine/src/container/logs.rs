//! `docker logs`: reads what the shim wrote, from any point on, and follows while it is still written.
//!
//! The shim appends to a log and rotates it by renaming. A reader holds its files open, so a rotation
//! takes nothing away from it. Memory is bounded by one block, one message and a few batches of frames.

pub mod driver;
mod format;
mod segments;

use super::{Containers, record::Observed, state::Status};
use crate::{
    error::{EngineError, Result},
    ports::{LogFile, OutputFrame, StreamKind},
};
use format::{Decoded, Message, decode};
use futures_util::{StreamExt, stream, stream::BoxStream};
use jiff::Timestamp;
use segments::Segment;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::{mpsc, watch},
};

/// How many batches may wait for a slow client before reading pauses.
const AHEAD: usize = 4;
/// How many bytes of output make a batch, at least.
const BATCH: usize = 64 * 1024;
const BLOCK: usize = 256 * 1024;
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
    /// Each line behind the container's attributes.
    pub details: bool,
    /// Go on until the container ends.
    pub follow: bool,
}

/// A log being read.
pub struct LogStream {
    /// The process has a terminal: frames go out raw.
    pub terminal: bool,
    /// In batches of what is there.
    pub frames: BoxStream<'static, io::Result<Vec<OutputFrame>>>,
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
        let log = driver::readable(&record, &self.shared.folder(&handle.id)).ok_or_else(|| {
            EngineError::not_implemented("configured logging driver does not support reading")
        })?;
        let tail = query.tail;
        let opened = log.clone();
        let segments = tokio::task::spawn_blocking(move || segments::open(&opened, tail))
            .await
            .map_err(|e| EngineError::system("Log reader ended early").because(e))?
            .map_err(|e| EngineError::system("Could not read the container's log").because(e))?;
        let (frames, receiver) = mpsc::channel(AHEAD);
        let reader = Reader { log, query, frames, rest: Vec::new(), batch: Vec::new(), batched: 0 };
        tokio::spawn(reader.run(segments, handle.observed));
        let frames = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        Ok(LogStream { terminal: record.terminal(), frames: frames.boxed() })
    }
}

/// Reads the segments in order and hands frames on; ends when the client goes away.
struct Reader {
    log: LogFile,
    query: LogQuery,
    frames: mpsc::Sender<io::Result<Vec<OutputFrame>>>,
    /// A message whose end has not been read yet.
    rest: Vec<u8>,
    batch: Vec<OutputFrame>,
    /// Bytes of output in it.
    batched: usize,
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
        } else {
            drop(self.flush().await);
        }
    }

    async fn read_all(
        &mut self,
        segments: Vec<Segment>,
        mut observed: watch::Receiver<Observed>,
    ) -> Result<(), Stop> {
        let mut current = None;
        for segment in segments {
            current = Some(self.read_segment(segment).await?);
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
            let known = current.as_ref().map(|(_, identity)| identity.clone());
            let newer = self.newer(known).await?;
            if !newer.is_empty() {
                // What was written between our last read and the rotation.
                if let Some((file, _)) = &mut current {
                    self.read_to_end(file).await?;
                }
                for segment in newer {
                    current = Some(self.read_segment(segment).await?);
                }
                continue;
            }
            self.flush().await?;
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

    async fn newer(&self, known: Option<String>) -> io::Result<Vec<Segment>> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || segments::newer(&log, known.as_deref()))
            .await
            .map_err(io::Error::other)?
    }

    /// Reads a file from where it is to begin; gives it back with its identity, for it may grow.
    async fn read_segment(&mut self, segment: Segment) -> Result<(tokio::fs::File, String), Stop> {
        // What the last file ended with will never be whole.
        self.rest.clear();
        let mut file = tokio::fs::File::from_std(segment.file);
        file.seek(io::SeekFrom::Start(segment.offset)).await?;
        self.read_to_end(&mut file).await?;
        Ok((file, segment.identity))
    }

    async fn read_to_end(&mut self, file: &mut tokio::fs::File) -> Result<(), Stop> {
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read(&mut block).await?;
            if read == 0 {
                return Ok(());
            }
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(block.get(..read).unwrap_or_default());
            let mut at = 0;
            loop {
                match decode(&self.log.format, bytes.get(at..).unwrap_or_default()) {
                    Decoded::Message(message, length) => {
                        at += length;
                        let frame = pass(&self.query, message)?;
                        self.add(frame).await?;
                    }
                    Decoded::Damage(length) => at += length.max(1),
                    Decoded::Incomplete => break,
                }
            }
            bytes.drain(..at.min(bytes.len()));
            self.rest = bytes;
        }
    }

    async fn add(&mut self, frame: Option<OutputFrame>) -> Result<(), Stop> {
        let Some(frame) = frame else { return Ok(()) };
        self.batched += frame.data.len();
        self.batch.push(frame);
        if self.batched < BATCH { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        self.frames.send(Ok(batch)).await.map_err(|_| Stop::Done)
    }
}

/// The frame of a message that the client wants to see.
fn pass(query: &LogQuery, message: Message<'_>) -> Result<Option<OutputFrame>, Stop> {
    if query.since.is_some() || query.until.is_some() {
        let Some(time) = message.time() else { return Ok(None) };
        if query.until.is_some_and(|until| time > until) {
            return Err(Stop::Done);
        }
        if query.since.is_some_and(|since| time < since) {
            return Ok(None);
        }
    }
    let wanted = match message.stream {
        StreamKind::Stdout => query.stdout,
        StreamKind::Stderr => query.stderr,
    };
    Ok(wanted.then(|| message.into_frame(query.timestamps, query.details)))
}
