//! A process that is nobody's container: what a step of a build runs.
//!
//! It gets the same root filesystem, network, limits and isolation as a container's, but is neither listed,
//! written down nor announced. What a crash leaves of it is swept at the next start.

use super::{
    Containers, Shared, actor::runtime_failed, record::Record, start::start_failed, state::State, validate,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::random_id,
    ports::{AttachRequest, ExitStatus, OutputFrame, Task},
};
use bollard_stubs::models::{ContainerConfig, HostConfig, HostConfigLogConfig};
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One process with a root filesystem of its own. Call [`Once::discard`] at the end.
#[derive(Debug)]
pub(crate) struct Once {
    shared: Arc<Shared>,
    record: Record,
}

impl Containers {
    /// Makes a root filesystem over `layers` and mounts it; nothing runs yet.
    pub(crate) async fn once(
        &self,
        layers: &[String],
        mut config: ContainerConfig,
        mut host: HostConfig,
    ) -> Result<Once> {
        validate::normalise(&config, &mut host)?;
        host.log_config = Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None });
        // A step writes where the image will have its volumes.
        config.volumes = None;
        let endpoints = self.shared.settle_endpoints(&host, HashMap::new())?;
        let id = random_id()?;
        let record = Record {
            id: id.clone(),
            name: id,
            created: SystemTime::now(),
            image_id: String::new(),
            layers: layers.to_vec(),
            config,
            host,
            mounts: Vec::new(),
            endpoints,
            state: State::default(),
            attached: BTreeMap::new(),
            ports: Vec::new(),
            restarts: 0,
            manually_stopped: false,
            removing_volumes: false,
        };
        let once = Once { shared: self.shared.clone(), record };
        if let Err(error) = once.prepare().await {
            once.discard().await;
            return Err(error);
        }
        Ok(once)
    }
}

impl Once {
    /// The name of its root filesystem.
    pub(crate) fn id(&self) -> &str {
        &self.record.id
    }

    /// What is mounted for it, until it runs.
    pub(crate) fn host(&mut self) -> &mut HostConfig {
        &mut self.record.host
    }

    /// Runs it to its end, or to the end of everything when `cancel` says so. Output goes to `output` as far
    /// as somebody listens. Processes and network are gone when this returns; what was written stays.
    pub(crate) async fn run(
        &mut self,
        output: mpsc::Sender<OutputFrame>,
        cancel: &CancellationToken,
    ) -> Result<ExitStatus> {
        let ran = self.run_within(output, cancel).await;
        let id = &self.record.id;
        if let Err(error) = self.shared.runtime.delete(id).await {
            tracing::warn!(%error, id, "Runtime state of a build step was left behind");
        }
        if let Err(error) = self.shared.networks.leave(id).await {
            tracing::warn!(%error, id, "Network namespace of a build step was left behind");
        }
        ran
    }

    async fn run_within(
        &mut self,
        output: mpsc::Sender<OutputFrame>,
        cancel: &CancellationToken,
    ) -> Result<ExitStatus> {
        self.record.mounts = self.shared.mounts_of(&self.record)?;
        let bundle = self.shared.bundle(&mut self.record).await?;
        let task = self.shared.runtime.create(bundle).await.map_err(start_failed)?;
        let wanted = AttachRequest { stdin: false, stdout: true, stderr: true };
        let mut streams = task.attach(wanted).await.map_err(runtime_failed)?;
        task.start().await.map_err(start_failed)?;
        let relay = async {
            while let Some(Ok(frame)) = streams.output.next().await {
                // Nobody listens any more: the process goes on, as with a log that nobody reads.
                if output.send(frame).await.is_err() {
                    break;
                }
            }
        };
        let ended = async { tokio::join!(relay, task.wait()).1 };
        tokio::select! {
            status = ended => Ok(status),
            () = cancel.cancelled() => {
                end(&*task).await;
                Err(EngineError::new(ErrorKind::Unavailable, "the build was cancelled"))
            }
        }
    }

    /// Takes everything away.
    pub(crate) async fn discard(self) {
        let id = &self.record.id;
        if let Err(error) = self.shared.layers.remove_rootfs(id).await {
            tracing::warn!(%error, id, "A root filesystem of a build stays until the next start");
        }
        // Files over `/etc`; there from the moment that it was to run.
        drop(tokio::fs::remove_dir_all(self.shared.folder(id)).await);
    }

    async fn prepare(&self) -> Result<()> {
        let folder = self.shared.folder(&self.record.id);
        tokio::fs::create_dir_all(&folder)
            .await
            .map_err(|e| EngineError::system(format!("Could not make {}", folder.display())).because(e))?;
        self.shared.layers.create_rootfs(&self.record.id, &self.record.layers).await?;
        self.shared.layers.mount_rootfs(&self.record.id).await.map(drop)
    }
}

async fn end(task: &dyn Task) {
    if let Err(error) = task.kill_all().await {
        tracing::warn!(%error, "A build step could not be killed");
        return;
    }
    task.wait().await;
}
