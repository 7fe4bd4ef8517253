//! Machines whose engine is on a host with an operating system of its own: what `start`, `stop` and `rm`
//! mean there besides what the driver does.

use super::{CommandError, ErrorKind, Lifecycle, Whole};
use crate::{folder_choice, machine::MachineName, provision::HostPlan};
use machine_drivers::{Access, DriverError, EngineHome, InstanceState};
use std::time::Duration;
use tokio::time::sleep;

/// How often a provider is asked whether a VM that does not answer yet is still there.
const WATCH: Duration = Duration::from_secs(5);

impl Lifecycle<'_> {
    /// The power is on: installs, upgrades or starts the engine where that is ours to do.
    pub(super) async fn install_engine(&self, whole: &Whole) -> Result<(), CommandError> {
        let name = &whole.record.name;
        let access = whole.driver.access(&whole.instance).await.map_err(|error| why_lost(name, error))?;
        if whole.record.own().is_some_and(|own| !own.request.folders.is_empty()) {
            folder_choice::check_access(&access)?;
        }
        let Some(plan) = plan(whole, &access) else { return Ok(()) };
        let lines = self.ui.driver_lines(name.as_str());
        let failed = |error: &(dyn std::error::Error + 'static)| {
            CommandError::caused(format!("Could not provision machine \"{name}\""), error)
        };
        let changed = tokio::select! {
            outcome = self.guests.provision(&plan, &lines) => outcome.map_err(|error| failed(&error))?,
            error = lost(whole) => return Err(why_lost(name, error)),
        };
        if changed {
            // Its keeper may know other folders.
            self.let_go(&whole.folder).await;
        }
        Ok(())
    }

    /// Before the driver lets go of a borrowed host: ends the engine there, and with `remove` takes away
    /// what was put there.
    pub(super) async fn halt(&self, whole: &Whole, remove: bool) -> Result<(), CommandError> {
        if !whole.driver.capabilities().borrowed_host {
            return Ok(());
        }
        let access = match whole.driver.access(&whole.instance).await {
            Ok(access) => access,
            // It has been let go of already; for a removal it is taken up once more.
            Err(DriverError::NotRunning { .. }) if !remove => return Ok(()),
            Err(DriverError::NotFound { .. }) => return Ok(()),
            Err(DriverError::NotRunning { .. }) => {
                whole.driver.start(&whole.instance, &machine_drivers::Silent).await?;
                whole.driver.access(&whole.instance).await?
            }
            Err(error) => return Err(error.into()),
        };
        let Some(plan) = plan(whole, &access) else { return Ok(()) };
        self.guests
            .halt(&plan, remove)
            .await
            .map_err(|error| CommandError::caused("Could not take the engine off the host", &error))
    }
}

/// Returns when the VM is not there any more: nobody would ever answer. A borrowed host is not watched, for
/// nobody knows of it but by SSH.
async fn lost(whole: &Whole) -> DriverError {
    if whole.driver.capabilities().borrowed_host {
        std::future::pending::<()>().await;
    }
    loop {
        sleep(WATCH).await;
        match whole.driver.state(&whole.instance).await {
            Ok(InstanceState::Stopped | InstanceState::Error) => {
                return DriverError::NotRunning { id: whole.instance.id.clone() };
            }
            Err(error @ DriverError::NotFound { .. }) => return error,
            // A provider that does not answer tells nothing about the VM.
            Ok(_) | Err(_) => {}
        }
    }
}

/// What a user makes of a VM that ran a moment ago and does not any more.
fn why_lost(name: &MachineName, error: DriverError) -> CommandError {
    let what = match error {
        DriverError::NotRunning { .. } => "went off",
        DriverError::NotFound { .. } => "was removed",
        error => return error.into(),
    };
    let sentence = format!("Machine \"{name}\" {what} while the engine was being put there");
    CommandError::new(ErrorKind::Failed, sentence)
}

/// `None` where the engine is not ours to install.
fn plan<'a>(whole: &'a Whole, access: &'a Access) -> Option<HostPlan<'a>> {
    let own = whole.record.own()?;
    (access.engine == EngineHome::Host).then_some(HostPlan {
        access,
        folder: &whole.folder,
        machine_id: own.id.as_str(),
        driver: &whole.record.driver,
        engine: &own.engine,
        folders: &own.request.folders,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_goes_off_is_told_by_the_machines_name_however_early_it_does() {
        let name: MachineName = "ci-1".parse().unwrap();
        let told = |error| why_lost(&name, error).message;
        let id = || "2".to_owned();
        let off = told(DriverError::NotRunning { id: id() });
        assert_eq!(off, "Machine \"ci-1\" went off while the engine was being put there");
        let removed = told(DriverError::NotFound { id: id() });
        assert_eq!(removed, "Machine \"ci-1\" was removed while the engine was being put there");
        let other = told(DriverError::Provider { what: "No".to_owned() });
        assert!(other.contains("No") && !other.contains("went off"), "{other}");
    }
}
