//! `set`: other sizes, other folders and other credentials for a machine that is there.

use super::{CommandError, ErrorKind, Lifecycle, Whole};
use crate::{folder_choice, machine::MachineName};
use guest_contract::folders::SharedFolder;
use machine_drivers::{DriverOptions, EngineHome, InstanceState, NewSizes};

/// To a machine that runs, before its name.
const AT_START: &str = "This counts from the next start: machine restart";

impl Lifecycle<'_> {
    /// Changes a machine's sizes from its next start on, and says so when it is running.
    pub async fn resize(&self, name: &MachineName, sizes: &NewSizes) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let mut whole = self.whole_locked(name, &lock)?;
        let failed = |error: CommandError| error.within(format!("Could not change machine \"{name}\""));
        if !whole.driver.capabilities().resize {
            let message = format!("The {} driver cannot change a machine's sizes", whole.driver.name());
            return Err(failed(CommandError::new(ErrorKind::Failed, message)));
        }
        let resized = whole.driver.resize(&whole.instance, sizes).await.map_err(|e| failed(e.into()))?;
        if let Some(own) = whole.record.own_mut() {
            own.instance = Some(resized);
            own.request.cpus = sizes.cpus.or(own.request.cpus);
            own.request.memory_mib = sizes.memory_mib.or(own.request.memory_mib);
            own.request.disk_gib = sizes.disk_gib.or(own.request.disk_gib);
        }
        self.store.save(&whole.record)?;
        self.tell_when(&whole, AT_START).await
    }

    /// Changes which folders of this computer a machine sees, from its next start on; on a host that has a system
    /// of its own from the next look at what is installed there on.
    pub async fn share(&self, name: &MachineName, folders: Vec<SharedFolder>) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let mut whole = self.whole_locked(name, &lock)?;
        let mut when = AT_START;
        // One that is off is looked at when it starts.
        if let Ok(access) = whole.driver.access(&whole.instance).await {
            if !folders.is_empty() {
                folder_choice::check_access(&access)?;
            }
            if access.engine == EngineHome::Host {
                when = "This counts once it is brought to the host: machine provision";
            }
        }
        if let Some(own) = whole.record.own_mut() {
            own.request.folders = folders;
        }
        self.store.save(&whole.record)?;
        self.tell_when(&whole, when).await
    }

    /// Reaches the machine's account by the credentials in `options`: a token expires, a machine does not.
    pub async fn reauthorize(&self, name: &MachineName, options: &DriverOptions) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let whole = self.whole_locked(name, &lock)?;
        let failed = |error: CommandError| error.within(format!("Could not change machine \"{name}\""));
        whole.driver.reauthorize(&whole.instance, options).await.map_err(|e| failed(e.into()))
    }

    async fn tell_when(&self, whole: &Whole, when: &str) -> Result<(), CommandError> {
        if whole.driver.state(&whole.instance).await? == InstanceState::Running {
            let name = &whole.record.name;
            self.ui.status(&format!("{when} {name}"));
        }
        Ok(())
    }
}
