//! What a pull or a push says while it goes on.

use std::borrow::Cow;
use tokio::sync::mpsc;

/// Lines that wait for a slow client before the work pauses.
const AHEAD: usize = 256;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// For people to read; `id` is what it is about.
    Message { id: Option<String>, text: String },
    /// What is being done to a layer: bytes done, and of how many, where that is known.
    Layer { id: String, action: Cow<'static, str>, amount: Option<(u64, u64)> },
    /// A tag is in the registry.
    Pushed { tag: String, digest: String, size: u64 },
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct ProgressSender(mpsc::Sender<Progress>);

/// Connects work with who shows it. Dropping the receiver ends nothing: drop the work for that.
pub fn progress() -> (ProgressSender, mpsc::Receiver<Progress>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (ProgressSender(sender), receiver)
}

impl ProgressSender {
    pub(super) async fn message(&self, id: Option<&str>, text: String) {
        self.send(Progress::Message { id: id.map(str::to_owned), text }).await;
    }

    pub(super) async fn layer(&self, id: &str, action: impl Into<Cow<'static, str>>) {
        self.send(Progress::Layer { id: id.to_owned(), action: action.into(), amount: None }).await;
    }

    /// Left out when the client is behind: the next one says more.
    pub(super) fn amount(&self, id: &str, action: &'static str, done: u64, all: u64) {
        let amount = Some((done, all));
        drop(self.0.try_send(Progress::Layer { id: id.to_owned(), action: action.into(), amount }));
    }

    pub(super) async fn send(&self, progress: Progress) {
        // Nobody listens any more: the work is about to be dropped.
        drop(self.0.send(progress).await);
    }
}

/// The twelve digits that people know a digest by.
pub(super) fn short(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(12).collect()
}
