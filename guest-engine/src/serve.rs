//! `machine-engine serve`: take the folders, open the engine, listen, say so, and end in order.
//!
//! ```text
//!   folders locked ─▶ socket bound ─▶ engine open ─▶ containers back ─▶ ready ──SIGTERM, SIGINT──▶
//!   connections end ─▶ end
//! ```
//! The socket is bound before the engine opens, so that clients that come early wait instead of failing.

mod socket;

use crate::{
    config::ServeOptions,
    host_facts,
    http::{router::router, server, state::AppState},
    keeper_link::KeeperLink,
    ready, shutdown,
    socket_access::{SocketAccess, UnknownGroup},
};
use engine::{
    Engine, EngineError,
    engine::{Ports, Settings},
    registry::RegistryOptions,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Name of the socket at which keepers arrive, as [`guest_contract::paths::KEEPER_SOCKET`] and
/// [`guest_contract::host::KEEPER_SOCKET`] have it.
const KEEPER_SOCKET: &str = "keeper.sock";
/// What stopping all containers may take at the end.
const STOP_CONTAINERS: Duration = Duration::from_secs(9);

/// How long clients are kept waiting until the containers of before are there again.
const SETTLING: Duration = Duration::from_secs(10);

/// Why the engine could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("Could not prepare the folder {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("The {role} {path} is in use by another engine: choose another with {option}")]
    FolderInUse { role: &'static str, path: PathBuf, option: &'static str },
    #[error("Another engine answers on {path}")]
    SocketInUse { path: PathBuf },
    #[error("{path} exists and is not a socket")]
    NotASocket { path: PathBuf },
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    #[error("Could not listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("Could not open the engine")]
    Engine(#[source] EngineError),
    #[error("Could not report readiness")]
    Ready(#[source] io::Error),
    #[error("Could not take signals")]
    Signals(#[source] io::Error),
}

/// Serves until told to end. `ports` makes the adapters once the folders exist.
pub async fn serve(
    mut options: ServeOptions,
    ports: impl FnOnce(&ServeOptions, Arc<KeeperLink>) -> Ports,
) -> Result<(), ServeError> {
    raise_descriptor_limit();
    // Absolute from here on: containers' records and mounts name these folders.
    options.data_root = prepare_folder(&options.data_root)?;
    options.run_root = prepare_folder(&options.run_root)?;
    // Held until the process ends; the kernel lets go of it however that happens.
    // The run root too: what is found there and is in no record would be taken for a dead engine's.
    let _locks = [
        lock("data root", &options.data_root, "--data-root")?,
        lock("run root", &options.run_root, "--run-root")?,
    ];
    let shutdown::Told { stop, with_containers } = shutdown::on_signal().map_err(ServeError::Signals)?;
    let access = SocketAccess::of(options.owner).with_group(options.group.as_deref())?;
    let listener = socket::bind(&options.socket, access).await?;
    let settings = Settings {
        data_root: options.data_root.clone(),
        run_root: options.run_root.clone(),
        labels: options.labels.clone(),
        bridge: options.bridge.clone(),
        registries: RegistryOptions {
            insecure: options.insecure_registries.clone(),
            mirrors: options.registry_mirrors.clone(),
            certificates: options.registry_certs.clone(),
            patience: Duration::from_secs(options.registry_timeout.max(1)),
        },
        host: host_facts::read(),
    };
    let keeper = Arc::new(KeeperLink::default());
    let ports = ports(&options, keeper.clone());
    let engine = Arc::new(Engine::open(settings, ports).await.map_err(ServeError::Engine)?);
    let meeting_point = options.run_root.join(KEEPER_SOCKET);
    tokio::spawn(async move {
        if let Err(error) = keeper.serve(&meeting_point, access).await {
            tracing::warn!(%error, "Published ports will not reach the machine's host");
        }
    });
    engine.containers.settled(SETTLING).await;
    let state = AppState { engine: Arc::clone(&engine), stopping: stop.clone() };
    if let Some(fd) = options.ready_fd {
        // The backlog accepts already; the loop below starts without another wait.
        ready::tell(fd).map_err(ServeError::Ready)?;
    }
    ready::tell_systemd().map_err(ServeError::Ready)?;
    tracing::info!(socket = %options.socket.display(), "The Engine API answers");
    let containers = async {
        stop.cancelled().await;
        if options.stop_containers_on_exit || with_containers.is_cancelled() {
            stop_containers(&engine).await;
        }
        if with_containers.is_cancelled() {
            // The host may go on without us.
            engine.networks.dismantle().await;
        }
    };
    // Together: clients that follow a container's output see its end.
    tokio::join!(server::serve(listener, router(state), stop.clone()), containers);
    if let Err(error) = engine.images.settle().await {
        tracing::warn!(%error, "When images were last used is forgotten");
    }
    drop(std::fs::remove_file(&options.socket));
    tracing::info!("The engine ends");
    Ok(())
}

/// As Go does for dockerd: connections, published ports and followed logs need more than a shell's 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        false => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "The number of descriptors stays limited");
    }
}

async fn stop_containers(engine: &Engine) {
    if tokio::time::timeout(STOP_CONTAINERS, engine.containers.shutdown()).await.is_err() {
        tracing::warn!("Containers did not stop in time");
    }
}

fn prepare_folder(path: &Path) -> Result<PathBuf, ServeError> {
    let fail = |source| ServeError::Folder { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(fail)?;
    path.canonicalize().map_err(fail)
}

fn lock(role: &'static str, folder: &Path, option: &'static str) -> Result<File, ServeError> {
    let path = folder.join("engine.lock");
    let fail = |source| ServeError::Folder { path: folder.to_owned(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(ServeError::FolderInUse { role, path: folder.to_owned(), option })
        }
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}
