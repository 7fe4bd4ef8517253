//! The keeper's side of the seed channel: who the guest is, what time it is, and how far it has come.

use super::KeeperPlan;
use crate::{
    guest_channel::{GuestChannel, GuestChannelError},
    ssh::keys::MachineKeys,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guest_contract::{
    GuestMessage, HostMessage, Phase, Seed, folders::SharedFolder, seed::EngineSettings, version,
};
use nix::time::{ClockId, clock_gettime};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// The VM monitor makes its sockets before its driver returns; a loaded host may still need a moment.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How often we look whether the host has slept.
const LOOK: Duration = Duration::from_secs(5);
/// A suspension shorter than this leaves the guest's clock good enough.
const SLEPT: Duration = Duration::from_secs(1);
/// Bytes of randomness in a seed; the contract asks for 32 at least.
const ENTROPY: usize = 64;

/// The part of a seed that does not change. Holds the host key: no `Debug`.
pub(super) struct Identity {
    machine_id: String,
    hostname: String,
    host_key: String,
    authorized_keys: Vec<String>,
    engine: EngineSettings,
    folders: Vec<SharedFolder>,
}

impl Identity {
    pub(super) fn new(plan: &KeeperPlan, keys: &MachineKeys) -> Self {
        Self {
            machine_id: plan.machine_id.clone(),
            hostname: plan.name.clone(),
            host_key: keys.host_private.clone(),
            authorized_keys: vec![keys.client_public.clone()],
            engine: plan.engine.clone(),
            folders: plan.folders.clone(),
        }
    }

    /// A seed of this moment.
    fn seed(&self) -> io::Result<Seed> {
        let mut entropy = [0_u8; ENTROPY];
        File::open("/dev/urandom")?.read_exact(&mut entropy)?;
        Ok(Seed {
            protocol: version::PROTOCOL,
            machine_id: self.machine_id.clone(),
            hostname: self.hostname.clone(),
            host_key: self.host_key.clone(),
            authorized_keys: self.authorized_keys.clone(),
            time_unix_nanos: unix_nanos(),
            entropy: STANDARD.encode(entropy),
            engine: self.engine.clone(),
            folders: self.folders.clone(),
        })
    }
}

/// What the guest has said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GuestState {
    pub(super) phase: Phase,
    /// Why it cannot go on.
    pub(super) failure: Option<String>,
}

impl Default for GuestState {
    fn default() -> Self {
        Self { phase: Phase::Booting, failure: None }
    }
}

/// Seeds the guest behind `path` and reports what it says. Returns when the VM is gone.
pub(super) async fn drive(
    path: &Path,
    identity: &Identity,
    report: &watch::Sender<GuestState>,
) -> Result<(), GuestChannelError> {
    let mut channel = connect(path).await?;
    let seed = identity.seed().map_err(GuestChannelError::Send)?;
    channel.send(&HostMessage::Seed(Box::new(seed))).await?;

    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asleep = time_asleep();
    let mut heard = false;
    loop {
        tokio::select! {
            message = channel.next() => {
                let Some(message) = message? else {
                    return Ok(());
                };
                report.send_replace(match message {
                    GuestMessage::Phase { phase } => GuestState { phase, failure: None },
                    GuestMessage::Failed { phase, message } => GuestState { phase, failure: Some(message) },
                });
                if !heard {
                    // The seed waited for the guest to boot, and its time with it.
                    heard = true;
                    channel.send(&HostMessage::Time { unix_nanos: unix_nanos() }).await?;
                }
            }
            _ = look.tick() => {
                let now = time_asleep();
                if now.saturating_sub(asleep) >= SLEPT {
                    tracing::info!("the host slept; setting the guest's clock");
                    channel.send(&HostMessage::Time { unix_nanos: unix_nanos() }).await?;
                }
                asleep = now;
            }
        }
    }
}

async fn connect(path: &Path) -> Result<GuestChannel, GuestChannelError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    loop {
        match GuestChannel::connect(path).await {
            Ok(channel) => return Ok(channel),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Nanoseconds since the Unix epoch; 0 before it.
fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How long this host has been suspended since its boot: the clock that runs meanwhile against the one
/// that does not.
fn time_asleep() -> Duration {
    // Neither clock can fail on Linux; were one to, the host would merely never seem to sleep.
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}
