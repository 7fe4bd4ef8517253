//! Containers: what they are, what can be done to them, and who does it.
//!
//! [`Containers`] is the door. Behind it each container is owned by one task (`actor`), which alone
//! changes the container's [`Record`], writes it to disk and then announces it. Questions are answered
//! from what the task last announced, without asking it. Long operations (stop, restart, forced removal)
//! are run here, as short requests to the owner with waiting in between, in a task of their own: a client
//! that hangs up does not leave them half-done.

mod actor;
mod attach;
mod committed;
mod create;
mod detach_keys;
mod etc_files;
mod exec;
mod files;
mod health;
mod host_devices;
mod index;
mod kernel_support;
mod limits;
mod links;
mod list;
pub mod logs;
mod merge;
pub mod mounts;
mod networking;
mod once;
mod platform;
mod propagation;
mod record;
mod remove;
mod restart;
mod restore;
mod seccomp;
mod security_opt;
pub(crate) mod signal;
mod spec;
mod start;
pub mod state;
mod statistics;
mod stop;
#[cfg(test)]
mod tests;
mod top;
mod update;
mod validate;
mod volumes;
mod wait;

pub use attach::Attachment;
pub use create::{CreateRequest, Created};
pub use detach_keys::DetachKeys;
pub use exec::{ExecStarted, ExecView};
pub use files::ExtractOptions;
pub use health::{Health, HealthStatus, ProbeResult};
pub use list::{ListFilter, Listed};
pub(crate) use once::Once;
pub use record::{Record, Snapshot};
pub use remove::Pruned;
pub use state::{State, Status};
pub use statistics::Sample;
pub use top::Top;
pub use wait::{WaitCondition, Waited, Waiting};

use crate::{
    engine::Ports,
    error::{EngineError, Result},
    events::{EventType, Events},
    network::Networks,
    platform::Platform,
    ports::{ContainerFiles, ContainerRuntime, LayerStore, Task},
    volume::Volumes,
};
use async_trait::async_trait;
use bollard_stubs::models::ImageConfig;
use index::{Handle, Index};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// How long the owner of a container may take for one short request.
const PATIENCE: Duration = Duration::from_secs(120);

/// What containers need to know of images.
#[async_trait]
pub trait ImageLookup: Debug + Send + Sync {
    /// The image with this reference, id or unambiguous start of an id; 404 `No such image: x:tag` when
    /// there is none.
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage>;
}

/// An image as far as containers care.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// `sha256:…`
    pub id: String,
    pub config: ImageConfig,
    pub platform: Platform,
    /// Its layers, lowest first.
    pub diff_ids: Vec<String>,
}

/// Every container of this engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Containers {
    shared: Arc<Shared>,
}

/// What every container's task shares.
#[derive(Debug)]
struct Shared {
    /// `<data root>/containers`
    root: PathBuf,
    runtime: Arc<dyn ContainerRuntime>,
    layers: Arc<dyn LayerStore>,
    files: Arc<dyn ContainerFiles>,
    volumes: Arc<Volumes>,
    networks: Arc<Networks>,
    events: Arc<Events>,
    images: Arc<dyn ImageLookup>,
    index: Index,
    execs: exec::Registry,
    /// The machine is going down: what ends now is to start again at the next boot.
    shutting_down: AtomicBool,
    /// Watched by every container that was found when the engine came up, until it is taken over or
    /// started again.
    settling: watch::Sender<()>,
}

impl Containers {
    /// Reads every container from disk. Running ones are taken over, those that died meanwhile are marked
    /// and restarted as their policy says; all that goes on after this returns.
    pub async fn open(
        data_root: &Path,
        ports: Ports,
        volumes: Arc<Volumes>,
        networks: Arc<Networks>,
        events: Arc<Events>,
        images: Arc<dyn ImageLookup>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            root: data_root.join("containers"),
            runtime: ports.runtime,
            layers: ports.layers,
            files: ports.files,
            volumes,
            networks,
            events,
            images,
            index: Index::default(),
            execs: exec::Registry::default(),
            shutting_down: AtomicBool::new(false),
            settling: watch::Sender::new(()),
        });
        restore::restore(&shared).await?;
        Ok(Self { shared })
    }

    /// Waits until every container that was found at the start is taken over, or started again as its
    /// policy says: who hears that the engine answers may count on them. At most for `patience`.
    pub async fn settled(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.shared.settling.closed()).await.is_err() {
            tracing::warn!("Containers are still being started");
        }
    }

    /// One container as it is now, by id, name or unambiguous start of an id.
    pub fn inspect(&self, key: &str) -> Result<Snapshot> {
        self.shared.index.find(key).map(|handle| self.shared.snapshot(&handle))
    }

    /// Bytes in the container's writable layer.
    pub async fn size(&self, id: &str) -> Result<u64> {
        self.shared.layers.rootfs_size(id).await
    }

    /// Resizes the container's terminal.
    pub async fn resize(&self, key: &str, size: crate::ports::TerminalSize) -> Result<()> {
        let handle = self.shared.index.find(key)?;
        let task = handle.running_task()?;
        let resized = task.resize(size).await;
        resized.map_err(|e| EngineError::system("Could not resize the terminal").because(e))?;
        let size = [("height", size.height.to_string()), ("width", size.width.to_string())];
        self.shared.announce(&handle.record(), "resize", &size);
        Ok(())
    }

    /// The folders of its root filesystem, as overlay2's driver names them.
    pub fn folders(&self, record: &Record) -> BTreeMap<&'static str, String> {
        self.shared.layers.folders(&record.id, &record.layers)
    }

    /// Starts a container; [`crate::ErrorKind::NotModified`] when it runs.
    pub async fn start(&self, key: &str) -> Result<()> {
        let handle = self.shared.index.find(key)?;
        handle.ask(|reply| actor::Request::Start { reply }).await
    }

    /// Freezes every process of the container.
    pub async fn pause(&self, key: &str) -> Result<()> {
        let handle = self.shared.index.find(key)?;
        handle.ask(|reply| actor::Request::Freeze { frozen: true, reply }).await
    }

    /// Thaws them.
    pub async fn unpause(&self, key: &str) -> Result<()> {
        let handle = self.shared.index.find(key)?;
        handle.ask(|reply| actor::Request::Freeze { frozen: false, reply }).await
    }

    /// Gives the container another name.
    pub async fn rename(&self, key: &str, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(EngineError::invalid("Neither old nor new names may be empty"));
        }
        let handle = self.shared.index.find(key)?;
        // As moby shows it.
        let name = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
        let refused =
            |e: EngineError| EngineError::new(e.kind(), format!("Error when allocating new name: {e}"));
        let name = crate::name::validate(&name).map_err(refused)?.to_owned();
        handle.ask(|reply| actor::Request::Rename { name, reply }).await
    }
}

impl Handle {
    /// Sends a request to the container's owner and waits for the answer.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T>>) -> actor::Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::not_found(format!("No such container: {}", self.id));
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(EngineError::system(format!(
                "Container {} did not answer within {} s",
                crate::id::short(&self.id),
                PATIENCE.as_secs()
            ))),
        }
    }

    fn record(&self) -> Arc<Record> {
        self.observed.borrow().record.clone()
    }

    /// The container's process, or 409.
    fn running_task(&self) -> Result<Arc<dyn Task>> {
        let observed = self.observed.borrow();
        observed.task.clone().ok_or_else(|| not_running(&self.id))
    }
}

impl Shared {
    fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn snapshot(&self, handle: &Handle) -> Snapshot {
        Snapshot {
            record: handle.record(),
            exec_ids: self.execs.running_in(&handle.id),
            folder: self.folder(&handle.id),
        }
    }

    /// Announces something about a container, with `more` attributes.
    fn announce(&self, record: &Record, action: impl Into<String>, more: &[(&str, String)]) {
        let mut attributes = record.event_attributes();
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        self.events.publish(EventType::Container, action, record.id.clone(), attributes);
    }
}

fn not_running(id: &str) -> EngineError {
    EngineError::conflict(format!("container {id} is not running"))
}

/// Runs `work` to its end even if whoever waits for it goes away.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| EngineError::system("Operation ended early").because(e))?
}
