//! [`KvmDriver`]: the seam's methods on top of the modules beside it.

use crate::{
    accel::Accelerator,
    console, disk, files, folder, image, kernel, power, process, qmp,
    record::{Asked, Machine, Record},
    sizes::{self, Sizes},
    start,
};
use async_trait::async_trait;
use guest_contract::paths::SSH_USER;
use machine_drivers::{
    Access, Capabilities, Driver, DriverError, EngineHome, Instance, InstanceState, MachineSpec, NewSizes,
    OptionSpec, Progress, SshEndpoint, SshKeys,
};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use tokio::task::spawn_blocking;

const QEMU: &str = "qemu-system-x86_64";
/// Where the guest's forwarded ports are.
const LOOPBACK: &str = "127.0.0.1";
/// How long `state` waits for a monitor that may be busy with another client.
const STATE_LIMIT: Duration = Duration::from_millis(500);

/// Local machines under QEMU. Cheap to make; probes KVM once, when it first has to know.
#[derive(Debug)]
pub struct KvmDriver {
    qemu: PathBuf,
    accelerator: OnceLock<Accelerator>,
}

impl Default for KvmDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl KvmDriver {
    /// The driver on this host's `qemu-system-x86_64`, looked up on `PATH` when it is needed.
    pub fn new() -> Self {
        Self::with_qemu(QEMU)
    }

    /// The driver on another QEMU: a path, or a name to look up on `PATH`.
    pub fn with_qemu(qemu: impl Into<PathBuf>) -> Self {
        Self { qemu: qemu.into(), accelerator: OnceLock::new() }
    }

    fn find_qemu(&self) -> Result<PathBuf, DriverError> {
        which::which(&self.qemu).map_err(|_| DriverError::Prerequisite {
            what: format!("QEMU is not installed: there is no {}", self.qemu.display()),
            hint: "Install it with: sudo apt-get install qemu-system-x86".to_owned(),
        })
    }

    async fn accelerator(&self) -> Result<Accelerator, DriverError> {
        if let Some(known) = self.accelerator.get() {
            return Ok(known.clone());
        }
        let found = spawn_blocking(Accelerator::detect).await.map_err(|error| interrupted(&error))?;
        Ok(self.accelerator.get_or_init(|| found).clone())
    }
}

#[async_trait]
impl Driver for KvmDriver {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            local: true,
            seed_channel: true,
            resize: true,
            contents: &[files::DISK],
            ..Capabilities::default()
        }
    }

    fn options(&self) -> &'static [OptionSpec] {
        sizes::OPTIONS
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        plan(spec)?;
        self.find_qemu()?;
        Ok(self.accelerator().await?.warning().into_iter().collect())
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        let machine = plan(spec)?;
        progress.step(&format!("Formatting a disk of {} GiB", machine.disk_gib));
        // A task of its own: dropping this future must not drop the lock while the disk is written.
        tokio::spawn(create(spec.directory.clone(), machine)).await.map_err(|error| interrupted(&error))?
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        let (directory, _) = folder::open(instance)?;
        let host = start::Host { qemu: self.find_qemu()?, accelerator: self.accelerator().await? };
        progress.step("Starting QEMU");
        // A task of its own: dropping this future must not drop the lock between QEMU's fork and its
        // own lock on the pid file.
        tokio::spawn(start::start(host, directory)).await.map_err(|error| interrupted(&error))?
    }

    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError> {
        let (directory, _) = folder::open(instance)?;
        power::stop(&directory, grace).await
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        let (directory, _) = folder::open(instance)?;
        power::kill(&directory).await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        let directory = PathBuf::from(&instance.id);
        if !directory.is_dir() {
            return Ok(());
        }
        power::remove(&directory).await
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        let (directory, record) = folder::open(instance)?;
        if process::find(&directory)?.is_some() {
            return Ok(match qmp::state(&directory, STATE_LIMIT).await {
                Ok(state) => state,
                // Not there yet, or gone in this moment, or busy: only the pid file knows.
                Err(_) if process::find(&directory)?.is_none() => off(&directory)?,
                Err(_) if !directory.join(files::QMP_SOCKET).exists() => InstanceState::Starting,
                Err(_) => InstanceState::Running,
            });
        }
        match record.asked {
            Asked::Stopped => Ok(InstanceState::Stopped),
            // It may have been stopped between the two looks.
            Asked::Running => off(&directory),
        }
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let (directory, record) = folder::open(instance)?;
        let not_running = || DriverError::NotRunning { id: instance.id.clone() };
        process::find(&directory)?.ok_or_else(not_running)?;
        let port = record.ssh_port.ok_or_else(not_running)?;
        Ok(Access {
            ssh: SshEndpoint { host: LOOPBACK.to_owned(), port, user: SSH_USER.to_owned() },
            ip: LOOPBACK.to_owned(),
            seed_socket: Some(directory.join(files::SEED_SOCKET)),
            keys: SshKeys::default(),
            engine: EngineHome::Guest,
        })
    }

    async fn console_tail(&self, instance: &Instance, lines: usize) -> Result<Vec<String>, DriverError> {
        let (directory, _) = folder::open(instance)?;
        console::tail(&directory, lines)
    }

    async fn resize(&self, instance: &Instance, sizes: &NewSizes) -> Result<Instance, DriverError> {
        let (directory, _) = folder::open(instance)?;
        tokio::spawn(resize(directory, *sizes)).await.map_err(|error| interrupted(&error))?
    }

    fn console_file(&self, instance: &Instance) -> Option<PathBuf> {
        Some(Path::new(&instance.id).join(files::CONSOLE))
    }
}

/// Remembers the new sizes; a longer disk is the guest's to use at its next boot.
async fn resize(directory: PathBuf, sizes: NewSizes) -> Result<Instance, DriverError> {
    let _lock = folder::lock(&directory).await?;
    let mut record = Record::load(&directory)?.ok_or_else(|| folder::not_found(&directory))?;
    let machine = &mut record.machine;
    if let Some(disk) = sizes.disk_gib
        && disk < machine.disk_gib
    {
        let has = machine.disk_gib;
        return Err(DriverError::InvalidSpec(format!(
            "The disk has {has} GiB and can only grow, not to {disk} GiB"
        )));
    }
    let now = Sizes {
        cpus: sizes.cpus.unwrap_or(machine.cpus),
        memory_mib: sizes.memory_mib.unwrap_or(machine.memory_mib),
        disk_gib: sizes.disk_gib.unwrap_or(machine.disk_gib),
    };
    now.check(&sizes::Host::here())?;
    let (folder, gib) = (directory.clone(), now.disk_gib);
    spawn_blocking(move || disk::grow(&folder, gib)).await.map_err(|error| interrupted(&error))??;
    (machine.cpus, machine.memory_mib, machine.disk_gib) = (now.cpus, now.memory_mib, now.disk_gib);
    record.save(&directory)?;
    record.instance(&directory)
}

/// What a machine without power is: stopped when that was asked for or when the guest went down in an
/// orderly way by itself, crashed otherwise.
fn off(directory: &Path) -> Result<InstanceState, DriverError> {
    let record = Record::load(directory)?.ok_or_else(|| folder::not_found(directory))?;
    Ok(match record.asked {
        Asked::Running if !console::said_farewell(directory) => InstanceState::Error,
        _ => InstanceState::Stopped,
    })
}

/// Checks the specification and decides what it leaves open. Touches nothing.
fn plan(spec: &MachineSpec) -> Result<Machine, DriverError> {
    let sizes = Sizes::of(spec, &sizes::Host::here())?;
    let Some(image) = spec.image.clone() else {
        return Err(DriverError::InvalidSpec("The kvm driver needs a guest image".to_owned()));
    };
    image::open(&image)?;
    Ok(Machine {
        name: spec.name.clone(),
        machine_id: spec.machine_id.clone(),
        cpus: sizes.cpus,
        memory_mib: sizes.memory_mib,
        disk_gib: sizes.disk_gib,
        image,
        cache: spec.cache.clone(),
    })
}

/// Makes the instance unless it exists; when that fails, nothing is left.
async fn create(directory: PathBuf, machine: Machine) -> Result<Instance, DriverError> {
    if !directory.is_dir() {
        let what = format!("The machine's folder {} does not exist", directory.display());
        return Err(DriverError::InvalidSpec(what));
    }
    let _lock = folder::lock(&directory).await?;
    if let Some(record) = Record::load(&directory)? {
        if record.machine.machine_id == machine.machine_id {
            return record.instance(&directory);
        }
        let other = record.machine.name;
        let what = format!("The folder {} belongs to another machine, {other}", directory.display());
        return Err(DriverError::Provider { what });
    }
    let record = Record::new(machine);
    let made = async {
        let instance = record.instance(&directory)?;
        make(&directory, &record).await?;
        Ok(instance)
    };
    let made = made.await;
    if made.is_err() {
        for name in files::ALL {
            // The failure that brought us here says more than one to tidy up would.
            let _ = folder::remove_file(&directory.join(name));
        }
    }
    made
}

/// Disk, kernel, and at last the record that makes the instance exist.
async fn make(directory: &Path, record: &Record) -> Result<(), DriverError> {
    let (folder, gib) = (directory.to_owned(), record.machine.disk_gib);
    let disk = spawn_blocking(move || disk::create(&folder, gib));
    let (disk, kernel) = tokio::join!(disk, kernel::unpack(&record.machine.image, &record.machine.cache));
    disk.map_err(|error| interrupted(&error))??;
    kernel?;
    record.save(directory)
}

fn interrupted(error: &tokio::task::JoinError) -> DriverError {
    DriverError::Provider { what: format!("The operation was interrupted: {error}") }
}
