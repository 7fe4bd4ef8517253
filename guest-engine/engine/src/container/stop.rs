//! Stopping: kill, stop, restart, and stopping everything when the machine goes down.

use super::{
    Containers, Shared,
    actor::{Purpose, Request},
    index::Handle,
    not_running,
    signal::{self, SIGKILL, SIGTERM},
    to_the_end,
};
use crate::error::{EngineError, ErrorKind, Result};
use futures_util::future::join_all;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long a process may take to end when nothing else is said.
const DEFAULT_TIMEOUT: i64 = 10;
/// The most, in seconds, when the whole machine waits for it.
const SHUTDOWN_TIMEOUT: i64 = 7;
/// How long the kernel may take to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Containers {
    /// Sends a signal, SIGKILL unless named.
    pub async fn kill(&self, key: &str, signal: Option<&str>) -> Result<()> {
        let refused = |error: EngineError| error.of(format_args!("cannot kill container: {key}"));
        let signal = named(signal).map_err(refused)?.unwrap_or(SIGKILL);
        let handle = self.shared.index.find(key).map_err(refused)?;
        if !handle.record().state.status.has_process() {
            return Err(refused(not_running(&handle.id)));
        }
        let mut observed = handle.observed.clone();
        let exits = observed.borrow().exits;
        handle.ask(|reply| Request::Signal { signal, purpose: Purpose::Signal, reply }).await?;
        if signal == SIGKILL {
            // As dockerd: a kill that succeeded has killed. A slow kernel is not the client's failure.
            let ended = observed.wait_for(|now| now.removed || now.exits > exits);
            drop(tokio::time::timeout(KILL_PATIENCE, ended).await);
        }
        Ok(())
    }

    /// Asks the process to end, and ends it when it has not after `timeout` seconds (-1 waits for ever).
    /// [`ErrorKind::NotModified`] when it is not running.
    pub async fn stop(&self, key: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let signal = named(signal).map_err(|error| error.of(format_args!("cannot stop container: {key}")))?;
        let handle = self.shared.index.find(key)?;
        if !handle.record().state.status.counts_as_running() {
            return Err(EngineError::new(ErrorKind::NotModified, "container is not running"));
        }
        let shared = self.shared.clone();
        to_the_end(async move { shared.stop(&handle, signal, timeout, Purpose::Stop).await }).await
    }

    /// Stops the container if it runs, and starts it.
    pub async fn restart(&self, key: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let signal =
            named(signal).map_err(|error| error.of(format_args!("Cannot restart container {key}")))?;
        let handle = self.shared.index.find(key)?;
        let shared = self.shared.clone();
        to_the_end(async move {
            if handle.record().state.status.counts_as_running() {
                shared.stop(&handle, signal, timeout, Purpose::Restart).await?;
            }
            match handle.ask(|reply| Request::Start { reply }).await {
                // Somebody else was quicker.
                Err(error) if error.kind() == ErrorKind::NotModified => {}
                other => other?,
            }
            shared.announce(&handle.record(), "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Stops every container because the machine goes down, killing what has not ended in time. Policies
    /// apply at the next boot; nothing starts any more.
    pub async fn shutdown(&self) {
        self.shared.shutting_down.store(true, Ordering::Relaxed);
        let handles = self.shared.index.all();
        join_all(handles.iter().map(async |handle| {
            let record = handle.record();
            if !record.state.status.counts_as_running() {
                return;
            }
            let own = record.config.stop_timeout.filter(|seconds| *seconds >= 0).unwrap_or(SHUTDOWN_TIMEOUT);
            let timeout = Some(own.min(SHUTDOWN_TIMEOUT));
            if let Err(error) = self.shared.stop(handle, None, timeout, Purpose::ShutDown).await {
                tracing::warn!(%error, container = handle.id, "Container did not stop");
            }
        }))
        .await;
    }
}

/// The signal that the text names; none without a text.
fn named(text: Option<&str>) -> Result<Option<i32>> {
    text.filter(|text| !text.is_empty()).map(signal::parse).transpose()
}

impl Shared {
    /// Brings the process to its end: the signal, patience, SIGKILL.
    pub(super) async fn stop(
        self: &Arc<Self>,
        handle: &Handle,
        signal: Option<i32>,
        timeout: Option<i64>,
        purpose: Purpose,
    ) -> Result<()> {
        let config = &handle.record().config;
        let own = config.stop_signal.as_deref().and_then(|s| signal::parse(s).ok());
        let signal = signal.or(own).unwrap_or(SIGTERM);
        let seconds = timeout.or(config.stop_timeout).unwrap_or(DEFAULT_TIMEOUT);

        let mut observed = handle.observed.clone();
        let exits = observed.borrow().exits;
        let mut ended = async |patience: Option<Duration>| {
            let end = observed.wait_for(|now| {
                now.removed || now.exits > exits || !now.record.state.status.counts_as_running()
            });
            match patience {
                // An owner that is gone has no process left.
                Some(patience) => tokio::time::timeout(patience, end).await.is_ok(),
                None => {
                    drop(end.await);
                    true
                }
            }
        };
        self.send(handle, signal, purpose).await?;
        // Negative means for ever.
        if ended(u64::try_from(seconds).ok().map(Duration::from_secs)).await {
            return Ok(());
        }
        self.send(handle, SIGKILL, purpose).await?;
        if ended(Some(KILL_PATIENCE)).await {
            return Ok(());
        }
        Err(EngineError::system(format!(
            "cannot stop container: {}: tried to kill container, but did not receive an exit event",
            handle.id
        )))
    }

    /// Sends a signal; a process that has just ended is no error here.
    async fn send(&self, handle: &Handle, signal: i32, purpose: Purpose) -> Result<()> {
        match handle.ask(|reply| Request::Signal { signal, purpose, reply }).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
            other => other,
        }
    }
}
