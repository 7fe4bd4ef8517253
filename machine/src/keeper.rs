//! The keeper: one background process per running machine. It gives the guest its seed, watches it
//! come up, and serves its Engine API on this host.
//!
//! ```text
//!   lock ─▶ sockets ─▶ seed sent ─▶ guest's phases ─▶ SSH ─▶ /_ping 200 ─▶ READY: tunnel open
//!     │                    │             │                                    │
//!     │ held by another    │ VM gone     │ guest says "failed"                │ VM gone, or told to stop
//!     ▼                    ▼             ▼                                    ▼
//!   "already running"    FAILED ◀────────┘ (stays, to tell)            sockets removed, end
//! ```
//!
//! It owns nothing that it alone remembers: killed at any moment, the VM goes on, the lock frees itself,
//! and the next keeper takes over the sockets and sends the seed again, which a seeded guest answers
//! with its phase.

mod client;
mod folders;
mod lock;
mod port;
mod ports;
mod protocol;
mod seed;
mod server;
pub(crate) mod socket;
mod spawn;

pub use client::KeeperClient;
pub use port::tls_port;
pub use protocol::KeeperStatus;
pub use socket::api_socket;
pub use spawn::SpawnOptions;

use crate::{
    file_error::FileError,
    guest_channel::GuestChannelError,
    ssh::{Connector, SshError, keys},
    tunnel::{Door, Tunnel, TunnelError},
};
use guest_contract::{Phase, folders::SharedFolder, host, paths, seed::EngineSettings};
use lock::KeeperLock;
use machine_drivers::{Access, EngineHome};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    stat::{Mode, umask},
};
use seed::{GuestState, Identity};
use socket::Sockets;
use std::{error::Error, io, path::PathBuf, time::Duration};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A machine without a seed channel that has not been reachable for this long is taken for dead.
const UNREACHABLE: Duration = Duration::from_secs(300);
/// Pause between attempts to reach a guest that is coming up.
const RETRY: Duration = Duration::from_millis(100);
/// Watchers get the last status within this.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a keeper needs to know.
#[derive(Clone, Debug)]
pub struct KeeperPlan {
    /// The machine's name; becomes the guest's host name.
    pub name: String,
    /// The machine's folder.
    pub directory: PathBuf,
    /// The machine's id.
    pub machine_id: String,
    /// How to reach the guest.
    pub access: Access,
    /// Settings of the engine.
    pub engine: EngineSettings,
    /// Folders of this computer that the machine sees.
    pub folders: Vec<SharedFolder>,
}

/// A keeper, or the conversation with one, failed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Another keeper serves this machine.
    #[error("A keeper of machine \"{name}\" is running already")]
    AlreadyRunning { name: String },
    /// A file or socket of the keeper cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder for sockets belongs to somebody else or is open to others.
    #[error("{} is not a private folder of this user", .path.display())]
    NotPrivate { path: PathBuf },
    /// The keeper's process could not be prepared.
    #[error("Could not {action}")]
    Process {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// The machine's keys cannot be used.
    #[error("The machine's SSH keys cannot be used")]
    Keys(#[from] keys::KeyError),
    /// SSH cannot be set up.
    #[error("SSH to the machine cannot be set up")]
    Ssh(#[from] SshError),
    /// The seed channel is not there or broke.
    #[error("The machine's seed channel failed")]
    Channel(#[from] GuestChannelError),
    /// The keeper's process ended before it could be asked anything; `log` is the end of its log.
    #[error("The keeper did not start{}", if .log.is_empty() { String::new() } else { format!(": {}", .log) })]
    NotStarted { log: String },
    /// The keeper does not answer, or not in its language.
    #[error("The keeper did not answer")]
    Silent(#[source] io::Error),
    /// The keeper ended while it was being watched.
    #[error("The keeper ended")]
    Gone,
    /// The machine failed on its way up.
    #[error("{message} (while {phase})")]
    Guest { phase: Phase, message: String },
    /// The machine is not ready in time.
    #[error("The machine was not ready within {} s; it was still {phase}", .limit.as_secs())]
    Timeout { phase: Phase, limit: Duration },
}

/// The keeper's process, the body of the hidden `machine keeper NAME`. Leaves the terminal's session and
/// returns when the VM is gone or when told to stop, by request or SIGTERM; at once and well when another
/// keeper serves the machine already.
pub async fn serve(plan: KeeperPlan) -> Result<(), KeeperError> {
    // Fails when we lead a session already, which is as good.
    _ = nix::unistd::setsid();
    umask(Mode::from_bits_truncate(0o077));
    // Every client costs three descriptors. Keeping the soft limit is no reason not to serve.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    match run(plan).await {
        // Two commands started a keeper at the same time. The other one serves both.
        Err(error @ KeeperError::AlreadyRunning { .. }) => {
            tracing::info!("{error}");
            Ok(())
        }
        result => result,
    }
}

/// [`serve`] without changing the process, so that it can run inside another one.
/// [`KeeperError::AlreadyRunning`] when another keeper serves the machine.
pub async fn run(plan: KeeperPlan) -> Result<(), KeeperError> {
    let _lock = KeeperLock::take(&plan.directory)?
        .ok_or_else(|| KeeperError::AlreadyRunning { name: plan.name.clone() })?;
    let keys = keys::load(&plan.directory)?;
    let connector = Connector::new(&plan.access, &plan.directory)?;
    let tunnel = match &plan.access.engine {
        EngineHome::Guest => Tunnel::new(connector, paths::ENGINE_SOCKET),
        EngineHome::Host => Tunnel::to_plain_sshd(connector, host::ENGINE_SOCKET),
        EngineHome::Existing(socket) => Tunnel::to_plain_sshd(connector, socket),
    };
    let (sockets, control, api) = Sockets::bind(&plan.directory)?;
    // The unix socket is what counts: without the other endpoint a keeper is still of use.
    let door = port::listen(&plan.directory).await.map(|listener| Door::new(listener, &plan.directory));
    let door = door.inspect_err(|error| tracing::warn!(%error, "no TLS endpoint")).ok();

    let (status, watched) = watch::channel(KeeperStatus::Starting { phase: Phase::Booting });
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::serve(control, watched, stop.clone()));
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|source| KeeperError::Process { action: "watch for signals", source })?;

    let identity = Identity::new(&plan, &keys);
    let result = tokio::select! {
        result = live(&plan, &identity, &tunnel, Endpoints { api, door }, &status) => result,
        () = stop.cancelled() => Ok(()),
        _ = terminated.recv() => Ok(()),
    };
    // No new client may find us; those that watch hear the last word.
    drop(sockets);
    drop(status);
    stop.cancel();
    _ = timeout(FAREWELL, server).await;
    result
}

/// Where the Engine API is served.
struct Endpoints {
    api: UnixListener,
    door: Option<Door>,
}

/// Until the VM is gone.
async fn live(
    plan: &KeeperPlan,
    identity: &Identity,
    tunnel: &Tunnel,
    endpoints: Endpoints,
    status: &watch::Sender<KeeperStatus>,
) -> Result<(), KeeperError> {
    let (report, guest) = watch::channel(GuestState::default());
    let vm = async {
        match &plan.access.seed_socket {
            Some(path) => seed::drive(path, identity, &report).await.map_err(KeeperError::from),
            None => {
                // Such a machine says nothing on its own; SSH alone tells how it is.
                report.send_replace(GuestState { phase: Phase::Ready, failure: None });
                unreachable(tunnel).await;
                Ok(())
            }
        }
    };
    // Before the engine answers: containers that start with it may need them.
    let folders = async {
        guest_at(&mut guest.clone(), Phase::Services).await;
        folders::keep(tunnel, plan).await;
    };
    let result = tokio::select! {
        result = vm => result,
        () = bring_up_and_serve(tunnel, &plan.access.engine, endpoints, guest.clone(), status) => Ok(()),
        () = folders => Ok(()),
    };
    status.send_if_modified(|status| match status {
        KeeperStatus::Starting { phase } => {
            let message = match &result {
                Ok(()) => "The VM went away".to_owned(),
                Err(error) => with_causes(error),
            };
            *status = KeeperStatus::Failed { phase: *phase, message };
            true
        }
        KeeperStatus::Ready | KeeperStatus::Failed { .. } => false,
    });
    result
}

/// Follows the guest up, then serves its API. Ends only by being dropped.
async fn bring_up_and_serve(
    tunnel: &Tunnel,
    engine: &EngineHome,
    endpoints: Endpoints,
    mut guest: watch::Receiver<GuestState>,
    status: &watch::Sender<KeeperStatus>,
) {
    let failed = |phase, message| _ = status.send_replace(KeeperStatus::Failed { phase, message });
    // The SSH server is up before the engine is: the handshake need not wait for it.
    let up = async {
        guest_at(&mut guest.clone(), Phase::Services).await;
        loop {
            match tunnel.connect().await {
                Ok(()) => break,
                Err(error) if error.is_permanent() => return Err(TunnelError::Ssh(error)),
                Err(error) => tracing::debug!(error = &error as &dyn Error, "SSH does not answer yet"),
            }
            sleep(RETRY).await;
        }
        guest_at(&mut guest.clone(), Phase::Ready).await;
        loop {
            match tunnel.ping().await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(error = &error as &dyn Error, "the engine does not answer yet"),
            }
            sleep(RETRY).await;
        }
    };
    let mut watched = guest.clone();
    let follow = async {
        loop {
            let GuestState { phase, failure } = watched.borrow_and_update().clone();
            if let Some(message) = failure {
                return (phase, message);
            }
            let phase = phase.min(Phase::Services);
            status.send_if_modified(|status| {
                let next = KeeperStatus::Starting { phase };
                let changed = *status != next;
                *status = next;
                changed
            });
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let result = tokio::select! {
        biased;
        (phase, message) = follow => Err((phase, message)),
        result = up => result.map_err(|error| (guest.borrow().phase.min(Phase::Services), with_causes(&error))),
    };
    if let Err((phase, message)) = result {
        failed(phase, message);
        // It stays to tell everyone who asks, until the VM is stopped.
        return std::future::pending().await;
    }
    status.send_replace(KeeperStatus::Ready);
    let downfall = async {
        let failure = guest.wait_for(|state| state.failure.is_some()).await.map(|state| state.clone());
        if let Ok(GuestState { phase, failure: Some(message) }) = failure {
            failed(phase, message);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = tunnel.serve(endpoints.api, endpoints.door.as_ref()) => {}
        () = ports::keep(tunnel, engine) => {}
        () = downfall => {}
    }
}

/// Waits until the guest has reached `phase`; for ever when it does not.
async fn guest_at(guest: &mut watch::Receiver<GuestState>, phase: Phase) {
    if guest.wait_for(|state| state.phase >= phase && state.failure.is_none()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when SSH has not answered for [`UNREACHABLE`].
async fn unreachable(tunnel: &Tunnel) {
    while tunnel.unreachable_for().is_none_or(|time| time < UNREACHABLE) {
        sleep(Duration::from_secs(5)).await;
    }
}

/// One sentence with all causes, for a status that crosses processes.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
