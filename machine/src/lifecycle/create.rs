//! `create`: every step, and the way back from each.

use super::{CommandError, ErrorKind, Lifecycle, Whole, power::logs_hint};
use crate::{
    certificates::Renew,
    interrupts::Listener,
    machine::{MachineId, MachineName},
    ssh,
    store::{Attempt, MachineLock, Record, Request, Stage, StoreError, TlsPart},
};
use guest_contract::seed::EngineSettings;
use machine_drivers::{Driver, DriverError, DriverOptions, Identity, Instance, MachineSpec};
use std::sync::Arc;

/// What `create` is asked for.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The machine's name.
    pub name: MachineName,
    /// Who makes it.
    pub driver: Arc<dyn Driver>,
    /// The general part.
    pub request: Request,
    /// The driver's own options.
    pub options: DriverOptions,
    /// Settings of the engine.
    pub engine: EngineSettings,
    /// Its TLS endpoint.
    pub tls: TlsPart,
    /// Keep what is there when a step fails after the driver has made the machine.
    pub keep_on_error: bool,
}

/// A machine in the making: what there is to undo.
#[derive(Debug)]
struct Unfinished {
    record: Record,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
    /// `Driver::create` has been called.
    making: bool,
    instance: Option<Instance>,
}

impl Lifecycle<'_> {
    /// Makes a machine and waits until its engine answers. When a step fails, and at the first
    /// interrupt, everything is undone; a second interrupt leaves the rest to `machine rm`.
    pub async fn create(&self, creation: Creation, interrupts: &mut Listener) -> Result<(), CommandError> {
        let name = creation.name.clone();
        let id = MachineId::draw()
            .map_err(|e| CommandError::caused(format!("Could not create machine \"{name}\""), &e))?;
        let record = Record::new(
            name.clone(),
            creation.driver.name(),
            id.clone(),
            creation.request.clone(),
            creation.engine,
            creation.tls,
        );
        // Before anything is there that a failure would have to undo.
        let owner = self.store.id()?;
        let _lock = self.reserve(&record).await?;
        let spec = MachineSpec {
            name: name.hostname(),
            machine_id: id.as_str().to_owned(),
            owner,
            identity: Identity::default(),
            directory: self.store.folder(&name),
            cache: self.store.cache(),
            image: creation.request.image,
            cpus: creation.request.cpus,
            memory_mib: creation.request.memory_mib,
            disk_gib: creation.request.disk_gib,
            options: creation.options,
        };
        let mut unfinished =
            Unfinished { record, spec, driver: creation.driver, making: false, instance: None };
        let outcome = tokio::select! {
            outcome = self.build(&mut unfinished) => outcome,
            () = interrupts.next() => Err(CommandError::new(ErrorKind::Interrupted, "Interrupted")),
        };
        let Err(error) = outcome else { return Ok(()) };
        if creation.keep_on_error && error.kind != ErrorKind::Interrupted && unfinished.instance.is_some() {
            return Err(self.keep(unfinished, error));
        }
        let error = match (&unfinished.instance, error.kind) {
            (Some(_), ErrorKind::Failed) => {
                error.hinted("Add --keep-on-error to keep the machine and its logs")
            }
            _ => error,
        };
        tokio::select! {
            cleanup = self.undo(&unfinished) => Err(error.and_cleanup(cleanup)),
            () = interrupts.next() => Err(CommandError::new(ErrorKind::Interrupted, "Interrupted while cleaning up")
                .hinted(format!("Remove what is left with \"machine rm {name}\""))),
        }
    }

    /// Takes the name. A machine of that name whose `create` was killed is cleared away first.
    pub(super) async fn reserve(&self, record: &Record) -> Result<MachineLock, CommandError> {
        match self.store.reserve(record) {
            Err(StoreError::Taken { name }) => {
                self.clear_interrupted(&name).await?;
                Ok(self.store.reserve(record)?)
            }
            reserved => Ok(reserved?),
        }
    }

    async fn clear_interrupted(&self, name: &MachineName) -> Result<(), CommandError> {
        let taken = || CommandError::from(StoreError::Taken { name: name.clone() });
        let lock = match self.store.attempt_lock(name)? {
            Attempt::Gone => return Ok(()),
            Attempt::Busy(_) => return Err(taken()),
            Attempt::Held(lock) => lock,
        };
        let record = self.store.load(name)?;
        if !record.own().is_some_and(|own| matches!(own.state, Stage::Creating | Stage::Removing)) {
            return Err(taken());
        }
        self.ui.status(&format!("Clearing away what an interrupted command left of machine \"{name}\"..."));
        self.remove_locked(record, false, &lock).await
    }

    async fn build(&self, unfinished: &mut Unfinished) -> Result<(), CommandError> {
        let name = unfinished.record.name.clone();
        let failed = |error: CommandError| error.within(format!("Could not create machine \"{name}\""));
        let driver = Arc::clone(&unfinished.driver);

        let keys = ssh::keys::generate(&unfinished.spec.directory)
            .map_err(|e| CommandError::caused(format!("Could not create machine \"{name}\""), &e))?;
        unfinished.spec.identity = Identity {
            authorized_key: keys.client_public,
            host_public: keys.host_public,
            host_private: keys.host_private,
        };

        self.ensure_certificates(&unfinished.record, Renew::Nothing).map_err(failed)?;

        self.ui.status("Running pre-create checks...");
        let remarks = driver.check(&unfinished.spec).await.map_err(pre_create)?;
        for remark in remarks {
            self.ui.status(&format!("({name}) {remark}"));
        }

        self.ui.status("Creating machine...");
        let progress = self.ui.driver_lines(name.as_str());
        unfinished.making = true;
        let instance = driver.create(&unfinished.spec, &progress).await.map_err(|e| failed(e.into()))?;
        unfinished.instance = Some(instance.clone());
        if let Some(own) = unfinished.record.own_mut() {
            own.instance = Some(instance.clone());
        }
        self.store.save(&unfinished.record)?;

        driver.start(&instance, &progress).await.map_err(|e| failed(e.into()))?;
        let mut whole = Whole {
            record: unfinished.record.clone(),
            driver,
            instance,
            folder: unfinished.spec.directory.clone(),
        };
        self.bring_up(&mut whole).await.map_err(failed)?;
        self.ui.status("Docker is up and running!");
        self.ui.status(&format!(
            "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, \
             run: machine env {name}"
        ));
        Ok(())
    }

    /// The machine stays, as one that can be started.
    fn keep(&self, unfinished: Unfinished, error: CommandError) -> CommandError {
        let Unfinished { mut record, spec, .. } = unfinished;
        let name = record.name.clone();
        if let Some(own) = record.own_mut() {
            own.state = Stage::Created;
        }
        let saved = self.store.save(&record).map_err(CommandError::from);
        let kept = format!(
            "The machine was kept: try \"machine start {name}\", or remove it with \"machine rm {name}\""
        );
        error.and_cleanup(saved).hinted(kept).hinted(logs_hint(&name, &spec.directory))
    }

    async fn undo(&self, unfinished: &Unfinished) -> Result<(), CommandError> {
        let name = &unfinished.record.name;
        let retry =
            |error: CommandError| error.hinted(format!("Remove what is left with \"machine rm {name}\""));
        if let Some(instance) = &unfinished.instance {
            let whole = Whole {
                record: unfinished.record.clone(),
                driver: Arc::clone(&unfinished.driver),
                instance: instance.clone(),
                folder: unfinished.spec.directory.clone(),
            };
            // A host that cannot be reached has nothing of ours on it, or keeps it.
            if let Err(error) = self.halt(&whole, true).await {
                self.ui.warning(&format!("What was put on the host may still be there: {}", error.message));
            }
        }
        undo_instance(unfinished).await.map_err(|e| retry(CommandError::from(e)))?;
        self.let_go(&unfinished.spec.directory).await;
        self.store.remove(name).map_err(|e| retry(e.into()))
    }
}

/// Removes what `Driver::create` made, also when it was cut off before it could say what that was.
async fn undo_instance(unfinished: &Unfinished) -> Result<(), DriverError> {
    let Unfinished { driver, spec, making, instance, .. } = unfinished;
    match instance {
        Some(instance) => driver.remove(instance).await,
        // All that a local driver makes before it starts anything is files in the machine's folder.
        None if !making || driver.capabilities().local => Ok(()),
        None => match driver.recover(&spec.directory, &spec.machine_id).await? {
            Some(instance) => driver.remove(&instance).await,
            None => Ok(()),
        },
    }
}

fn pre_create(error: DriverError) -> CommandError {
    CommandError::from(error).within("Error with pre-create check").of_kind(ErrorKind::PreCreateCheck)
}
