//! A store of its own with machines in it, removed at the end of the test whatever happened.

use crate::{
    Network, artifacts,
    run::{DEADLINE, Run, command, run, run_with_input, run_within},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// A Debian host boots in a minute, and on a busy computer in several.
const HOST_LIMIT: Duration = Duration::from_secs(600);

/// One user's computer: `machine` with an empty store, and `docker`.
#[derive(Debug)]
pub struct Host {
    store: TempDir,
    network: Option<Arc<Network>>,
    limit: Duration,
}

impl Host {
    /// An empty store.
    pub fn new() -> Result<Self> {
        Self::with_network(None, DEADLINE)
    }

    /// The same of a user whose network is that one, and whose machines are Debian hosts, which take their time.
    pub fn in_network(network: Arc<Network>) -> Result<Self> {
        Self::with_network(Some(network), HOST_LIMIT)
    }

    fn with_network(network: Option<Arc<Network>>, limit: Duration) -> Result<Self> {
        let store = TempDir::with_prefix("m-")?;
        fs::create_dir(store.path().join("home"))?;
        Ok(Self { store, network, limit })
    }

    /// Where the machines are.
    pub fn store(&self) -> &Path {
        self.store.path()
    }

    /// Where the docker client keeps its settings and contexts.
    pub fn docker_config(&self) -> PathBuf {
        self.store().join("docker-config")
    }

    /// A machine's folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.store().join("machines").join(name)
    }

    /// `machine ARGS…`, not yet run.
    pub fn machine_command(&self, args: &[&str]) -> Result<Command> {
        let program = artifacts::machine()?;
        let mut command = match &self.network {
            Some(network) => network.command(&program),
            None => Command::new(&program),
        };
        command.args(args).stdin(Stdio::null());
        command.env("MACHINE_STORAGE_PATH", self.store()).env("DOCKER_CONFIG", self.docker_config());
        // Not the one of whoever runs the tests: machines see it.
        command.env("HOME", self.store().join("home"));
        Ok(command)
    }

    /// `machine ARGS…`.
    pub fn machine(&self, args: &[&str]) -> Result<Run> {
        run_within(&mut self.machine_command(args)?, self.limit)
    }

    /// Creates and starts a machine.
    pub fn create(&self, name: &str) -> Result<()> {
        self.machine(&["create", "--memory", "1024", name])?.ok().map(drop)
    }

    /// Creates a machine that has busybox loaded.
    pub fn create_with_busybox(&self, name: &str) -> Result<()> {
        self.create(name)?;
        let archive = artifacts::busybox()?;
        self.docker(name, &["load", "-q", "-i", &archive.to_string_lossy()])?.ok().map(drop)
    }

    /// The Docker endpoint of a machine, as `machine url` gives it.
    pub fn url(&self, name: &str) -> Result<String> {
        self.machine(&["url", name])?.ok()
    }

    /// `docker ARGS…` against a machine, not yet run.
    pub fn docker_command(&self, name: &str, args: &[&str]) -> Result<Command> {
        let mut command = docker(&self.url(name)?, args)?;
        if self.network.is_some() {
            // Without it the client waits two seconds for an answer, and then takes its own version for the engine's:
            // too few for a Debian host under emulation on a busy computer.
            command.env("DOCKER_API_VERSION", "1.45");
        }
        Ok(command)
    }

    /// `docker ARGS…` against a machine.
    pub fn docker(&self, name: &str, args: &[&str]) -> Result<Run> {
        run(&mut self.docker_command(name, args)?)
    }

    /// The same with something on stdin.
    pub fn docker_with_input(&self, name: &str, args: &[&str], input: &[u8]) -> Result<Run> {
        run_with_input(&mut self.docker_command(name, args)?, input)
    }

    /// The pid in a pid file of the machine.
    pub fn pid(&self, name: &str, file: &str) -> Result<i32> {
        let path = self.folder(name).join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("Could not read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds {text:?}", path.display()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Ok(machines) = fs::read_dir(self.store().join("machines")) else { return };
        for machine in machines.flatten() {
            let name = machine.file_name().to_string_lossy().into_owned();
            // The store is a temporary folder; what cannot be removed is visible as a running QEMU.
            drop(self.machine(&["rm", "-f", &name]));
        }
    }
}

/// `docker ARGS…` against an endpoint, with a configuration folder of its own.
pub fn docker(url: &str, args: &[&str]) -> Result<Command> {
    let mut command = command(&artifacts::docker()?, args);
    command.env("DOCKER_HOST", url).env("DOCKER_CLI_HINTS", "false").env_remove("DOCKER_CONTEXT");
    Ok(command)
}
