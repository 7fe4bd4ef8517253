//! Waiting for a container: registered at once, answered later.

use super::{Containers, record::Observed};
use crate::error::Result;
use futures_util::future::BoxFuture;
use std::fmt;
use tokio::sync::watch;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// There is no process; answered at once when that is so already.
    NotRunning,
    /// The next end of a process.
    NextExit,
    /// The container is gone.
    Removed,
}

impl WaitCondition {
    /// Reads the query; what is unknown is [`WaitCondition::NotRunning`], as for dockerd.
    pub fn parse(text: &str) -> Self {
        match text {
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            _ => Self::NotRunning,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    pub exit_code: i32,
    /// Why the container could not be started or removed, if that ended the waiting.
    pub error: Option<String>,
}

/// A registered wait. Nothing that happens after it was made is missed, however late it is awaited.
pub struct Waiting(BoxFuture<'static, Waited>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Waiting {
    /// Waits; dropping it gives up.
    pub async fn done(self) -> Waited {
        self.0.await
    }
}

impl Containers {
    /// Registers a wait.
    pub fn wait(&self, key: &str, condition: WaitCondition) -> Result<Waiting> {
        let handle = self.shared.index.find(key)?;
        Ok(Waiting(Box::pin(wait(handle.observed, condition))))
    }
}

fn wait(
    mut observed: watch::Receiver<Observed>,
    condition: WaitCondition,
) -> impl Future<Output = Waited> + Send + 'static {
    // Before the future is polled: this is the moment of registration.
    let exits = observed.borrow().exits;
    async move {
        let met = |now: &Observed| {
            now.removed
                || match condition {
                    WaitCondition::NotRunning => {
                        now.exits > exits || !now.record.state.status.counts_as_running()
                    }
                    WaitCondition::NextExit => now.exits > exits,
                    WaitCondition::Removed => now.record.state.status == super::Status::Dead,
                }
        };
        // An owner that is gone without a word: what it showed last is what there is to say.
        drop(observed.wait_for(met).await);
        let last = observed.borrow().record.clone();
        let failed = last.state.status == super::Status::Dead;
        Waited { exit_code: last.state.exit_code, error: failed.then(|| last.state.error.clone()) }
    }
}
