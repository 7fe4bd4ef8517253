//! A driver without VMs, deliberately strict: it refuses whatever a real provider could refuse.
//!
//! Its state is one JSON file in the machine's folder, so separate processes (CLI golden tests) see
//! the same machine. Failures are scripted in-process with [`MemoryDriver::fail_next`], or across
//! processes with the create option `memory-fail STEP`.
//!
//! ```text
//!   (nothing) ──create──▶ Stopped ──start──▶ Running ──stop | kill──▶ Stopped ──remove──▶ (nothing)
//!                            ▲                  │ crash
//!                            └──start── Error ◀─┘
//! ```

use crate::{
    Access, Capabilities, Driver, DriverError, EngineHome, Instance, InstanceState, MachineSpec, NewSizes,
    OptionSpec, OptionValue, Progress, SshEndpoint, SshKeys,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// The driver's only file in the machine's folder.
const STATE_FILE: &str = "memory-driver.json";
/// What the pretended guest has stored; a test writes it.
const CONTENTS_FILE: &str = "memory-contents";
/// The seed channel of [`MemoryDriver::with_seed_channel`]; a test's fake guest listens there.
const SEED_SOCKET: &str = "seed.sock";

static OPTIONS: &[OptionSpec] = &[
    OptionSpec::list(
        "memory-fail",
        "Fail this step the next time it is asked for: check, create, start, stop, kill, remove, state, \
               access, console",
    ),
    OptionSpec::number(
        "memory-ssh-port",
        "Say that the guest's SSH server answers on this port of 127.0.0.1",
    )
    .env("MEMORY_SSH_PORT")
    .or_number(1),
];

/// A driver call, for scripting failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// [`Driver::check`].
    Check,
    /// [`Driver::create`].
    Create,
    /// [`Driver::start`].
    Start,
    /// [`Driver::stop`].
    Stop,
    /// [`Driver::kill`].
    Kill,
    /// [`Driver::remove`].
    Remove,
    /// [`Driver::state`].
    State,
    /// [`Driver::access`].
    Access,
    /// [`Driver::console_tail`].
    Console,
}

/// The strict in-memory driver, named `memory`.
#[derive(Debug, Default)]
pub struct MemoryDriver {
    seed_channel: bool,
    script: Mutex<Vec<(Step, DriverError)>>,
    calls: Mutex<Vec<Step>>,
    /// Held from reading a record to writing it.
    turn: Mutex<()>,
}

/// [`STATE_FILE`].
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    machine_id: String,
    state: InstanceState,
    ssh_port: u16,
    fail: Vec<Step>,
    console: Vec<String>,
}

impl MemoryDriver {
    /// A driver that knows no failures yet and has no seed channel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it claim a seed channel: `seed.sock` in the machine's folder. Nobody listens there
    /// unless the test does.
    pub fn with_seed_channel(mut self) -> Self {
        self.seed_channel = true;
        self
    }

    /// Lets the next call of `step` fail with `error`, before it does anything. Several failures of
    /// one step happen in the order they were given.
    pub fn fail_next(&self, step: Step, error: DriverError) {
        lock(&self.script).push((step, error));
    }

    /// Every call since the driver was made, failed ones included, oldest first.
    pub fn calls(&self) -> Vec<Step> {
        lock(&self.calls).clone()
    }

    /// Cuts the power as a crash would: the state becomes [`InstanceState::Error`].
    ///
    /// # Errors
    /// [`DriverError::NotFound`], or [`DriverError::NotRunning`] when there was no power to cut.
    pub fn crash(&self, instance: &Instance) -> Result<(), DriverError> {
        let _turn = lock(&self.turn);
        let mut record = load(instance)?;
        if record.state != InstanceState::Running {
            return Err(DriverError::NotRunning { id: instance.id.clone() });
        }
        record.state = InstanceState::Error;
        save(Path::new(&instance.id), &record)
    }

    /// Appends a line to the instance's console.
    ///
    /// # Errors
    /// [`DriverError::NotFound`].
    pub fn print(&self, instance: &Instance, line: &str) -> Result<(), DriverError> {
        let _turn = lock(&self.turn);
        let mut record = load(instance)?;
        record.console.push(line.to_owned());
        save(Path::new(&instance.id), &record)
    }

    fn enter(&self, step: Step) -> Result<(), DriverError> {
        lock(&self.calls).push(step);
        let mut script = lock(&self.script);
        match script.iter().position(|(at, _)| *at == step) {
            Some(at) => Err(script.remove(at).1),
            None => Ok(()),
        }
    }

    /// [`Self::enter`], then the record, then the failure that `memory-fail` asked for. Others wait for the
    /// guard.
    fn open(&self, step: Step, instance: &Instance) -> Result<(MutexGuard<'_, ()>, Record), DriverError> {
        self.enter(step)?;
        let turn = lock(&self.turn);
        let mut record = load(instance)?;
        if let Some(at) = record.fail.iter().position(|at| *at == step) {
            record.fail.remove(at);
            save(Path::new(&instance.id), &record)?;
            return Err(scripted(step));
        }
        Ok((turn, record))
    }
}

#[async_trait]
impl Driver for MemoryDriver {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            local: true,
            seed_channel: self.seed_channel,
            resize: true,
            contents: &[CONTENTS_FILE],
            ..Capabilities::default()
        }
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        self.enter(Step::Check)?;
        let asked = Asked::of(spec)?;
        if asked.fail.contains(&Step::Check) {
            return Err(scripted(Step::Check));
        }
        Ok(vec![])
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        self.enter(Step::Create)?;
        let mut asked = Asked::of(spec)?;
        let id = spec.directory.to_str().ok_or_else(|| {
            DriverError::InvalidSpec(format!("The folder {} is not valid UTF-8", spec.directory.display()))
        })?;
        let instance =
            Instance { id: id.to_owned(), data: serde_json::json!({ "machine_id": spec.machine_id }) };
        match load(&instance) {
            Ok(record) if record.machine_id == spec.machine_id => return Ok(instance),
            Ok(record) => {
                let what = format!("The folder {id} belongs to the machine {}", record.machine_id);
                return Err(DriverError::Provider { what });
            }
            Err(DriverError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if asked.fail.contains(&Step::Create) {
            return Err(scripted(Step::Create));
        }
        progress.step("Making a pretended VM");
        asked.fail.retain(|step| *step != Step::Check);
        let record = Record {
            machine_id: spec.machine_id.clone(),
            state: InstanceState::Stopped,
            ssh_port: asked.ssh_port,
            fail: asked.fail,
            console: vec![],
        };
        save(&spec.directory, &record)?;
        Ok(instance)
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        let (_turn, mut record) = self.open(Step::Start, instance)?;
        if record.state != InstanceState::Running {
            progress.step("Starting a pretended VM");
            record.state = InstanceState::Running;
            record.console.push("Booted".to_owned());
            save(Path::new(&instance.id), &record)?;
        }
        Ok(())
    }

    async fn stop(&self, instance: &Instance, _grace: Duration) -> Result<(), DriverError> {
        let (_turn, record) = self.open(Step::Stop, instance)?;
        power_off(instance, record)
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        let (_turn, record) = self.open(Step::Kill, instance)?;
        power_off(instance, record)
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        match self.open(Step::Remove, instance) {
            Ok((_turn, _)) => {
                fs::remove_file(state_file(instance)).map_err(file_error("remove", &state_file(instance)))
            }
            Err(DriverError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        Ok(self.open(Step::State, instance)?.1.state)
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let (_turn, record) = self.open(Step::Access, instance)?;
        if record.state != InstanceState::Running {
            return Err(DriverError::NotRunning { id: instance.id.clone() });
        }
        Ok(Access {
            ssh: SshEndpoint { host: "127.0.0.1".to_owned(), port: record.ssh_port, user: "root".to_owned() },
            ip: "127.0.0.1".to_owned(),
            seed_socket: self.seed_channel.then(|| Path::new(&instance.id).join(SEED_SOCKET)),
            keys: SshKeys::default(),
            engine: EngineHome::Guest,
        })
    }

    async fn console_tail(&self, instance: &Instance, lines: usize) -> Result<Vec<String>, DriverError> {
        let (_turn, record) = self.open(Step::Console, instance)?;
        let skip = record.console.len().saturating_sub(lines);
        Ok(record.console.into_iter().skip(skip).collect())
    }

    async fn resize(&self, instance: &Instance, sizes: &NewSizes) -> Result<Instance, DriverError> {
        load(instance)?;
        let before = instance.data.get("disk_gib").and_then(serde_json::Value::as_u64).unwrap_or(1);
        if sizes.disk_gib.is_some_and(|disk| disk < before) {
            return Err(DriverError::InvalidSpec(format!("The disk has {before} GiB and can only grow")));
        }
        let mut instance = instance.clone();
        for (name, size) in [
            ("cpus", sizes.cpus.map(u64::from)),
            ("memory_mib", sizes.memory_mib),
            ("disk_gib", sizes.disk_gib),
        ] {
            if let Some(size) = size {
                instance.data[name] = size.into();
            }
        }
        Ok(instance)
    }
}

/// What the specification asks of this driver, checked.
struct Asked {
    fail: Vec<Step>,
    ssh_port: u16,
}

impl Asked {
    fn of(spec: &MachineSpec) -> Result<Self, DriverError> {
        let invalid = |sentence: String| Err(DriverError::InvalidSpec(sentence));
        let numbers = [
            ("CPU count", spec.cpus.map(u64::from)),
            ("memory size", spec.memory_mib),
            ("disk size", spec.disk_gib),
        ];
        for (name, value) in numbers {
            if value == Some(0) {
                return invalid(format!("The {name} must be at least 1"));
            }
        }
        if !spec.directory.is_dir() {
            return invalid(format!("The machine's folder {} does not exist", spec.directory.display()));
        }
        let mut asked = Self { fail: vec![], ssh_port: 1 };
        for (name, value) in &spec.options {
            match (name.as_str(), value) {
                ("memory-fail", OptionValue::List(steps)) => {
                    for step in steps {
                        match serde_json::from_value(step.as_str().into()) {
                            Ok(step) => asked.fail.push(step),
                            Err(_) => return invalid(format!("\"{step}\" is no step that could fail")),
                        }
                    }
                }
                ("memory-ssh-port", OptionValue::Number(port)) => match u16::try_from(*port) {
                    Ok(port) if port > 0 => asked.ssh_port = port,
                    _ => return invalid(format!("{port} is no TCP port")),
                },
                (name, _) if name.starts_with("memory-") => {
                    return invalid(format!("The option {name} is unknown or has a value of the wrong kind"));
                }
                _ => {}
            }
        }
        Ok(asked)
    }
}

fn power_off(instance: &Instance, mut record: Record) -> Result<(), DriverError> {
    if record.state != InstanceState::Stopped {
        record.state = InstanceState::Stopped;
        save(Path::new(&instance.id), &record)?;
    }
    Ok(())
}

fn scripted(step: Step) -> DriverError {
    DriverError::Provider { what: format!("The test wanted {step:?} to fail") }
}

fn state_file(instance: &Instance) -> PathBuf {
    Path::new(&instance.id).join(STATE_FILE)
}

fn load(instance: &Instance) -> Result<Record, DriverError> {
    let path = state_file(instance);
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(io::Error::from).map_err(file_error("read", &path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DriverError::NotFound { id: instance.id.clone() })
        }
        Err(error) => Err(file_error("read", &path)(error)),
    }
}

/// Atomic, so that another process never reads half a record.
fn save(directory: &Path, record: &Record) -> Result<(), DriverError> {
    let path = directory.join(STATE_FILE);
    let fresh = directory.join(format!("{STATE_FILE}.{}", std::process::id()));
    serde_json::to_vec_pretty(record)
        .map_err(io::Error::from)
        .and_then(|bytes| fs::write(&fresh, bytes))
        .and_then(|()| fs::rename(&fresh, &path))
        .map_err(file_error("write", &path))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DriverError {
    let path = path.display().to_string();
    move |source| DriverError::File { action, path, source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
