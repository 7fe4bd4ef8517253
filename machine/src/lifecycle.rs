//! A machine's life: what each command does to it, step by step, and how a step is undone.
//!
//! ```text
//!                 reserve                     all steps done
//!   (name free) ───────────▶ Creating ───────────────────────────▶ Created ──rm──▶ Removing ──▶ (name free)
//!        ▲                   │  keys, check, Driver::create,          │                ▲
//!        │                   │  save, Driver::start, keeper, ready    │ start, stop,   │ interrupted: only
//!        └──── rolled back ──┤                                        │ kill, restart  │ `rm` applies
//!              (failure,     │                                        ▼                │
//!              Ctrl-C)       └─ kill -9: `create` of the same name or `rm` clears it ──┘
//! ```
//!
//! The [`Stage`](crate::store::Stage)s are persisted; whether the power is on is not, only the driver
//! knows. Whoever changes a machine holds its lock. A `Creating` or `Removing` machine that nobody has
//! locked was left by a killed command.

mod adopted;
mod certificates;
mod create;
mod guests;
mod hosts;
mod observe;
mod power;
mod remove;
mod resize;
mod transfer;

pub use create::Creation;
pub use guests::{GuestError, Guests, KeptGuests, Readiness};
pub use observe::{Observation, State};
pub use power::Power;
pub use transfer::driver_of;

use crate::{
    certificates::Renew,
    docker_context::{ContextError, DockerContexts},
    drivers::{Registry, Unavailable, UnknownDriver},
    endpoint::TlsEndpoint,
    error::{CommandError, ErrorKind},
    machine::MachineName,
    store::{Attempt, MachineLock, OwnPart, Record, Stage, Store, StoreError, files},
    ui::Ui,
};
use machine_drivers::{Access, Driver, Instance};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Until a booted guest must answer. A guest on a loaded host without KVM needs half a minute.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// How many lines of the console an error shows.
const CONSOLE_LINES: usize = 25;

/// The hands that work on machines.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle<'a> {
    /// Where they are remembered.
    pub store: &'a Store,
    /// Who makes them.
    pub drivers: &'a Registry,
    /// Who reaches what runs in them.
    pub guests: &'a dyn Guests,
    /// The docker CLI's contexts, where there is a place for them.
    pub contexts: Option<&'a DockerContexts>,
    /// Whom we talk to.
    pub ui: &'a Ui,
}

/// A machine of ours that is whole: its record, its driver and what the driver made.
#[derive(Debug)]
pub struct Whole {
    /// The record as read.
    pub record: Record,
    /// Its driver.
    pub driver: Arc<dyn Driver>,
    /// What the driver made.
    pub instance: Instance,
    /// The machine's folder.
    pub folder: PathBuf,
}

impl Lifecycle<'_> {
    /// Waits for the machine's lock, and says so when it takes waiting.
    async fn lock(&self, name: &MachineName) -> Result<MachineLock, CommandError> {
        let attempt = match self.store.attempt_lock(name)? {
            Attempt::Busy(waiting) => {
                self.ui
                    .status(&format!("Waiting for another command that is changing machine \"{name}\"..."));
                let waited = tokio::task::spawn_blocking(move || waiting.wait()).await;
                let failed = |error: &(dyn std::error::Error + 'static)| {
                    CommandError::caused(format!("Could not lock machine \"{name}\""), error)
                };
                waited.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?
            }
            attempt => attempt,
        };
        match attempt {
            Attempt::Held(lock) => Ok(lock),
            Attempt::Gone | Attempt::Busy(_) => Err(StoreError::NotFound { name: name.clone() }.into()),
        }
    }

    /// Reads a machine that is ours, whose driver is there, and that has been made and not half removed.
    pub fn whole(&self, name: &MachineName) -> Result<Whole, CommandError> {
        self.whole_unless(name, || MachineLock::is_held(&self.store.folder(name)))
    }

    /// The same for whoever holds the machine's lock.
    fn whole_locked(&self, name: &MachineName, _lock: &MachineLock) -> Result<Whole, CommandError> {
        self.whole_unless(name, || false)
    }

    /// `under_way`: some other command is at work on a machine that is not whole.
    fn whole_unless(
        &self,
        name: &MachineName,
        under_way: impl FnOnce() -> bool,
    ) -> Result<Whole, CommandError> {
        let record = self.store.load(name)?;
        let driver = self.driver_of(&record)?;
        let instance = match record.own() {
            Some(OwnPart { state: Stage::Created, instance: Some(instance), .. }) => instance.clone(),
            Some(own) => return Err(not_whole(name, own.state, under_way())),
            None => return Err(foreign(name, &record.driver)),
        };
        Ok(Whole { folder: self.store.folder(name), record, driver, instance })
    }

    /// How to reach the guest of a running machine.
    pub async fn access(&self, whole: &Whole) -> Result<Access, CommandError> {
        let name = &whole.record.name;
        whole.driver.access(&whole.instance).await.map_err(|error| match error {
            machine_drivers::DriverError::NotRunning { .. } => not_running(name),
            error => CommandError::from(error).within(format!("Could not reach machine \"{name}\"")),
        })
    }

    /// A running machine's TLS endpoint, with good certificates.
    pub fn tls_endpoint(&self, whole: &Whole) -> Result<TlsEndpoint, CommandError> {
        let (name, folder) = (&whole.record.name, whole.folder.clone());
        self.ensure_certificates(&whole.record, Renew::Nothing)?;
        let port = self.guests.tls_port(&folder).ok_or_else(|| no_endpoint(name))?;
        Ok(TlsEndpoint {
            address: format!("127.0.0.1:{port}"),
            authority: folder.join(files::CA),
            certificate: folder.join(files::CERT),
            key: folder.join(files::CERT_KEY),
            folder,
        })
    }

    /// The machine's context is a convenience: when it cannot be kept, that is told and stops nothing.
    fn keep_context(&self, keep: impl FnOnce(&DockerContexts) -> Result<(), ContextError>) {
        if let Some(contexts) = self.contexts
            && let Err(error) = keep(contexts)
        {
            let error = CommandError::caused("The docker context could not be kept", &error);
            self.ui.warning(&format!("{}: {}", error.message, error.causes.join(": ")));
        }
    }

    fn driver_of(&self, record: &Record) -> Result<Arc<dyn Driver>, CommandError> {
        match record.own() {
            Some(_) => Ok(self.drivers.get(&record.driver)?),
            None => Err(foreign(&record.name, &record.driver)),
        }
    }
}

impl From<UnknownDriver> for CommandError {
    fn from(error: UnknownDriver) -> Self {
        let plain = Self::new(ErrorKind::Failed, error.to_string())
            .hinted(format!("Known drivers: {}", error.known.join(", ")));
        if error.folders.is_empty() {
            return plain;
        }
        let folders: Vec<String> = error.folders.iter().map(|folder| folder.display().to_string()).collect();
        plain.hinted(format!("Looked for {} in {}", error.looked_for.join(" and "), folders.join(", ")))
    }
}

impl From<Unavailable> for CommandError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Unknown(error) => error.into(),
            Unavailable::Broken(error) => error.into(),
        }
    }
}

/// The machine's power is off, and the command needs it on.
pub fn not_running(name: &MachineName) -> CommandError {
    CommandError::new(ErrorKind::Failed, format!("Host \"{name}\" is not running"))
        .hinted(format!("Start it with \"machine start {name}\""))
}

/// No endpoint is written down: no keeper has served one.
fn no_endpoint(name: &MachineName) -> CommandError {
    CommandError::new(ErrorKind::Failed, format!("The keeper of \"{name}\" serves no TLS endpoint"))
        .hinted(format!("\"machine logs --keeper {name}\" says why"))
}

fn not_whole(name: &MachineName, stage: Stage, under_way: bool) -> CommandError {
    let why = match (under_way, stage) {
        (false, _) => unfinished(name, stage),
        (true, Stage::Removing) => "it is just being removed".to_owned(),
        (true, Stage::Creating | Stage::Created) => "it is just being created".to_owned(),
    };
    CommandError::new(ErrorKind::Failed, format!("Machine \"{name}\" is not whole: {why}"))
}

/// What is told of a machine that a killed command left in `stage`.
fn unfinished(name: &MachineName, stage: Stage) -> String {
    match stage {
        Stage::Removing => format!("rm was interrupted; finish it with machine rm {name}"),
        Stage::Creating | Stage::Created => {
            format!("create was interrupted; remove it with machine rm {name}")
        }
    }
}

pub(crate) fn foreign(name: &MachineName, driver: &str) -> CommandError {
    CommandError::new(
        ErrorKind::Failed,
        format!("Machine \"{name}\" was made by docker-machine with driver \"{driver}\""),
    )
    .hinted(format!("Only \"machine ls\", \"machine inspect\" and \"machine rm -f {name}\" apply to it"))
    .hinted(format!("With its plugin docker-machine-driver-{driver} in PATH, it can be started and stopped"))
}
