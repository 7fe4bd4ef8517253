//! Machines whose engine is on a host with an operating system of its own: what `start`, `stop` and `rm`
//! mean there besides what the driver does.

use super::{CommandError, Lifecycle, Whole};
use crate::provision::HostPlan;
use machine_drivers::{Access, EngineHome};

impl Lifecycle<'_> {
    /// The power is on: installs, upgrades or starts the engine where that is ours to do.
    pub(super) async fn install_engine(&self, whole: &Whole) -> Result<(), CommandError> {
        let access = whole.driver.access(&whole.instance).await?;
        let Some(plan) = plan(whole, &access) else { return Ok(()) };
        let name = &whole.record.name;
        let lines = self.ui.driver_lines(name.as_str());
        self.guests
            .provision(&plan, &lines)
            .await
            .map_err(|error| CommandError::caused(format!("Could not provision machine \"{name}\""), &error))
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
            Err(machine_drivers::DriverError::NotRunning { .. }) if !remove => return Ok(()),
            Err(machine_drivers::DriverError::NotFound { .. }) => return Ok(()),
            Err(machine_drivers::DriverError::NotRunning { .. }) => {
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

/// `None` where the engine is not ours to install.
fn plan<'a>(whole: &'a Whole, access: &'a Access) -> Option<HostPlan<'a>> {
    let own = whole.record.own()?;
    (access.engine == EngineHome::Host).then_some(HostPlan {
        access,
        folder: &whole.folder,
        machine_id: own.id.as_str(),
        driver: &whole.record.driver,
        engine: &own.engine,
    })
}
