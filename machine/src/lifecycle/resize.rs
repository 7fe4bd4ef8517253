//! `set`: other sizes and other folders for a machine that is there.

use super::{CommandError, ErrorKind, Lifecycle, Whole};
use crate::{folder_choice, machine::MachineName};
use guest_contract::folders::SharedFolder;
use machine_drivers::{InstanceState, NewSizes};

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
        self.tell_when(&whole).await
    }

    /// Changes which folders of this computer a machine sees, from its next start on.
    pub async fn share(&self, name: &MachineName, folders: Vec<SharedFolder>) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let mut whole = self.whole_locked(name, &lock)?;
        if !folders.is_empty() {
            folder_choice::check_driver(&*whole.driver)?;
        }
        if let Some(own) = whole.record.own_mut() {
            own.request.folders = folders;
        }
        self.store.save(&whole.record)?;
        self.tell_when(&whole).await
    }

    async fn tell_when(&self, whole: &Whole) -> Result<(), CommandError> {
        if whole.driver.state(&whole.instance).await? == InstanceState::Running {
            let name = &whole.record.name;
            self.ui.status(&format!("This counts from the next start: machine restart {name}"));
        }
        Ok(())
    }
}
