//! A plugin as a [`Driver`].
//!
//! ```text
//!   check ─▶ SetConfigRaw, SetConfigFromFlags, PreCreateCheck     all of one machine in one process,
//!   create ─▶ Create, GetConfigRaw                                one call after the other
//! ```
//!
//! `Create` cannot be cancelled. Whoever gives it up and then asks what became of the machine waits for its
//! end: only the plugin knows what it has made until then.

use crate::{
    flags::Flags,
    gob::{FlagValue, Value},
    machine_file::{MachineFile, adopted, blank, instance, listed},
    rpc::{Argument, Plugin},
};
use async_trait::async_trait;
use machine_drivers::{
    Access, Capabilities, Driver, DriverError, EngineHome, Instance, InstanceState, MachineSpec, OptionSpec,
    Progress, Silent, SshEndpoint, SshKeys,
    external::{Limits, Program, block_on},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{MutexGuard as Turn, OnceCell},
    time::{Instant, sleep},
};

/// Between two looks at a machine that is on its way up or down.
const POLL: Duration = Duration::from_millis(300);
/// How long a machine whose power was cut may take to notice.
const CUT: Duration = Duration::from_secs(60);

/// A driver whose program is a plugin of docker-machine. Making one starts nothing.
#[derive(Debug)]
pub struct PluginDriver {
    name: &'static str,
    program: PathBuf,
    limits: Limits,
    flags: OnceCell<Flags>,
    /// The process that told the options, until a machine takes it.
    spare: Mutex<Option<Plugin>>,
    /// One process for each machine, by its folder.
    machines: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<Machine>>>>,
}

/// A machine's process, and what it was told.
#[derive(Debug, Default)]
struct Machine {
    plugin: Option<Plugin>,
    /// The options it was asked to make a machine of, and found good.
    checked: Option<BTreeMap<String, FlagValue>>,
}

impl PluginDriver {
    /// The driver `name`, which `program` is.
    pub fn new(name: &str, program: PathBuf) -> Self {
        Self::with_limits(name, program, Limits::default())
    }

    /// The same with other deadlines.
    pub fn with_limits(name: &str, program: PathBuf, limits: Limits) -> Self {
        Self {
            name: name.to_owned().leak(),
            program,
            limits,
            flags: OnceCell::new(),
            spare: Mutex::default(),
            machines: Mutex::default(),
        }
    }

    async fn flags(&self) -> Result<&Flags, DriverError> {
        self.flags
            .get_or_try_init(|| async {
                let plugin = Plugin::start(self.name, &self.program);
                let answer =
                    self.call(&plugin, "GetCreateFlags", Argument::Nothing, self.limits.hello).await?;
                let flags = Flags::of(self.name, &answer).map_err(|why| plugin.wrong(&why))?;
                *lock(&self.spare) = Some(plugin);
                Ok(flags)
            })
            .await
    }

    async fn call(
        &self,
        plugin: &Plugin,
        method: &str,
        argument: Argument<'_>,
        limit: Duration,
    ) -> Result<Value, DriverError> {
        plugin.call(method, argument, (&self.limits, limit), None).await
    }

    async fn do_it(&self, plugin: &Plugin, method: &str, progress: &dyn Progress) -> Result<(), DriverError> {
        let limit = if method == "Create" { self.limits.create } else { self.limits.act };
        plugin.call(method, Argument::Nothing, (&self.limits, limit), Some(progress)).await.map(drop)
    }

    async fn text(&self, plugin: &Plugin, method: &str) -> Result<String, DriverError> {
        let answer = self.call(plugin, method, Argument::Nothing, self.limits.look).await?;
        answer
            .text()
            .map(str::to_owned)
            .ok_or_else(|| plugin.wrong(&format!("answered {method:?} with no text")))
    }

    fn machine(&self, folder: &Path) -> Arc<tokio::sync::Mutex<Machine>> {
        Arc::clone(lock(&self.machines).entry(folder.to_owned()).or_default())
    }

    /// The machine's process, told `state` where it is a fresh one. A call that was given up is waited for.
    async fn plugin<'a>(
        &self,
        machine: &'a mut Machine,
        state: &serde_json::Value,
    ) -> Result<&'a Plugin, DriverError> {
        let usable = match &machine.plugin {
            Some(plugin) => plugin.settled(self.limits.create).await && !plugin.is_broken(),
            None => false,
        };
        if !usable {
            machine.checked = None;
            let spare = lock(&self.spare).take().filter(|spare| !spare.is_broken());
            let plugin = spare.unwrap_or_else(|| Plugin::start(self.name, &self.program));
            let plugin = machine.plugin.insert(plugin);
            let text = state.to_string();
            let told =
                self.call(plugin, "SetConfigRaw", Argument::Bytes(text.as_bytes()), self.limits.look).await;
            if let Err(error) = told {
                machine.plugin = None;
                return Err(error);
            }
        }
        machine.plugin.as_ref().ok_or_else(|| DriverError::Provider { what: "There is no plugin".to_owned() })
    }

    /// The plugin's state as it is now.
    async fn state_of(&self, plugin: &Plugin) -> Result<serde_json::Value, DriverError> {
        let raw = self.call(plugin, "GetConfigRaw", Argument::Nothing, self.limits.look).await?;
        let state = match &raw {
            Value::Bytes(text) => serde_json::from_slice(text).ok(),
            _ => None,
        };
        state.filter(serde_json::Value::is_object).ok_or_else(|| plugin.wrong("does not tell its state"))
    }

    /// Tells the plugin what is wanted and has it look whether that is possible, unless it has.
    async fn prepared<'a>(
        &self,
        machine: &'a mut Machine,
        spec: &MachineSpec,
    ) -> Result<&'a Plugin, DriverError> {
        let sizes =
            [("--cpus", spec.cpus.map(u64::from)), ("--memory", spec.memory_mib), ("--disk", spec.disk_gib)];
        if let Some((flag, _)) = sizes.iter().find(|(_, size)| size.is_some()) {
            let what =
                format!("{flag} cannot be chosen here: the plugin of {} has options of its own", self.name);
            return Err(DriverError::InvalidSpec(what));
        }
        let values = self.flags().await?.values(&spec.options);
        if machine.checked.as_ref() != Some(&values) {
            machine.plugin = None;
            let plugin = self.plugin(machine, &blank(&spec.directory)).await?;
            self.call(plugin, "SetConfigFromFlags", Argument::Flags(&values), self.limits.look)
                .await
                .map_err(|error| match error {
                    DriverError::Provider { what } => DriverError::InvalidSpec(what),
                    error => error,
                })?;
            self.do_it(plugin, "PreCreateCheck", &Silent).await?;
        }
        machine.checked = Some(values);
        self.plugin(machine, &serde_json::Value::Null).await
    }

    /// What is remembered of an instance: of one that docker-machine made, no more than its record says.
    fn remembered(instance: &Instance) -> Result<MachineFile, DriverError> {
        let folder = Path::new(&instance.id);
        if let Some(file) = MachineFile::load(folder)?.filter(|file| file.made) {
            return Ok(file);
        }
        let driver = adopted(instance).ok_or_else(|| DriverError::NotFound { id: instance.id.clone() })?;
        Ok(MachineFile {
            machine_id: String::new(),
            made: true,
            driver: driver.clone(),
            host_keys: Vec::new(),
            found: listed(folder)?,
        })
    }

    /// What the plugin says the machine is doing.
    async fn observed(&self, plugin: &Plugin, id: &str) -> Result<InstanceState, DriverError> {
        let answer = self.call(plugin, "GetState", Argument::Nothing, self.limits.look).await?;
        Ok(match answer {
            Value::Int(1) => InstanceState::Running,
            Value::Int(2) => InstanceState::Paused,
            // Saved, and off.
            Value::Int(3 | 4) => InstanceState::Stopped,
            Value::Int(5) => InstanceState::Stopping,
            Value::Int(6) => InstanceState::Starting,
            Value::Int(0 | 7) => InstanceState::Error,
            Value::Int(8) => {
                let what = format!("The plugin's own look at {id}");
                return Err(DriverError::Timeout { what, limit: self.limits.look });
            }
            // rancher-machine's.
            Value::Int(9) => return Err(DriverError::NotFound { id: id.to_owned() }),
            _ => return Err(plugin.wrong("knows a state of machines that is not known")),
        })
    }

    async fn await_off(&self, plugin: &Plugin, id: &str, limit: Duration) -> Result<(), DriverError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.observed(plugin, id).await? {
                InstanceState::Stopped | InstanceState::Error => return Ok(()),
                _ if Instant::now() >= deadline => {
                    return Err(DriverError::Timeout { what: "Powering off".to_owned(), limit });
                }
                _ => sleep(POLL).await,
            }
        }
    }

    /// Remembers what the plugin's state is now.
    async fn remember(&self, plugin: &Plugin, id: &str, mut file: MachineFile) -> Result<(), DriverError> {
        file.driver = self.state_of(plugin).await?;
        // docker-machine's record is its own memory; `refreshed` tells what to write there.
        if file.machine_id.is_empty() { Ok(()) } else { file.save(Path::new(id)) }
    }

    /// A machine that is wanted `on` or off, and is not yet; with its process, which is ours alone.
    async fn switching<'a>(
        &self,
        turn: &'a mut Turn<'_, Machine>,
        instance: &Instance,
        on: bool,
    ) -> Result<Option<(&'a Plugin, MachineFile)>, DriverError> {
        let file = Self::remembered(instance)?;
        let plugin = self.plugin(turn, &file.driver).await?;
        let is_off = matches!(
            self.observed(plugin, &instance.id).await?,
            InstanceState::Stopped | InstanceState::Error
        );
        Ok((is_off == on).then_some((plugin, file)))
    }
}

#[async_trait]
impl Program for PluginDriver {
    async fn introduce(&self) -> Result<(), DriverError> {
        self.flags().await.map(drop)
    }

    fn rest(&self) {
        let (spare, machines) = (lock(&self.spare).take(), std::mem::take(&mut *lock(&self.machines)));
        drop((spare, machines));
    }
}

#[async_trait]
impl Driver for PluginDriver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { runs_when_created: true, ..Capabilities::default() }
    }

    fn options(&self) -> &'static [OptionSpec] {
        match self.flags.get() {
            Some(flags) => flags.options,
            None => block_on(self.flags()).map(|flags| flags.options).unwrap_or_default(),
        }
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        let machine = self.machine(&spec.directory);
        self.prepared(&mut *machine.lock().await, spec).await?;
        if Flags::host_keys(self.name, &spec.options).is_empty() {
            return Ok(vec![format!(
                "This driver's plugin cannot tell the machine's SSH host key: the one that is shown at the first \
                 contact is pinned (or pass --{}-ssh-host-key)",
                self.name
            )]);
        }
        Ok(Vec::new())
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        let machine = self.machine(&spec.directory);
        let mut turn = machine.lock().await;
        if let Some(instance) = self.found(&mut turn, &spec.directory, &spec.machine_id).await? {
            if Self::remembered(&instance).is_ok() {
                return Ok(instance);
            }
            self.forget(&mut turn, &instance).await?;
        }
        let plugin = self.prepared(&mut turn, spec).await?;
        let mut file = MachineFile {
            machine_id: spec.machine_id.clone(),
            made: false,
            driver: self.state_of(plugin).await?,
            host_keys: Flags::host_keys(self.name, &spec.options),
            found: listed(&spec.directory)?,
        };
        file.save(&spec.directory)?;
        let outcome = self.do_it(plugin, "Create", progress).await;
        match outcome {
            Ok(()) => {
                file.driver = self.state_of(plugin).await?;
                file.made = true;
                file.save(&spec.directory)?;
                Ok(instance(&spec.directory, &file.driver))
            }
            Err(error) => {
                let half = instance(&spec.directory, &file.driver);
                match self.forget(&mut turn, &half).await {
                    Ok(()) => Err(error),
                    Err(cleanup) => {
                        let what =
                            format!("{error}; and removing what it had made failed as well: {cleanup}");
                        Err(DriverError::Provider { what })
                    }
                }
            }
        }
    }

    async fn recover(&self, directory: &Path, machine_id: &str) -> Result<Option<Instance>, DriverError> {
        let machine = self.machine(directory);
        let mut turn = machine.lock().await;
        self.found(&mut turn, directory, machine_id).await
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let Some((plugin, file)) = self.switching(&mut turn, instance, true).await? else { return Ok(()) };
        self.do_it(plugin, "Start", progress).await?;
        self.remember(plugin, &instance.id, file).await
    }

    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let Some((plugin, file)) = self.switching(&mut turn, instance, false).await? else { return Ok(()) };
        let began = Instant::now();
        let limit = grace.saturating_add(self.limits.look);
        self.call(plugin, "Stop", Argument::Nothing, limit).await?;
        self.await_off(plugin, &instance.id, grace.saturating_sub(began.elapsed())).await?;
        self.remember(plugin, &instance.id, file).await
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let Some((plugin, file)) = self.switching(&mut turn, instance, false).await? else { return Ok(()) };
        self.do_it(plugin, "Kill", &Silent).await?;
        self.await_off(plugin, &instance.id, CUT).await?;
        self.remember(plugin, &instance.id, file).await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        self.forget(&mut turn, instance).await
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let file = Self::remembered(instance)?;
        let plugin = self.plugin(&mut turn, &file.driver).await?;
        self.observed(plugin, &instance.id).await
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let file = Self::remembered(instance)?;
        let plugin = self.plugin(&mut turn, &file.driver).await?;
        if self.observed(plugin, &instance.id).await? != InstanceState::Running {
            return Err(DriverError::NotRunning { id: instance.id.clone() });
        }
        let port = match self.call(plugin, "GetSSHPort", Argument::Nothing, self.limits.look).await? {
            Value::Int(port) => u16::try_from(port).ok().filter(|port| *port > 0),
            _ => None,
        };
        let host = self.text(plugin, "GetSSHHostname").await?;
        let key = self.text(plugin, "GetSSHKeyPath").await?;
        Ok(Access {
            ssh: SshEndpoint {
                host: host.clone(),
                port: port.ok_or_else(|| plugin.wrong("does not tell a port of SSH"))?,
                user: self.text(plugin, "GetSSHUsername").await?,
            },
            ip: self.text(plugin, "GetIP").await.unwrap_or(host),
            seed_socket: None,
            keys: SshKeys {
                client: Some(PathBuf::from(key)).filter(|key| !key.as_os_str().is_empty()),
                first_contact: file.host_keys.is_empty(),
                host: file.host_keys,
            },
            engine: EngineHome::Host,
        })
    }

    async fn console_tail(&self, instance: &Instance, _lines: usize) -> Result<Vec<String>, DriverError> {
        Self::remembered(instance).map(|_| Vec::new())
    }

    async fn refreshed(&self, instance: &Instance) -> Result<Instance, DriverError> {
        let machine = self.machine(Path::new(&instance.id));
        let mut turn = machine.lock().await;
        let file = Self::remembered(instance)?;
        let plugin = self.plugin(&mut turn, &file.driver).await?;
        let mut refreshed = instance.clone();
        refreshed.data["Driver"] = self.state_of(plugin).await?;
        Ok(refreshed)
    }
}

impl PluginDriver {
    /// What a `create` made or began to make, for the machine of this id. A `Create` that is still under way
    /// is waited for.
    async fn found(
        &self,
        turn: &mut Turn<'_, Machine>,
        folder: &Path,
        machine_id: &str,
    ) -> Result<Option<Instance>, DriverError> {
        let file = MachineFile::load(folder)?.filter(|file| file.machine_id == machine_id);
        let Some(mut file) = file else { return Ok(None) };
        if !file.made
            && let Some(plugin) = turn.plugin.as_ref()
            && plugin.settled(self.limits.create).await
            && !plugin.is_broken()
        {
            // What it has made meanwhile, for whoever removes it.
            file.driver = self.state_of(plugin).await?;
            file.save(folder)?;
        }
        Ok(Some(instance(folder, &file.driver)))
    }

    /// Removes the machine and what the plugin left in its folder.
    async fn forget(&self, turn: &mut Turn<'_, Machine>, instance: &Instance) -> Result<(), DriverError> {
        let folder = Path::new(&instance.id);
        let file = MachineFile::load(folder)?;
        let state = file.as_ref().map(|file| &file.driver).or_else(|| adopted(instance));
        let Some(state) = state else { return Ok(()) };
        let plugin = self.plugin(turn, state).await?;
        self.do_it(plugin, "Remove", &Silent).await?;
        if let Some(file) = &file {
            file.remove(folder)?;
        }
        **turn = Machine::default();
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
