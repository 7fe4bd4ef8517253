//! A real sshd with git repositories, in a test's network, and an agent whose key it takes.

use crate::{
    network::Network,
    run::{eventually, run},
};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Ended when it is dropped, the agent with it.
#[derive(Debug)]
pub struct SshServer {
    folder: TempDir,
    sshd: Child,
    agent: Child,
    /// `host:port`.
    pub address: String,
}

impl SshServer {
    /// Listens at `address` in `network`, for whoever has a key of its agent.
    pub fn start(network: &Network, address: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("s-")?;
        let path = |name: &str| folder.path().join(name);
        for (name, kind) in [("host", "ed25519"), ("user", "ecdsa"), ("stranger", "ed25519")] {
            run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(path(name)))?.ok()?;
        }
        fs::copy(path("user.pub"), path("authorized_keys"))?;
        let config = path("sshd_config");
        fs::write(
            &config,
            format!(
                "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n",
                path("host").display(),
                path("authorized_keys").display()
            ),
        )?;
        // What Debian's service makes for it.
        fs::create_dir_all("/run/sshd")?;
        let log = fs::File::create(path("log"))?;
        let sshd = network
            .command(Path::new("/usr/sbin/sshd"))
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("Could not run sshd")?;
        let socket = path("agent");
        let agent = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .context("Could not run ssh-agent")?;
        let server = Self { folder, sshd, agent, address: address.to_owned() };
        eventually("The agent listens", || Ok(socket.exists()))?;
        eventually("sshd listens", || network.answers(address))?;
        // The one that it does not take comes first.
        server.add("stranger")?;
        server.add("user")?;
        Ok(server)
    }

    fn add(&self, key: &str) -> Result<()> {
        let key = self.folder.path().join(key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", self.agent()))?.ok()?;
        Ok(())
    }

    /// The agent forgets all its keys but the one that the server does not take.
    pub fn forget_key(&self) -> Result<()> {
        let key = self.folder.path().join("user");
        run(Command::new("ssh-add").arg("-q").arg("-d").arg(key).env("SSH_AUTH_SOCK", self.agent()))?.ok()?;
        Ok(())
    }

    /// The agent's socket.
    pub fn agent(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// A file that lists the server's key, or with another name the key of somebody else as its.
    pub fn known_hosts(&self, key: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("known-{key}"));
        let (host, port) = self.address.split_once(':').context("an address has a port")?;
        let host = if port == "22" { host.to_owned() } else { format!("[{host}]:{port}") };
        let key = fs::read_to_string(self.folder.path().join(format!("{key}.pub")))?;
        fs::write(&path, format!("# ours\n{host} {key}"))?;
        Ok(path)
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        for process in [&mut self.sshd, &mut self.agent] {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
