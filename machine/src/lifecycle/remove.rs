//! `rm`: always converges, from whatever state a machine is in.

use super::{CommandError, Lifecycle, Whole};
use crate::{
    machine::MachineName,
    store::{MachineLock, Record, RecordError, Stage, StoreError},
};

impl Lifecycle<'_> {
    /// Removes the instance, then the record. With `force` a record goes even when its instance cannot
    /// be removed, and a machine that does not exist is no error.
    pub async fn remove(&self, name: &MachineName, force: bool) -> Result<(), CommandError> {
        let removed = self.try_remove(name, force).await;
        removed.map_err(|error| {
            // The store's sentence about an unknown name needs nothing around it.
            if error.causes.is_empty() && error.message.contains("does not exist") {
                return error;
            }
            error.within(format!("Error removing host \"{name}\""))
        })
    }

    async fn try_remove(&self, name: &MachineName, force: bool) -> Result<(), CommandError> {
        let absent = |error: CommandError| {
            if force {
                self.ui.warning(&error.message);
                return Ok(());
            }
            Err(error)
        };
        // First the record: without one there is no machine, and a lock file must not be made for it.
        if let Err(error @ StoreError::NotFound { .. }) = self.store.load(name) {
            return absent(error.into());
        }
        let lock = self.lock(name).await?;
        let record = match self.store.load(name) {
            Ok(record) => record,
            Err(StoreError::Record { source: RecordError::Damaged(_), .. }) if force => {
                self.ui.warning(&format!(
                    "The record of \"{name}\" is damaged: whatever it stood for is not removed"
                ));
                self.store.remove(name)?;
                return self.removed(name);
            }
            Err(error @ StoreError::NotFound { .. }) => return absent(error.into()),
            Err(error) => return Err(error.into()),
        };
        self.remove_locked(record, force, &lock).await?;
        self.removed(name)
    }

    /// Removes a machine whose lock is held.
    pub(super) async fn remove_locked(
        &self,
        mut record: Record,
        force: bool,
        _lock: &MachineLock,
    ) -> Result<(), CommandError> {
        let name = record.name.clone();
        if let Err(error) = self.remove_instance(&mut record).await {
            if !force {
                return Err(
                    error.hinted(format!("\"machine rm -f {name}\" removes the local record all the same"))
                );
            }
            self.ui.warning(&format!("{}; only the local record of \"{name}\" is removed", error.message));
        }
        let folder = self.store.folder(&name);
        self.let_go(&folder).await;
        self.keep_context(|contexts| contexts.remove(&name, &folder));
        Ok(self.store.remove(&name)?)
    }

    async fn remove_instance(&self, record: &mut Record) -> Result<(), CommandError> {
        if let Some(machine) = self.adopted(record) {
            return Ok(machine.driver.remove(&machine.instance).await?);
        }
        let driver = self.driver_of(record)?;
        let name = record.name.clone();
        let Some(own) = record.own_mut() else { return Ok(()) };
        let folder = self.store.folder(&name);
        let instance = match &own.instance {
            Some(instance) => instance.clone(),
            // Where `create` was cut off before it could say what it made, only the machine's id tells.
            // A local driver's files go with the folder.
            None => match driver.recover(&folder, own.id.as_str()).await? {
                Some(instance) => instance,
                None => return Ok(()),
            },
        };
        if own.state != Stage::Removing {
            own.state = Stage::Removing;
            self.store.save(record)?;
        }
        let whole = Whole { record: record.clone(), driver, instance, folder };
        self.halt(&whole, true).await?;
        Ok(whole.driver.remove(&whole.instance).await?)
    }

    fn removed(&self, name: &MachineName) -> Result<(), CommandError> {
        self.ui.status(&format!("Successfully removed {name}"));
        Ok(())
    }
}
