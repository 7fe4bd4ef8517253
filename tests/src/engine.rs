//! The engine run natively, without a VM: as root on this kernel, with a data root and a network
//! namespace of its own.

use crate::{
    artifacts,
    host::docker,
    network::Network,
    run::{DEADLINE, Run, eventually, run, run_with_input, wait},
};
use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};
use tempfile::TempDir;

/// `machine-engine serve`, stopped and cleaned up at the end of the test.
#[derive(Debug)]
pub struct NativeEngine {
    program: PathBuf,
    folder: TempDir,
    process: Option<Child>,
    network: Network,
    launch: Launch,
}

/// What an engine is started with.
#[derive(Debug, Default)]
pub struct Launch {
    pub options: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

impl From<Vec<String>> for Launch {
    fn from(options: Vec<String>) -> Self {
        Self { options, ..Self::default() }
    }
}

impl NativeEngine {
    /// Starts an engine on an empty data root. Root only.
    pub fn start() -> Result<Self> {
        Self::start_with(|_, _| Ok(Launch::default()))
    }

    /// Starts one with more options, made with its network and its folder: what it is to reach has to be
    /// there first.
    pub fn start_with<L: Into<Launch>>(launch: impl FnOnce(&Network, &Path) -> Result<L>) -> Result<Self> {
        let (folder, network) = (TempDir::with_prefix("e-")?, Network::new()?);
        let launch = launch(&network, folder.path())?.into();
        let mut engine = Self { program: artifacts::engine()?, folder, process: None, network, launch };
        engine.spawn()?;
        Ok(engine)
    }

    /// Starts one that has busybox loaded.
    pub fn with_busybox() -> Result<Self> {
        let engine = Self::start()?;
        engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
        Ok(engine)
    }

    /// Starts the process again on what the last one left.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        // Docker's bridge and NAT rules stay out of the host's network.
        let process = self
            .network
            .command(&self.program)
            .args(["serve", "--socket"])
            .arg(self.socket())
            .arg("--data-root")
            .arg(self.folder.path().join("data"))
            .arg("--run-root")
            .arg(self.folder.path().join("run"))
            .args(&self.launch.options)
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("Could not start the engine")?;
        self.process = Some(process);
        eventually("The engine answers", || {
            if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().transpose()) {
                bail!("The engine ended with {}: {}", status?, std::fs::read_to_string(self.log())?);
            }
            Ok(UnixStream::connect(self.socket()).is_ok())
        })
    }

    /// SIGKILL, as a crash would.
    pub fn crash(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Replaces the program by a new file, as a package manager does, and starts the engine again.
    pub fn upgrade(&mut self) -> Result<()> {
        let (new, program) = (self.folder.path().join("new"), self.folder.path().join("machine-engine"));
        std::fs::copy(&self.program, &new)?;
        std::fs::rename(&new, &program)?;
        self.program = program;
        if let Some(mut process) = self.process.take() {
            let pid = Pid::from_raw(i32::try_from(process.id())?);
            kill(pid, Signal::SIGTERM)?;
            wait(&mut process, "machine-engine", DEADLINE)?;
        }
        self.spawn()
    }

    /// The engine's pid.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// The network it lives in.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its data root.
    pub fn data_root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its run root.
    pub fn run_root(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// What a program of busybox prints that runs in the engine's own network.
    pub fn in_its_network(&self, program: &[&str]) -> Result<String> {
        let args = [&["run", "--rm", "--privileged", "--network", "host", "busybox"], program].concat();
        Ok(self.docker(&args)?.stdout.trim_end().to_owned())
    }

    /// What it has said, of all its runs.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// Where the test may put what belongs to it; gone afterwards.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `unix://…`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// `docker ARGS…` against it.
    pub fn docker(&self, args: &[&str]) -> Result<Run> {
        run(&mut docker(&self.url(), args)?)
    }

    /// The same with variables in its environment.
    pub fn docker_with_environment(&self, args: &[&str], variables: &[(&str, &str)]) -> Result<Run> {
        run(docker(&self.url(), args)?.envs(variables.iter().copied()))
    }

    /// The same with something on stdin.
    pub fn docker_with_input(&self, args: &[&str], input: &[u8]) -> Result<Run> {
        run_with_input(&mut docker(&self.url(), args)?, input)
    }

    fn remove_everything(&mut self) -> Result<()> {
        if self.process.is_none() {
            self.spawn()?;
        }
        let containers = self.docker(&["ps", "-aq"])?.ok()?;
        for id in containers.lines() {
            self.docker(&["rm", "-f", id])?.ok()?;
        }
        self.crash()
    }
}

impl Drop for NativeEngine {
    fn drop(&mut self) {
        if let Err(error) = self.remove_everything() {
            eprint_failure(&error, &self.log());
            drop(self.crash());
        }
        unmount_below(self.folder.path());
    }
}

#[expect(clippy::print_stderr, reason = "a test's output is the place for it")]
fn eprint_failure(error: &anyhow::Error, log: &Path) {
    eprintln!("Could not clean up after the engine: {error:#}");
    eprintln!("{}", std::fs::read_to_string(log).unwrap_or_default());
}

/// What the engine leaves mounted on purpose (network namespaces, root filesystems of a crash).
fn unmount_below(folder: &Path) {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return };
    let below: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|mount| Path::new(mount).starts_with(folder))
        .collect();
    for mount in below.iter().rev() {
        // The folder is removed next; a mount that stays makes that fail visibly.
        let _gone_already = nix::mount::umount2(*mount, nix::mount::MntFlags::MNT_DETACH);
    }
}
