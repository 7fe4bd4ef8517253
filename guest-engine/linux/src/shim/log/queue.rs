//! The thread that carries entries to a driver which may block, and the bounded queue in front of it.

use super::{Driver, Entry};
use engine::ports::Delivery;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

/// How much may wait for a driver in blocking mode before the process does.
const BLOCKING: u64 = 1024 * 1024;

/// Entries on their way.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    limit: u64,
    blocking: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Says that a full queue is not full any more.
    room: EventFd,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry<'static>>,
    bytes: u64,
    /// No more entries will come.
    closed: bool,
    /// The driver has everything it will get.
    done: bool,
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(driver: Box<dyn Driver>, delivery: Delivery) -> io::Result<Self> {
        let room = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let shared = Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), room });
        let (limit, blocking) = match delivery {
            Delivery::Blocking => (BLOCKING, true),
            Delivery::NonBlocking { buffer } => (buffer, false),
        };
        let worker = shared.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || worker.deliver(driver))?;
        Ok(Self { shared, limit, blocking })
    }

    /// Adds an entry, or loses it when there is no room and nobody may wait.
    pub(super) fn push(&self, entry: Entry<'_>) {
        let mut waiting = self.shared.lock();
        let size = entry.text.len() as u64;
        // A line that is longer than the whole buffer goes through an empty one, as under dockerd.
        if !self.blocking && waiting.bytes > 0 && waiting.bytes + size > self.limit {
            return;
        }
        waiting.bytes += size.max(1);
        waiting.entries.push_back(entry.into_owned());
        drop(waiting);
        self.shared.changed.notify_all();
    }

    /// The process has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.blocking && self.shared.lock().bytes >= self.limit
    }

    /// Readable when a full queue has room again.
    pub(super) fn room(&self) -> BorrowedFd<'_> {
        self.shared.room.as_fd()
    }

    /// To be called when [`Queue::room`] is readable.
    pub(super) fn has_room(&self) {
        // Empty already is no error.
        let _count = self.shared.room.read();
    }

    /// Waits until the driver has everything, or `deadline`. Twice is harmless.
    pub(super) fn close(&self, deadline: Instant) {
        let mut waiting = self.shared.lock();
        waiting.closed = true;
        self.shared.changed.notify_all();
        while !waiting.done {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let woken = self.shared.changed.wait_timeout(waiting, left);
            waiting = woken.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, mut driver: Box<dyn Driver>) {
        loop {
            let mut waiting = self.lock();
            while waiting.entries.is_empty() && !waiting.closed {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.entries.is_empty() {
                break;
            }
            let entries = std::mem::take(&mut waiting.entries);
            drop(waiting);
            for entry in entries {
                // What cannot be delivered is lost; the driver has done what it could.
                let _lost = driver.log(&entry);
                let mut waiting = self.lock();
                waiting.bytes -= (entry.text.len() as u64).max(1);
                drop(waiting);
            }
            let _lost = driver.flush();
            let _heard = self.room.write(1);
        }
        // Connections are shut down before whoever waits may end the process.
        drop(driver);
        self.lock().done = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use jiff::Timestamp;
    use std::{sync::mpsc, time::Duration};

    /// Takes an entry only when the test lets it.
    struct Slow {
        permits: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Driver for Slow {
        fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
            self.permits.recv().map_err(io::Error::other)?;
            self.taken.send(entry.text.to_vec()).map_err(io::Error::other)
        }
    }

    fn entry(text: &[u8]) -> Entry<'_> {
        Entry { source: Source::Stdout, time: Timestamp::now(), text: text.into(), partial: None }
    }

    fn slow(delivery: Delivery) -> (Queue, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (permits, receiver) = mpsc::channel();
        let (taken, texts) = mpsc::channel();
        let queue = Queue::start(Box::new(Slow { permits: receiver, taken }), delivery).unwrap();
        (queue, permits, texts)
    }

    #[test]
    fn a_blocking_queue_fills_up_and_loses_nothing() {
        let (queue, permits, texts) = slow(Delivery::Blocking);
        let line = vec![b'x'; 16 * 1024];
        let mut sent = 0;
        while !queue.is_full() {
            queue.push(entry(&line));
            sent += 1;
        }
        for _ in 0..sent {
            permits.send(()).unwrap();
        }
        queue.close(Instant::now() + Duration::from_secs(60));
        assert!(!queue.is_full());
        assert_eq!(texts.iter().count(), sent);
    }

    #[test]
    fn a_queue_that_does_not_block_loses_the_newest_lines() {
        let (queue, permits, texts) = slow(Delivery::NonBlocking { buffer: 10 });
        for text in [&b"first"[..], b"2345", b"too much", b"6"] {
            queue.push(entry(text));
        }
        assert!(!queue.is_full());
        for _ in 0..3 {
            permits.send(()).unwrap();
        }
        queue.close(Instant::now() + Duration::from_secs(60));
        assert_eq!(texts.iter().collect::<Vec<_>>(), [&b"first"[..], b"2345", b"6"]);
    }

    #[test]
    fn closing_does_not_wait_for_ever() {
        let (queue, permits, _texts) = slow(Delivery::Blocking);
        queue.push(entry(b"never"));
        queue.close(Instant::now() + Duration::from_millis(10));
        drop(permits);
    }
}
