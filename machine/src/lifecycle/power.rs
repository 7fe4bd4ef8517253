//! `start`, `stop`, `restart` and `kill`, and the wait for a guest to answer.

use super::{CONSOLE_LINES, CommandError, Lifecycle, READY_LIMIT, Readiness, Whole};
use crate::{
    certificates::Renew,
    endpoint::socket_url,
    machine::MachineName,
    store::{Address, Stage, files},
};
use guest_contract::Phase;
use machine_drivers::{Access, DriverError, InstanceState};
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// How long `stop` lets the guest put its containers in order.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// The keeper hears of a crash before the VM monitor's process has ended; this much before, at most.
const CRASH_SETTLES: Duration = Duration::from_secs(2);

/// What to do to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// On, and wait until the engine answers.
    Start,
    /// Off, in good order.
    Stop,
    /// Off in good order, then on.
    Restart,
    /// Cut.
    Kill,
}

impl Lifecycle<'_> {
    /// Does it. Doing it to a machine that is in that state already is no error.
    pub async fn power(&self, name: &MachineName, power: Power) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let (doing, failed) = match power {
            Power::Start => ("Starting", "start"),
            Power::Stop => ("Stopping", "stop"),
            Power::Restart => ("Restarting", "restart"),
            Power::Kill => ("Killing", "kill"),
        };
        let failed = |error: CommandError| error.within(format!("Could not {failed} machine \"{name}\""));
        let record = self.store.load(name)?;
        if let Some(machine) = self.adopted(&record) {
            self.ui.status(&format!("{doing} \"{name}\"..."));
            return self.power_adopted(record, &machine, power, &lock).await.map_err(failed);
        }
        let mut whole = self.whole_locked(name, &lock)?;
        self.ui.status(&format!("{doing} \"{name}\"..."));
        let outcome = match power {
            Power::Start => self.start(&mut whole).await,
            Power::Stop => self.stop(&whole).await,
            Power::Restart => self.restart(&mut whole).await,
            Power::Kill => self.kill(&whole).await,
        };
        outcome.map_err(failed)
    }

    async fn start(&self, whole: &mut Whole) -> Result<(), CommandError> {
        let name = whole.record.name.clone();
        if whole.driver.state(&whole.instance).await? == InstanceState::Running {
            if let Ok(Some(Readiness::Failed(_))) = self.guests.readiness(&whole.folder).await {
                // It stays only to tell why; another one tries again.
                self.let_go(&whole.folder).await;
            }
            self.bring_up(whole).await.map_err(|error| error.hinted(logs_hint(&name, &whole.folder)))?;
            self.ui.status(&format!("Machine \"{name}\" is already running."));
            return Ok(());
        }
        self.power_on(whole).await?;
        self.bring_up(whole).await.map_err(|error| error.hinted(logs_hint(&name, &whole.folder)))?;
        self.ui.status(&format!("Machine \"{name}\" was started."));
        Ok(())
    }

    async fn stop(&self, whole: &Whole) -> Result<(), CommandError> {
        let name = &whole.record.name;
        if is_off(whole.driver.state(&whole.instance).await?) {
            self.let_go(&whole.folder).await;
            self.ui.status(&format!("Machine \"{name}\" is already stopped."));
            return Ok(());
        }
        self.shut_down(whole).await?;
        self.ui.status(&format!("Machine \"{name}\" was stopped."));
        Ok(())
    }

    async fn restart(&self, whole: &mut Whole) -> Result<(), CommandError> {
        let name = whole.record.name.clone();
        if !is_off(whole.driver.state(&whole.instance).await?) {
            self.shut_down(whole).await?;
        }
        self.power_on(whole).await?;
        self.bring_up(whole).await.map_err(|error| error.hinted(logs_hint(&name, &whole.folder)))?;
        self.ui.status(&format!("Machine \"{name}\" was restarted."));
        Ok(())
    }

    async fn kill(&self, whole: &Whole) -> Result<(), CommandError> {
        let name = &whole.record.name;
        self.halt(whole, false).await?;
        whole.driver.kill(&whole.instance).await?;
        self.let_go(&whole.folder).await;
        self.ui.status(&format!("Machine \"{name}\" was killed."));
        Ok(())
    }

    /// Brings the connections of a running machine in order: a new keeper, which gives the guest its seed and
    /// the time again, and the wait for its engine.
    pub async fn provision(&self, name: &MachineName) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let mut whole = self.whole_locked(name, &lock)?;
        self.access(&whole).await?;
        // What cannot be installed leaves the host and its keeper as they are.
        self.install(&whole).await?;
        self.let_go(&whole.folder).await;
        self.come_up(&mut whole).await.map_err(|error| error.hinted(logs_hint(name, &whole.folder)))?;
        self.ui.status("Docker is up and running!");
        Ok(())
    }

    async fn power_on(&self, whole: &Whole) -> Result<(), CommandError> {
        // The keeper of a VM that crashed may still be on its way out, and must not be taken for ours.
        self.let_go(&whole.folder).await;
        let progress = self.ui.driver_lines(whole.record.name.as_str());
        Ok(whole.driver.start(&whole.instance, &progress).await?)
    }

    async fn shut_down(&self, whole: &Whole) -> Result<(), CommandError> {
        self.halt(whole, false).await?;
        whole.driver.stop(&whole.instance, STOP_GRACE).await.map_err(|error| {
            let hint = matches!(error, DriverError::Timeout { .. });
            let error = CommandError::from(error);
            if hint {
                error.hinted(format!("Cut its power with \"machine kill {}\"", whole.record.name))
            } else {
                error
            }
        })?;
        self.let_go(&whole.folder).await;
        Ok(())
    }

    /// From power on to an engine that answers; then the machine counts as created and its address is
    /// remembered.
    pub(super) async fn bring_up(&self, whole: &mut Whole) -> Result<(), CommandError> {
        self.install(whole).await?;
        self.come_up(whole).await
    }

    async fn install(&self, whole: &Whole) -> Result<(), CommandError> {
        self.ensure_certificates(&whole.record, Renew::Nothing)?;
        self.install_engine(whole).await
    }

    async fn come_up(&self, whole: &mut Whole) -> Result<(), CommandError> {
        self.ui.status("Waiting for machine to be running, this may take a few minutes...");
        if let Err(not_ready) = self.adopt_and_await(whole).await {
            if !not_ready.anonymous() || !self.has_crashed(whole).await? {
                return Err(not_ready.error);
            }
            // QEMU before 8.1 sometimes emulates the kernel's self-patching wrongly while several vCPUs run.
            self.ui.status("The guest crashed before it could be told who it is. Starting it once more...");
            self.power_on(whole).await?;
            self.adopt_and_await(whole).await.map_err(|not_ready| not_ready.error)?;
        }
        let address = Address::from(whole.driver.access(&whole.instance).await?);
        let instance = whole.driver.refreshed(&whole.instance).await?;
        let known = whole.record.own().map(|own| (own.state, own.address.as_ref(), own.instance.as_ref()));
        if known != Some((Stage::Created, Some(&address), Some(&instance)))
            && let Some(own) = whole.record.own_mut()
        {
            own.state = Stage::Created;
            own.address = Some(address);
            own.instance = Some(instance);
            self.store.save(&whole.record)?;
        }
        let url = socket_url(&self.guests.api_socket(&whole.folder));
        self.keep_context(|contexts| contexts.put(&whole.record.name, &whole.folder, &url));
        Ok(())
    }

    /// Whether the VM is gone though nobody asked; one that is on its way out is waited for.
    async fn has_crashed(&self, whole: &Whole) -> Result<bool, CommandError> {
        let deadline = Instant::now() + CRASH_SETTLES;
        loop {
            match whole.driver.state(&whole.instance).await? {
                InstanceState::Error => return Ok(true),
                InstanceState::Stopped => return Ok(false),
                _ if Instant::now() >= deadline => return Ok(false),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn adopt_and_await(&self, whole: &Whole) -> Result<(), NotReady> {
        let name = &whole.record.name;
        if let Err(error) = self.guests.adopt(name, &whole.folder).await {
            return Err(NotReady { phase: None, error: could_not_reach(name, &error) });
        }
        self.await_guest(whole).await
    }

    /// Waits until the guest answers. A failure says in which phase, after how long, and what the guest
    /// printed last.
    pub async fn wait_ready(&self, whole: &Whole) -> Result<(), CommandError> {
        self.await_guest(whole).await.map_err(|not_ready| not_ready.error)
    }

    async fn await_guest(&self, whole: &Whole) -> Result<(), NotReady> {
        let name = &whole.record.name;
        let step = self.ui.step(name.as_str());
        let mut last = None;
        let mut on_phase = |phase: Phase| {
            if last.replace(phase) != Some(phase) {
                step.phase(&phase.to_string());
            }
        };
        let waited = self.guests.wait_ready(name, &whole.folder, &mut on_phase, READY_LIMIT).await;
        let elapsed = step.elapsed();
        drop(step);
        let Err(error) = waited else { return Ok(()) };
        let phase =
            last.map_or_else(|| "before its first sign of life".to_owned(), |phase| format!("while {phase}"));
        let message = format!(
            "Machine \"{name}\" did not get ready: it gave up {phase}, after {:.1} s",
            elapsed.as_secs_f64()
        );
        let console = whole.driver.console_tail(&whole.instance, CONSOLE_LINES).await.unwrap_or_default();
        let mut error = CommandError::caused(message, &error);
        if !console.is_empty() {
            error.causes.push(format!("The console's last lines:\n    {}", console.join("\n    ")));
        }
        Err(NotReady { phase: last, error })
    }

    /// The power is off: its keeper may go. It would notice by itself; a failure to tell it is no matter.
    pub(super) async fn let_go(&self, folder: &Path) {
        if let Err(error) = self.guests.release(folder).await {
            tracing::debug!(%error, "the keeper could not be told to stop");
        }
    }
}

/// A guest that was waited for in vain.
struct NotReady {
    /// The last that it was seen in.
    phase: Option<Phase>,
    error: CommandError,
}

impl NotReady {
    /// It had no seed yet and so has done nothing that another boot would do twice.
    fn anonymous(&self) -> bool {
        matches!(self.phase, None | Some(Phase::Booting))
    }
}

impl From<Access> for Address {
    fn from(access: Access) -> Self {
        Self {
            ip: access.ip,
            ssh_host: access.ssh.host,
            ssh_port: access.ssh.port,
            ssh_user: access.ssh.user,
        }
    }
}

/// Where to look when a machine that stays did not get ready.
pub(super) fn logs_hint(name: &MachineName, folder: &Path) -> String {
    let log = folder.join(files::KEEPER_LOG);
    format!("\"machine logs {name}\" shows the console; its keeper's log is {}", log.display())
}

pub(super) fn is_off(state: InstanceState) -> bool {
    matches!(state, InstanceState::Stopped | InstanceState::Error)
}

pub(super) fn could_not_reach(name: &MachineName, error: &super::GuestError) -> CommandError {
    CommandError::caused(format!("Could not reach machine \"{name}\""), error)
}
