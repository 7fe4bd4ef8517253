//! After the engine has come up: every record finds its container again.

use super::{
    Shared,
    actor::{Actor, Flow},
    record::{FILE, Record},
    state::Status,
};
use crate::{
    error::{EngineError, Result},
    ports::{AdoptedTask, ExitStatus},
    state_file,
};
use std::{collections::HashSet, io, sync::Arc, time::SystemTime};
use tokio::sync::watch;

/// The code of a container whose end nobody saw, as dockerd shows it after a reboot.
const LOST: i32 = 255;

/// Reads every record and gives each an owner. What the owners then find takes its own time.
pub(super) async fn restore(shared: &Arc<Shared>) -> Result<()> {
    let mut owned = HashSet::new();
    let mut actors = Vec::new();
    for record in read_records(shared).await? {
        if let Err(error) = shared.index.reserve(&record.name, &record.id) {
            tracing::error!(%error, container = record.id, "Two containers have one name; this one is left alone");
            continue;
        }
        if record.state.status.has_process() {
            // Before anybody can be given the same address or port.
            let hostname = record.hostname();
            shared.networks.readopt(record.guest(&hostname), &record.attached, &record.ports);
        }
        for (_, volume) in record.volumes() {
            shared.volumes.readopt(&volume.name, &record.id, record.state.status.has_process());
        }
        owned.insert(record.id.clone());
        let (actor, handle) = Actor::new(shared.clone(), record);
        shared.index.insert(handle);
        actors.push(actor);
    }
    shared.networks.restore_ports().await;
    for actor in actors {
        tokio::spawn(actor.resume(shared.settling.subscribe()));
    }
    let strays = strays(shared, &owned).await;
    tokio::spawn(sweep(shared.clone(), strays));
    Ok(())
}

async fn read_records(shared: &Shared) -> Result<Vec<Record>> {
    let failed = |e: io::Error| {
        EngineError::system(format!("Could not read containers in {}", shared.root.display())).because(e)
    };
    let mut folders = match tokio::fs::read_dir(&shared.root).await {
        Ok(folders) => folders,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut records = Vec::new();
    while let Some(folder) = folders.next_entry().await.map_err(failed)? {
        match state_file::load::<Record>(&folder.path().join(FILE)).await {
            Ok(Some(record)) => records.push(record),
            // Its creation was never acknowledged, or its removal had got this far.
            Ok(None) => {
                if let Err(error) = tokio::fs::remove_dir_all(folder.path()).await {
                    tracing::warn!(%error, path = %folder.path().display(), "Leftover folder stays");
                }
            }
            // One damaged record must not take the others down.
            Err(error) => tracing::error!(%error, "A container's record cannot be read; it is left alone"),
        }
    }
    Ok(records)
}

/// What containers left that are no more, or never came to be. Looked up before anybody can make a new
/// one, whose first pieces would look the same.
async fn strays(shared: &Shared, owned: &HashSet<String>) -> (Vec<String>, Vec<String>) {
    let unowned = |found: Result<Vec<String>>, what: &str| {
        let mut ids = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "Could not look for leftover {what}");
            Vec::new()
        });
        // A folder without an owner belongs to a record that cannot be read: keep what it may need.
        ids.retain(|id| !owned.contains(id) && !shared.folder(id).exists());
        ids
    };
    (
        unowned(shared.layers.rootfs_ids().await, "root filesystems"),
        unowned(shared.networks.sandboxes().await, "network namespaces"),
    )
}

async fn sweep(shared: Arc<Shared>, (rootfs, sandboxes): (Vec<String>, Vec<String>)) {
    if !rootfs.is_empty() || !sandboxes.is_empty() {
        let (root_filesystems, networks) = (&rootfs, sandboxes.len());
        tracing::info!(?root_filesystems, networks, "Leftovers of an interrupted engine are removed");
    }
    for id in rootfs {
        // A step of a build may have outlived the engine that ran it.
        if let Err(error) = shared.runtime.delete(&id).await {
            tracing::warn!(%error, id, "Leftover process stays");
        }
        if let Err(error) = shared.layers.remove_rootfs(&id).await {
            tracing::warn!(%error, id, "Leftover root filesystem stays");
        }
    }
    shared.networks.sweep_bridges().await;
    for id in sandboxes {
        if let Err(error) = shared.networks.leave(&id).await {
            tracing::warn!(%error, id, "Leftover network namespace stays");
        }
    }
}

impl Actor {
    /// Finds out what became of the container, then serves it. `settling` is let go in between.
    async fn resume(mut self, settling: watch::Receiver<()>) {
        let flow = match self.record.state.status {
            Status::Running | Status::Paused => self.readopt().await,
            Status::Removing => self.remove_itself().await,
            Status::Restarting | Status::Created | Status::Exited | Status::Dead => {
                // A start that was not acknowledged may have got as far as a process.
                self.release(false).await;
                Flow::Continue
            }
        };
        if flow == Flow::End {
            return;
        }
        if self.record.state.status == Status::Restarting {
            // The policy had decided; only the pause was cut short.
            self.restart_at = None;
            self.move_to(Status::Exited);
            self.show();
        }
        if self.wanted_at_boot() && self.restart().await == Flow::End {
            return;
        }
        drop(settling);
        self.run().await;
    }

    async fn readopt(&mut self) -> Flow {
        let id = self.record.id.clone();
        let lost = ExitStatus { code: LOST, oom_killed: false, finished_at: SystemTime::now() };
        let status = match self.shared.runtime.adopt(&id).await {
            Ok(AdoptedTask::Running(task)) => {
                self.watch_task(task);
                self.shared.networks.resume(&id).await;
                self.watch_health();
                self.show();
                return Flow::Continue;
            }
            Ok(AdoptedTask::Exited(status)) => status,
            Ok(AdoptedTask::Gone) => lost,
            Err(error) => {
                tracing::error!(%error, container = id, "Running container could not be taken over");
                lost
            }
        };
        self.ended(status).await
    }
}
