//! One Debian VM without a provider: a host as `generic` finds it.

use super::{
    debian::{DebianVms, Init},
    hypervisor::{Hypervisor, Order},
};
use crate::{
    Network,
    run::{Run, run, run_within},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Until the VM must let us in: a minute here, more on a busy computer.
const BOOT_LIMIT: Duration = Duration::from_secs(300);

/// The host, the key that opens it, and what it is known by.
#[derive(Debug)]
pub struct LoneVm {
    // Before the rest, which it uses.
    _vms: DebianVms,
    network: Option<Arc<Network>>,
    keys: TempDir,
    user: &'static str,
    address: String,
    host_key: String,
    client_key: String,
}

impl LoneVm {
    /// Boots it in a network namespace of its own.
    pub fn isolated(init: Init) -> Result<Self> {
        Self::boot(Some(Arc::new(Network::new()?)), init)
    }

    /// Boots it where it reaches whatever this computer reaches.
    pub fn connected() -> Result<Self> {
        Self::boot(None, Init::Systemd)
    }

    fn boot(network: Option<Arc<Network>>, init: Init) -> Result<Self> {
        let keys = TempDir::with_prefix("keys-")?;
        let key = |name: &str| -> Result<String> {
            let path = keys.path().join(name);
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(&path))?
            .ok()?;
            Ok(fs::read_to_string(path.with_extension("pub"))?.trim().to_owned())
        };
        let (host_key, client_public) = (key("host")?, key("client")?);
        let indented: String = fs::read_to_string(keys.path().join("host"))?
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        let order = Order {
            name: "host".to_owned(),
            user_data: format!(
                "#cloud-config\nssh_keys:\n  ed25519_private: |\n{indented}  ed25519_public: {host_key}\n"
            ),
            authorized_keys: vec![client_public],
        };
        let user = match init {
            Init::Systemd => "debian",
            Init::OpenRc => "root",
        };
        let mut vms = DebianVms::new(network.clone())?.with_init(init);
        let address = vms.make(1, &order);
        fs::write(keys.path().join("known_hosts"), format!("{address} {host_key}\n"))?;
        let client_key = keys.path().join("client").display().to_string();
        Ok(Self { _vms: vms, network, keys, user, address, host_key, client_key })
    }

    /// Where it is reachable.
    pub fn network(&self) -> Result<Arc<Network>> {
        self.network.clone().context("it is in no network of its own")
    }

    /// What `machine create -d generic` is told.
    pub fn options(&self) -> [&str; 8] {
        [
            "--generic-ip-address",
            &self.address,
            "--generic-ssh-user",
            self.user,
            "--generic-ssh-key",
            &self.client_key,
            "--generic-ssh-host-key",
            &self.host_key,
        ]
    }

    /// Waits until it lets us in.
    pub fn await_ssh(&self) -> Result<()> {
        let started = Instant::now();
        while self.run("true")?.code != 0 {
            anyhow::ensure!(started.elapsed() < BOOT_LIMIT, "no SSH within {BOOT_LIMIT:?}");
            sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Whether its SSH server speaks.
    pub fn speaks(&self) -> Result<bool> {
        self.network()?.speaks(&format!("{}:22", self.address))
    }

    /// What a command on it prints.
    pub fn ssh(&self, script: &str) -> Result<String> {
        self.run(script)?.ok()
    }

    /// The same of one that takes its time.
    pub fn ssh_within(&self, script: &str, limit: Duration) -> Result<String> {
        run_within(&mut self.command(script), limit)?.ok()
    }

    fn run(&self, script: &str) -> Result<Run> {
        run(&mut self.command(script))
    }

    fn command(&self, script: &str) -> Command {
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let destination = format!("{}@{}", self.user, self.address);
        let arguments = [
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            "-o",
            &known,
            "-i",
            &self.client_key,
            &destination,
            script,
        ];
        let program = Path::new("ssh");
        let mut ssh = match &self.network {
            Some(network) => network.command(program),
            None => Command::new(program),
        };
        ssh.args(arguments).stdin(Stdio::null());
        ssh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }
}
