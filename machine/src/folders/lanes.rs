//! Requests as they come over a lane, and the threads that work on them.
//!
//! A lane is always read: its connection would otherwise stop, answers included. What waits is bounded by what
//! the guest's kernel asks at once, and a guest that asks without bound loses its lane.

use super::FolderServer;
use guest_contract::{
    folders::{PULSE, PULSE_EVERY},
    fuse::{ANSWER_HEADER, LONGEST_MESSAGE, REQUEST_HEADER, answer_header},
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::stat::{Mode, umask},
};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    },
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// Requests of one lane that wait for a thread or for their answer's way out, in bytes.
const MOST_WAITING: usize = 256 << 20;
/// Read from a lane at once.
const CHUNK: usize = 128 << 10;

/// Threads for work that blocks, apart from everything else that the keeper does.
#[derive(Clone, Debug)]
pub struct Workers(blocking::Sender<Job>);

struct Job {
    server: Arc<FolderServer>,
    message: Vec<u8>,
    answers: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Waiting,
}

/// Bytes that count as waiting as long as this lives.
struct Waiting(Arc<AtomicUsize>, usize);

impl Workers {
    /// Starts `count` threads, which end when the last clone is dropped.
    pub fn start(count: usize) -> io::Result<Self> {
        let (sender, jobs) = blocking::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..count {
            let jobs = jobs.clone();
            thread::Builder::new().name(format!("folders {number}")).spawn(move || work(&jobs))?;
        }
        Ok(Self(sender))
    }
}

fn work(jobs: &Mutex<blocking::Receiver<Job>>) {
    // The guest's kernel has applied the mask of whoever makes a file. This thread's own must not be, and is
    // the thread's alone.
    match unshare(CloneFlags::CLONE_FS) {
        Ok(()) => _ = umask(Mode::empty()),
        Err(error) => tracing::warn!(%error, "files made in shared folders get the keeper's mode mask"),
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { server, message, answers, waiting }) = job else { return };
        let answer = server.answer(&message);
        if !answer.is_empty() {
            // The lane may be gone.
            drop(answers.send(answer));
        }
        drop(waiting);
    }
}

/// Serves one lane until it ends.
pub async fn serve(
    server: &Arc<FolderServer>,
    workers: &Workers,
    lane: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(lane);
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    let (answers, mut answered) = mpsc::unbounded_channel::<Vec<u8>>();
    let bytes = Arc::new(AtomicUsize::new(0));
    let hear = async {
        loop {
            let length = reader.read_u32_le().await?;
            let size = length as usize;
            if !(REQUEST_HEADER..=LONGEST_MESSAGE).contains(&size) {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut message = vec![0; size];
            message[..4].copy_from_slice(&length.to_le_bytes());
            reader.read_exact(&mut message[4..]).await?;
            if bytes.fetch_add(size, Ordering::Relaxed) > MOST_WAITING {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let job = Job {
                server: server.clone(),
                message,
                answers: answers.clone(),
                waiting: Waiting(bytes.clone(), size),
            };
            workers.0.send(job).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
    };
    let tell = async {
        let mut pulse = interval(PULSE_EVERY);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = answered.recv() => match answer {
                    Some(answer) => writer.write_all(&answer).await?,
                    None => return Ok(()),
                },
                _ = pulse.tick() => writer.write_all(&answer_header(ANSWER_HEADER, PULSE, 0)).await?,
            }
            writer.flush().await?;
        }
    };
    tokio::select! {
        ended = hear => ended,
        ended = tell => ended,
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}
