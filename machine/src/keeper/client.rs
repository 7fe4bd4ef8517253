//! A command's side of the keeper: find it or start it, ask it, wait for it.

use super::{
    KeeperError, KeeperStatus, SpawnOptions,
    protocol::{LONGEST_LINE, Request},
    socket, spawn,
};
use crate::{file_error::FileError, store::files};
use futures_util::{SinkExt, StreamExt};
use guest_contract::Phase;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::codec::{Framed, LinesCodec};

/// A live keeper answers from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A keeper binds its sockets before it does anything slow; a loaded host still needs a while.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The keeper's last words and the removal of its sockets.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A machine's keeper. Every question is a connection of its own.
#[derive(Clone, Debug)]
pub struct KeeperClient {
    directory: PathBuf,
}

impl KeeperClient {
    /// The live keeper of the machine, started when there is none. However many commands do this at once,
    /// they end up with the same keeper: it holds a lock.
    pub async fn ensure(name: &str, directory: &Path, spawn: &SpawnOptions) -> Result<Self, KeeperError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut child = None;
        loop {
            if let Some(client) = Self::connect(directory).await? {
                return Ok(client);
            }
            let ended = match &mut child {
                None => None,
                Some(child) => spawn::ended(child)?,
            };
            if Instant::now() > deadline || ended == Some(spawn::Ended::Failed) {
                return Err(KeeperError::NotStarted { log: spawn::log_tail(directory) });
            }
            // One that lost the race for the lock ends with success; its winner may itself be on the way
            // out, so there is nothing for it but to try again.
            if child.is_none() || ended.is_some() {
                child = Some(spawn::start(name, directory, spawn)?);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The live keeper of the machine, if there is one.
    pub async fn connect(directory: &Path) -> Result<Option<Self>, KeeperError> {
        let client = Self { directory: directory.to_owned() };
        match client.ask(Request::Status).await {
            Ok(_) => Ok(Some(client)),
            // It was just leaving.
            Err(KeeperError::Gone) => Ok(None),
            Err(KeeperError::File(error)) if absent(error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the machine is ready, telling `on_phase` each phase it goes through, for at most
    /// `limit`. [`KeeperError::Guest`] as soon as it cannot become ready.
    pub async fn wait_ready(
        &mut self,
        on_phase: &mut (dyn FnMut(Phase) + Send),
        limit: Duration,
    ) -> Result<(), KeeperError> {
        let deadline = Instant::now() + limit;
        let mut lines = self.open(Request::Watch).await?;
        let mut last = Phase::Booting;
        loop {
            let status = timeout_at(deadline, receive(&mut lines))
                .await
                .map_err(|_| KeeperError::Timeout { phase: last, limit })??;
            match status {
                KeeperStatus::Ready => return Ok(()),
                KeeperStatus::Failed { phase, message } => return Err(KeeperError::Guest { phase, message }),
                KeeperStatus::Starting { phase } => {
                    last = phase;
                    on_phase(phase);
                }
            }
        }
    }

    /// How far the machine is now.
    pub async fn status(&mut self) -> Result<KeeperStatus, KeeperError> {
        self.ask(Request::Status).await
    }

    /// Ends the keeper and returns once it has ended; the VM goes on. Ending one that is gone does
    /// nothing.
    pub async fn stop(&mut self) -> Result<(), KeeperError> {
        let mut lines = match self.open(Request::Stop).await {
            Ok(lines) => lines,
            Err(KeeperError::File(error)) if absent(error.kind()) => return Ok(()),
            Err(error) => return Err(error),
        };
        match timeout(STOP_LIMIT, lines.next()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(KeeperError::Silent(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn ask(&self, request: Request) -> Result<KeeperStatus, KeeperError> {
        let mut lines = self.open(request).await?;
        timeout(ANSWER_LIMIT, receive(&mut lines))
            .await
            .map_err(|_| KeeperError::Silent(io::ErrorKind::TimedOut.into()))?
    }

    async fn open(&self, request: Request) -> Result<Framed<UnixStream, LinesCodec>, KeeperError> {
        let path = self.directory.join(files::KEEPER_SOCKET);
        let connected = timeout(ANSWER_LIMIT, socket::connect(&path)).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(FileError::on("connect to", &path))?;
        let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_LINE));
        let line = serde_json::to_string(&request).map_err(|error| KeeperError::Silent(error.into()))?;
        // A keeper on its way out may close before it reads.
        lines.send(line).await.map_err(|_| KeeperError::Gone)?;
        Ok(lines)
    }
}

async fn receive(lines: &mut Framed<UnixStream, LinesCodec>) -> Result<KeeperStatus, KeeperError> {
    let Some(Ok(line)) = lines.next().await else {
        return Err(KeeperError::Gone);
    };
    serde_json::from_str(&line).map_err(|error| KeeperError::Silent(error.into()))
}

/// No socket, or one whose keeper died.
fn absent(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
