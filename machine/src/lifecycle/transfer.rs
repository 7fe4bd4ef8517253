//! `export` and `import`: a machine moves to another computer in a file.

use super::{CommandError, Creation, ErrorKind, Lifecycle, power::is_off};
use crate::{
    drivers::Registry,
    machine::{MachineId, MachineName},
    store::{Record, Stage},
    transfer::{self, Header, TransferError, What},
};
use machine_drivers::{Driver, DriverError, Identity, Instance, MachineSpec};
use std::{path::Path, sync::Arc};

impl Lifecycle<'_> {
    /// Writes a machine that is off to `path`.
    pub async fn export(&self, name: &MachineName, path: &Path) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let whole = self.whole_locked(name, &lock)?;
        let failed = |error: CommandError| error.within(format!("Could not export machine \"{name}\""));
        if !is_off(whole.driver.state(&whole.instance).await?) {
            let running = CommandError::new(ErrorKind::Failed, "It is running, and its disk changes");
            return Err(failed(running.hinted(format!("Stop it with \"machine stop {name}\""))));
        }
        let Some(own) = whole.record.own() else { return Ok(()) };
        // What the driver made here, and where, is of this computer.
        let mut own = own.clone();
        (own.instance, own.address) = (None, None);
        let header =
            Header::new(name.as_str(), whole.driver.name(), own, &whole.folder, contents(&*whole.driver)?);
        let header = header.map_err(|error| failed(told(&error)))?;
        let (folder, path) = (whole.folder.clone(), path.to_owned());
        let step = self.ui.step(name.as_str());
        step.phase("writing its disk");
        let written = tokio::task::spawn_blocking(move || transfer::write(&header, &folder, &path)).await;
        drop(step);
        written.map_err(|error| failed(told(&error)))?.map_err(|error| failed(told(&error)))
    }

    /// Makes a machine of what is in `path`; `creation` says the rest. It is off.
    pub async fn import(&self, path: &Path, header: Header, creation: Creation) -> Result<(), CommandError> {
        let name = creation.name.clone();
        let failed = |error: CommandError| error.within(format!("Could not import machine \"{name}\""));
        let id = MachineId::draw().map_err(|error| failed(told(&error)))?;
        let owner = self.store.id()?;
        let Creation { driver, request, engine, tls, options, .. } = creation;
        let mut record = Record::new(name.clone(), driver.name(), id.clone(), request.clone(), engine, tls);
        let _lock = self.reserve(&record).await?;
        let folder = self.store.folder(&name);
        let spec = MachineSpec {
            name: name.hostname(),
            machine_id: id.as_str().to_owned(),
            owner,
            identity: Identity::default(),
            directory: folder.clone(),
            cache: self.store.cache(),
            image: request.image,
            cpus: request.cpus,
            memory_mib: request.memory_mib,
            disk_gib: request.disk_gib,
            options,
        };
        let step = self.ui.step(name.as_str());
        step.phase("reading its disk");
        let made = make(&driver, &spec, path, header).await;
        drop(step);
        match made {
            Ok(instance) => {
                if let Some(own) = record.own_mut() {
                    own.state = Stage::Created;
                    own.instance = Some(instance);
                }
                Ok(self.store.save(&record)?)
            }
            Err(error) => {
                // What there is was made in the folder, and goes with it.
                let undone = self.store.remove(&name).map_err(CommandError::from);
                Err(failed(error).and_cleanup(undone))
            }
        }
    }
}

/// The driver of an exported machine, if it is here and its machines can move.
pub fn driver_of(header: &Header, drivers: &Registry) -> Result<Arc<dyn Driver>, CommandError> {
    let driver = drivers.get(&header.driver)?;
    contents(&*driver)?;
    Ok(driver)
}

fn contents(driver: &dyn Driver) -> Result<&'static [&'static str], CommandError> {
    let contents = driver.capabilities().contents;
    if contents.is_empty() {
        let message = format!("Machines of the {} driver cannot be moved", driver.name());
        return Err(CommandError::new(ErrorKind::Failed, message));
    }
    Ok(contents)
}

async fn make(
    driver: &Arc<dyn Driver>,
    spec: &MachineSpec,
    path: &Path,
    header: Header,
) -> Result<Instance, CommandError> {
    driver.check(spec).await?;
    let unpack = |what| {
        let (header, path, folder) = (header.clone(), path.to_owned(), spec.directory.clone());
        tokio::task::spawn_blocking(move || transfer::unpack(&header, &path, &folder, what))
    };
    let unpacked = |result: Result<Result<(), TransferError>, tokio::task::JoinError>| {
        result.map_err(|error| told(&error))?.map_err(|error| told(&error))
    };
    unpacked(unpack(What::Keys).await)?;
    let instance = driver
        .create(spec, &machine_drivers::Silent)
        .await
        .map_err(|e: DriverError| CommandError::from(e))?;
    unpacked(unpack(What::Contents).await)?;
    Ok(instance)
}

fn told(error: &(dyn std::error::Error + 'static)) -> CommandError {
    CommandError::plain(error)
}
