//! What a shim does with its process's output: cut into lines and given to the container's log driver,
//! and to the cache that `docker logs` reads where the driver cannot be read back.
//!
//! ```text
//!              ┌─ files, blocking ─────────────────────▶ FileLog
//!  chunk ─▶ Lines ─ servers, or non-blocking ─▶ Queue ─▶ thread ─▶ Driver
//!              └─ cache ───────────────────────────────▶ FileLog
//! ```
//!
//! The thread begins after the process has been created: libcontainer must run alone. A full queue makes
//! the shim stop reading (blocking) or loses lines (non-blocking); it never keeps the shim from answering.

mod connection;
mod file;
mod fluentd;
mod gelf;
mod journald;
mod json;
mod lines;
mod local;
mod queue;
mod syslog;

use engine::ports::{Delivery, LogPlan, LogSink};
use file::FileLog;
use jiff::Timestamp;
use lines::Lines;
use queue::Queue;
use std::{
    borrow::Cow,
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

/// How long a driver may take to deliver the rest after the end, as dockerd waits.
const CLOSE: Duration = Duration::from_secs(10);

/// Which stream output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line of output, or a piece of one that is too long, without its newline.
#[derive(Clone, Debug)]
struct Entry<'a> {
    source: Source,
    time: Timestamp,
    text: Cow<'a, [u8]>,
    partial: Option<Partial>,
}

/// Which piece of which line it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partial {
    id: String,
    /// From 1.
    ordinal: u32,
    last: bool,
}

impl Entry<'_> {
    fn ends_line(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.last)
    }

    fn into_owned(self) -> Entry<'static> {
        Entry { text: Cow::Owned(self.text.into_owned()), ..self }
    }
}

/// Where entries go. Used by one thread; may block.
trait Driver: Send {
    /// Takes an entry. An error means that it is lost; the next one is tried all the same.
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()>;

    /// Called when there are no more entries for now.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of one container.
#[derive(Debug)]
pub(super) struct Log {
    stdout: Lines,
    stderr: Lines,
    cache: Option<FileLog>,
    sink: Sink,
}

enum Sink {
    None,
    Direct(FileLog),
    /// Connected, but its thread has not begun.
    Prepared(Box<dyn Driver>, Delivery, bool),
    Queued {
        queue: Queue,
        /// It must be complete before the end is announced.
        is_file: bool,
    },
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Direct(_) => "Direct",
            Self::Prepared(..) => "Prepared",
            Self::Queued { .. } => "Queued",
        })
    }
}

impl Log {
    /// Opens files and connections; `None` when nothing is to be logged.
    pub(super) fn open(plan: &LogPlan) -> io::Result<Option<Self>> {
        let Some(sink) = &plan.sink else { return Ok(None) };
        let mut delivery = plan.delivery;
        let driver: Box<dyn Driver> = match sink {
            LogSink::File(file) => {
                let file = FileLog::open(file)?;
                if delivery == Delivery::Blocking {
                    return Self::with(plan, Sink::Direct(file)).map(Some);
                }
                Box::new(file)
            }
            LogSink::Syslog(sink) => Box::new(syslog::Syslog::open(sink)?),
            LogSink::Gelf(sink) => Box::new(gelf::Gelf::open(sink)?),
            LogSink::Fluentd(sink) => {
                if sink.asynchronous && delivery == Delivery::Blocking {
                    delivery = Delivery::NonBlocking { buffer: sink.buffer };
                }
                Box::new(fluentd::Fluentd::open(sink)?)
            }
            LogSink::Journald { fields } => Box::new(journald::Journald::open(fields)?),
        };
        let is_file = matches!(sink, LogSink::File(_));
        Self::with(plan, Sink::Prepared(driver, delivery, is_file)).map(Some)
    }

    fn with(plan: &LogPlan, sink: Sink) -> io::Result<Self> {
        let cache = plan.cache.as_ref().map(FileLog::open).transpose()?;
        Ok(Self { stdout: Lines::default(), stderr: Lines::default(), cache, sink })
    }

    /// Starts the driver's thread, if it has one. To be called once, when the process has been created.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.sink = match std::mem::replace(&mut self.sink, Sink::None) {
            Sink::Prepared(driver, delivery, is_file) => {
                Sink::Queued { queue: Queue::start(driver, delivery)?, is_file }
            }
            other => other,
        };
        Ok(())
    }

    /// Logs what has just been read.
    pub(super) fn write(&mut self, source: Source, chunk: &[u8]) -> io::Result<()> {
        let Self { stdout, stderr, cache, sink } = self;
        let lines = match source {
            Source::Stdout => stdout,
            Source::Stderr => stderr,
        };
        let mut outcome = Ok(());
        lines.cut(source, Timestamp::now(), chunk, |entry| {
            let taken = give(cache.as_mut(), sink, entry);
            if outcome.is_ok() {
                outcome = taken;
            }
        });
        outcome.and(self.flush())
    }

    /// The stream has ended: an unfinished line is logged as one.
    pub(super) fn finish(&mut self, source: Source) -> io::Result<()> {
        let lines = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        match lines.rest(source, Timestamp::now()) {
            Some(entry) => give(self.cache.as_mut(), &mut self.sink, entry).and(self.flush()),
            None => Ok(()),
        }
    }

    /// No more output may be read for now.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.sink, Sink::Queued { queue, .. } if queue.is_full())
    }

    /// Readable when there is room again.
    pub(super) fn room(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Sink::Queued { queue, .. } => Some(queue.room()),
            _ => None,
        }
    }

    /// To be called when [`Log::room`] is readable.
    pub(super) fn has_room(&self) {
        if let Sink::Queued { queue, .. } = &self.sink {
            queue.has_room();
        }
    }

    /// The process has ended: what `docker logs` reads is complete when this returns.
    pub(super) fn settle(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.settle();
        }
        match &mut self.sink {
            Sink::Direct(file) => file.settle(),
            Sink::Queued { queue, is_file: true } => {
                queue.close(Instant::now() + CLOSE);
            }
            _ => {}
        }
    }

    /// Waits until a server has the rest, but not for ever.
    pub(super) fn close(&mut self) {
        if let Sink::Queued { queue, .. } = &self.sink {
            queue.close(Instant::now() + CLOSE);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let cached = self.cache.as_mut().map_or(Ok(()), FileLog::flush);
        match &mut self.sink {
            Sink::Direct(file) => file.flush().and(cached),
            _ => cached,
        }
    }
}

fn give(cache: Option<&mut FileLog>, sink: &mut Sink, entry: Entry<'_>) -> io::Result<()> {
    let cached = cache.map_or(Ok(()), |cache| cache.log(&entry));
    match sink {
        Sink::None | Sink::Prepared(..) => cached,
        Sink::Direct(file) => file.log(&entry).and(cached),
        Sink::Queued { queue, .. } => {
            queue.push(entry);
            cached
        }
    }
}
