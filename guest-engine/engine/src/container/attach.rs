//! Clients at a container's standard streams, also before there is a process to talk to.

use super::{Containers, actor::Request};
use crate::{
    error::Result,
    ports::{AttachRequest, TaskStreams},
};
use tokio::sync::oneshot;

/// A client's place at a container. Dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    /// The process has a terminal: output is one raw stream.
    pub terminal: bool,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Live(TaskStreams),
    /// The container is not running; its next start delivers.
    Waiting(oneshot::Receiver<TaskStreams>),
    Ended,
}

/// The container's end of an attachment that waits for a start.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) request: AttachRequest,
    streams: oneshot::Sender<TaskStreams>,
}

impl Waiter {
    pub(super) fn is_gone(&self) -> bool {
        self.streams.is_closed()
    }

    /// Connects the client; nothing happens when it has gone away.
    pub(super) fn deliver(self, streams: TaskStreams) {
        drop(self.streams.send(streams));
    }
}

impl Attachment {
    pub(super) fn live(terminal: bool, streams: TaskStreams) -> Self {
        Self { terminal, source: Source::Live(streams) }
    }

    pub(super) fn ended(terminal: bool) -> Self {
        Self { terminal, source: Source::Ended }
    }

    pub(super) fn waiting(terminal: bool, request: AttachRequest) -> (Self, Waiter) {
        let (streams, receiver) = oneshot::channel();
        (Self { terminal, source: Source::Waiting(receiver) }, Waiter { request, streams })
    }

    /// The streams, as soon as there is a process; `None` when it never came to that.
    pub async fn connected(self) -> Option<TaskStreams> {
        match self.source {
            Source::Live(streams) => Some(streams),
            Source::Waiting(receiver) => receiver.await.ok(),
            Source::Ended => None,
        }
    }
}

impl Containers {
    /// Attaches a client. Registered when this returns: output of a start that follows is seen from its
    /// first byte on.
    pub async fn attach(&self, key: &str, mut request: AttachRequest) -> Result<Attachment> {
        let handle = self.shared.index.find(key)?;
        request.stdin &= handle.record().config.open_stdin.unwrap_or(false);
        handle.ask(|reply| Request::Attach { request, reply }).await
    }

    /// Announces that a client left by its key sequence.
    pub fn detached(&self, key: &str) {
        if let Ok(handle) = self.shared.index.find(key) {
            self.shared.announce(&handle.record(), "detach", &[]);
        }
    }
}
