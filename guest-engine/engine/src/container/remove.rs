//! Removing containers: by hand, by `--rm`, by prune, and what a crash left of a removal.

use super::{
    Containers, Shared,
    actor::{Actor, Flow, Purpose, Request},
    index::Handle,
    signal::SIGKILL,
    state::Status,
    to_the_end,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    events::EventType,
};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

/// How long the kernel may take to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often a container is killed that somebody starts again before it can be removed.
const KILL_ATTEMPTS: usize = 5;

/// What a prune took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub ids: Vec<String>,
    /// Bytes of their writable layers.
    pub reclaimed: u64,
}

impl Containers {
    /// Removes a container. One that runs only when `force` is set, killing it; with its anonymous volumes
    /// when `volumes` is.
    pub async fn remove(&self, key: &str, force: bool, volumes: bool) -> Result<()> {
        let handle = self.shared.index.find(key)?;
        let record = handle.record();
        let status = record.state.status;
        match status {
            Status::Removing => {
                return Err(EngineError::conflict(format!(
                    "removal of container {} is already in progress",
                    crate::id::short(&handle.id)
                )));
            }
            status if status.counts_as_running() && !force => {
                return Err(still_running(&record.name, status));
            }
            _ => {}
        }
        to_the_end(async move {
            for _ in 0..KILL_ATTEMPTS {
                if handle.record().state.status.counts_as_running() {
                    kill_for_good(&handle).await?;
                }
                match handle.ask(|reply| Request::Remove { volumes, reply }).await {
                    // It removed itself meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    // It was started meanwhile, by its policy or by somebody else.
                    Err(error) if force && error.kind() == ErrorKind::Conflict => {}
                    other => return other,
                }
            }
            Err(could_not_kill(&record.name))
        })
        .await
    }

    /// Removes every container without a process that `wanted` accepts.
    pub async fn prune(&self, wanted: impl Fn(&super::Record) -> bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for handle in self.shared.index.all() {
            let record = handle.record();
            let idle = matches!(record.state.status, Status::Created | Status::Exited | Status::Dead);
            if !idle || !wanted(&record) {
                continue;
            }
            let size = self.shared.layers.rootfs_size(&handle.id).await.unwrap_or(0);
            match self.remove(&handle.id, false, false).await {
                Ok(()) => {
                    pruned.ids.push(handle.id);
                    pruned.reclaimed += size;
                }
                // Started or removed by somebody else meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.shared.events.publish(EventType::Container, "prune", "", reclaimed);
        Ok(pruned)
    }
}

/// Ends its process; what is to be removed is not restarted by its policy.
async fn kill_for_good(handle: &Handle) -> Result<()> {
    let mut observed = handle.observed.clone();
    match handle.ask(|reply| Request::Signal { signal: SIGKILL, purpose: Purpose::Remove, reply }).await {
        Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
        other => other?,
    }
    let ended = observed.wait_for(|now| now.removed || !now.record.state.status.counts_as_running());
    match tokio::time::timeout(KILL_PATIENCE, ended).await {
        Ok(_) => Ok(()),
        Err(_) => Err(could_not_kill(&handle.record().name)),
    }
}

fn still_running(name: &str, status: Status) -> EngineError {
    let hint = match status {
        Status::Paused => "container is paused and must be unpaused first".to_owned(),
        _ => format!("container is {}: stop the container before removing or force remove", status.as_str()),
    };
    EngineError::conflict(format!("cannot remove container \"/{name}\": {hint}"))
}

fn could_not_kill(name: &str) -> EngineError {
    EngineError::system(format!(
        "cannot remove container \"/{name}\": could not kill: tried to kill container, but did not receive an exit \
         event"
    ))
}

impl Actor {
    /// Removes the container without a process. Once begun it is finished, after a crash by the next
    /// engine; a failure leaves it dead, to be removed again.
    pub(super) async fn remove(&mut self, volumes: bool) -> Result<()> {
        let status = self.record.state.status;
        if status.counts_as_running() {
            return Err(still_running(&self.record.name, status));
        }
        self.record.removing_volumes |= volumes;
        if status != Status::Removing {
            self.move_to(Status::Removing);
            // On a full disk nothing can be written, and nothing helps but removing.
            self.keep_record().await;
            self.show();
        }
        let id = self.record.id.clone();
        self.waiters.clear();
        self.shared.execs.forget(&id);
        if let Err(error) = self.shared.erase(&id).await {
            self.record.state.error = error.to_string();
            self.move_to(Status::Dead);
            self.keep_and_announce().await;
            return Err(error);
        }
        self.shared.release_volumes(&self.record, self.record.removing_volumes).await;
        self.shared.index.remove(&id);
        self.shared.announce(&self.record, "destroy", &[]);
        self.show_as(true);
        Ok(())
    }

    /// `--rm`, or what is left of a removal: nobody waits for the answer, so a failure is logged.
    pub(super) async fn remove_itself(&mut self) -> Flow {
        match self.remove(self.record.auto_remove()).await {
            Ok(()) => Flow::End,
            Err(error) => {
                tracing::error!(%error, container = self.record.id, "Container could not remove itself");
                Flow::Continue
            }
        }
    }
}

impl Shared {
    /// Removes everything of a container from this machine; the record last, so that a crash in between
    /// leaves something to go on with.
    pub(super) async fn erase(self: &Arc<Self>, id: &str) -> Result<()> {
        let failed = |what: &str| EngineError::system(format!("unable to remove {what} of container {id}"));
        self.runtime.delete(id).await.map_err(|e| failed("processes").because(e))?;
        self.networks.leave(id).await?;
        self.layers.remove_rootfs(id).await?;
        match tokio::fs::remove_dir_all(self.folder(id)).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("folder").because(e)),
            _ => Ok(()),
        }
    }
}
