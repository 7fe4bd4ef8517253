//! What is told about a build while it works, in BuildKit's terms: vertices with a beginning and an end,
//! lines of output, and counters within them.

use crate::image::config::digest;
use bytes::Bytes;
use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Hears of everything, in order.
pub trait Watcher: Debug + Send + Sync {
    /// Something happened. Must not wait.
    fn tell(&self, event: Event);
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    Vertex(Vertex),
    Status(VertexStatus),
    Log { vertex: String, stream: i64, data: Bytes },
    Warning(Notice),
}

/// Something the user ought to know.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    pub vertex: String,
    pub text: String,
    /// More of it, and where to read on.
    pub detail: String,
    pub url: String,
    pub place: Option<Excerpt>,
}

/// Lines of a file.
#[derive(Clone, Debug)]
pub struct Excerpt {
    pub file: String,
    /// All of the file.
    pub text: Arc<str>,
    /// First and last.
    pub lines: (usize, usize),
}

/// A piece of work.
#[derive(Clone, Debug, Default)]
pub struct Vertex {
    /// `sha256:…`, only its name.
    pub digest: String,
    pub name: String,
    pub inputs: Vec<String>,
    pub cached: bool,
    pub started: Option<SystemTime>,
    pub completed: Option<SystemTime>,
    pub error: String,
}

/// A counter within it.
#[derive(Clone, Debug)]
pub struct VertexStatus {
    pub vertex: String,
    pub id: String,
    pub current: u64,
    pub total: u64,
    pub started: SystemTime,
    pub completed: Option<SystemTime>,
}

/// Numbers vertices and tells about them.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    watcher: Arc<dyn Watcher>,
    build: String,
    count: Arc<AtomicU64>,
}

/// A piece of work that has begun. One that is dropped without having ended was cancelled.
#[derive(Debug)]
pub(super) struct Task {
    teller: Teller,
    vertex: Vertex,
    ended: bool,
}

impl Teller {
    pub(super) fn new(watcher: Arc<dyn Watcher>, build: &str) -> Self {
        Self { watcher, build: build.to_owned(), count: Arc::default() }
    }

    pub(super) fn warn(&self, notice: Notice) {
        self.watcher.tell(Event::Warning(notice));
    }

    /// A piece of work begins.
    pub(super) fn begin(&self, name: impl Into<String>) -> Task {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let vertex = Vertex {
            digest: digest(format!("{} {number}", self.build).as_bytes()),
            name: name.into(),
            started: Some(SystemTime::now()),
            ..Vertex::default()
        };
        self.watcher.tell(Event::Vertex(vertex.clone()));
        Task { teller: self.clone(), vertex, ended: false }
    }
}

impl Task {
    /// It had been done before.
    pub(super) fn cached(&mut self) {
        self.vertex.cached = true;
    }

    pub(super) fn log(&self, stream: i64, data: Bytes) {
        self.teller.watcher.tell(Event::Log { vertex: self.vertex.digest.clone(), stream, data });
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        let vertex = self.id().to_owned();
        self.teller.warn(Notice { vertex, text: text.into(), ..Notice::default() });
    }

    /// What its vertex is called.
    pub(super) fn id(&self) -> &str {
        &self.vertex.digest
    }

    /// A line below it, done at once or `after` it began.
    pub(super) fn note(&self, id: impl Into<String>, bytes: u64, started: SystemTime) {
        self.teller.watcher.tell(Event::Status(VertexStatus {
            vertex: self.vertex.digest.clone(),
            id: id.into(),
            current: bytes,
            total: 0,
            started,
            completed: Some(SystemTime::now()),
        }));
    }

    /// A counter below it, as it is now.
    pub(super) fn count(&self, id: String, current: u64, total: u64, started: SystemTime, ended: bool) {
        self.teller.watcher.tell(Event::Status(VertexStatus {
            vertex: self.vertex.digest.clone(),
            id,
            current,
            total,
            started,
            completed: ended.then(SystemTime::now),
        }));
    }

    /// It ended well.
    pub(super) fn done(mut self) {
        self.end(String::new());
    }

    /// It failed.
    pub(super) fn failed(mut self, error: &dyn std::fmt::Display) {
        self.end(error.to_string());
    }

    /// Ends as the result says.
    pub(super) fn ended<T, E: std::fmt::Display>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.done(),
            Err(error) => self.failed(error),
        }
    }

    fn end(&mut self, error: String) {
        self.ended = true;
        self.vertex.completed = Some(SystemTime::now());
        self.vertex.error = error;
        self.teller.watcher.tell(Event::Vertex(self.vertex.clone()));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            self.end("context canceled".to_owned());
        }
    }
}
