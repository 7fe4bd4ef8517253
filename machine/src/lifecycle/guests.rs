//! What runs inside machines, seen from their life: seeded and tunnelled by one keeper each.

use crate::{
    keeper::{self, KeeperClient, KeeperStatus, SpawnOptions},
    machine::MachineName,
    provision::{self, EngineBinary, HostPlan},
};
use async_trait::async_trait;
use guest_contract::Phase;
use machine_drivers::Progress;
use std::{
    error::Error,
    fmt::Debug,
    path::{Path, PathBuf},
    time::Duration,
};

/// Reaches the guests of running machines. `folder` is the machine's.
#[async_trait]
pub trait Guests: Debug + Send + Sync {
    /// On a host that has an operating system of its own: sees to it that the engine is there and runs. Whether
    /// anything had to be done for that.
    async fn provision(&self, plan: &HostPlan<'_>, progress: &dyn Progress) -> Result<bool, GuestError>;

    /// The opposite: the engine and its containers end; with `remove`, all that was put there goes.
    async fn halt(&self, plan: &HostPlan<'_>, remove: bool) -> Result<(), GuestError>;

    /// Sees to it that the guest is looked after: called right after `Driver::start`, so that the seed
    /// waits for the guest and not the other way round, and by every command that needs the engine's
    /// socket. Does nothing when it is looked after already.
    async fn adopt(&self, name: &MachineName, folder: &Path) -> Result<(), GuestError>;

    /// Waits until SSH and the engine answer, at most for `limit`; `on_phase` hears every change.
    async fn wait_ready(
        &self,
        name: &MachineName,
        folder: &Path,
        on_phase: &mut (dyn FnMut(Phase) + Send),
        limit: Duration,
    ) -> Result<(), GuestError>;

    /// Where the guest is; `None` when nobody looks after it. Never waits for the guest.
    async fn readiness(&self, folder: &Path) -> Result<Option<Readiness>, GuestError>;

    /// The power is off: lets the guest go. Does nothing when nobody looks after it.
    async fn release(&self, folder: &Path) -> Result<(), GuestError>;

    /// Where its Engine API is served once it is ready.
    fn api_socket(&self, folder: &Path) -> PathBuf;

    /// The loopback port on which it is served over TLS; `None` when it never was.
    fn tls_port(&self, folder: &Path) -> Option<u16>;
}

/// How far a guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// On its way.
    Starting(Phase),
    /// It answers.
    Ready,
    /// It cannot go on; one sentence why.
    Failed(String),
}

/// A guest could not be reached or looked after.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct GuestError(#[from] pub Box<dyn Error + Send + Sync>);

/// The real thing: one keeper process per running machine.
#[derive(Debug)]
pub struct KeptGuests {
    /// How keepers are started.
    pub spawn: SpawnOptions,
    /// What is put on hosts.
    pub engine: EngineBinary,
}

#[async_trait]
impl Guests for KeptGuests {
    async fn provision(&self, plan: &HostPlan<'_>, progress: &dyn Progress) -> Result<bool, GuestError> {
        provision::provision(plan, &self.engine, progress).await.map_err(|error| GuestError(Box::new(error)))
    }

    async fn halt(&self, plan: &HostPlan<'_>, remove: bool) -> Result<(), GuestError> {
        provision::halt(plan, remove).await.map_err(|error| GuestError(Box::new(error)))
    }

    async fn adopt(&self, name: &MachineName, folder: &Path) -> Result<(), GuestError> {
        KeeperClient::ensure(name.as_str(), folder, &self.spawn).await.map_err(boxed)?;
        Ok(())
    }

    async fn wait_ready(
        &self,
        name: &MachineName,
        folder: &Path,
        on_phase: &mut (dyn FnMut(Phase) + Send),
        limit: Duration,
    ) -> Result<(), GuestError> {
        let mut client = KeeperClient::ensure(name.as_str(), folder, &self.spawn).await.map_err(boxed)?;
        client.wait_ready(on_phase, limit).await.map_err(boxed)
    }

    async fn readiness(&self, folder: &Path) -> Result<Option<Readiness>, GuestError> {
        let Some(mut client) = KeeperClient::connect(folder).await.map_err(boxed)? else { return Ok(None) };
        Ok(Some(match client.status().await.map_err(boxed)? {
            KeeperStatus::Starting { phase } => Readiness::Starting(phase),
            KeeperStatus::Ready => Readiness::Ready,
            KeeperStatus::Failed { phase, message } => {
                Readiness::Failed(format!("The guest failed while {phase}: {message}"))
            }
        }))
    }

    async fn release(&self, folder: &Path) -> Result<(), GuestError> {
        let Some(mut client) = KeeperClient::connect(folder).await.map_err(boxed)? else { return Ok(()) };
        client.stop().await.map_err(boxed)
    }

    fn api_socket(&self, folder: &Path) -> PathBuf {
        keeper::api_socket(folder)
    }

    fn tls_port(&self, folder: &Path) -> Option<u16> {
        keeper::tls_port(folder)
    }
}

fn boxed(error: keeper::KeeperError) -> GuestError {
    GuestError(Box::new(error))
}
