//! A server with fresh keys, and the client commands that reach it.

use guest_engine::sshd::{Options, serve};
use russh::keys::PrivateKey;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    port: u16,
    _runtime: Runtime,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host_key = new_key(&folder.path().join("host_key"));
        let user_key = new_key(&folder.path().join("user_key"));
        new_key(&folder.path().join("stranger_key"));
        let authorized_keys = folder.path().join("authorized_keys");
        fs::write(&authorized_keys, user_key.public_key().to_openssh().unwrap()).unwrap();

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let known =
            format!("[127.0.0.1]:{} {}\n", address.port(), host_key.public_key().to_openssh().unwrap());
        fs::write(folder.path().join("known_hosts"), known).unwrap();
        let options = Options {
            listen: address,
            host_key: folder.path().join("host_key"),
            authorized_keys,
            engine_socket: folder.path().join("engine.sock"),
            ready_fd: None,
        };
        runtime.spawn(serve(listener, host_key, options));
        Self { folder, port: address.port(), _runtime: runtime }
    }

    pub(crate) fn address(&self) -> (&str, u16) {
        ("127.0.0.1", self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ssh` with everything but the host, the options of the moment and the command.
    pub(crate) fn ssh(&self) -> Command {
        self.client("ssh", "-p", "user_key")
    }

    pub(crate) fn ssh_with_key(&self, key: &str) -> Command {
        self.client("ssh", "-p", key)
    }

    pub(crate) fn scp(&self) -> Command {
        self.client("scp", "-P", "user_key")
    }

    pub(crate) fn sftp(&self) -> Command {
        self.client("sftp", "-P", "user_key")
    }

    /// Runs one command and gives its output.
    pub(crate) fn run(&self, command: &str) -> Output {
        self.ssh().args(["root@127.0.0.1", command]).output().unwrap()
    }

    fn client(&self, program: &str, port_flag: &str, key: &str) -> Command {
        // A client that hangs is a failed test, not a hanging one. In a process group of its own (without
        // --foreground) ssh would be stopped by SIGTTOU as soon as it touches its terminal, and again each
        // time it is asked to end, so SIGKILL comes after.
        let mut command = Command::new("timeout");
        command.args([
            "--foreground",
            "--kill-after=5",
            "60",
            program,
            "-F",
            "none",
            port_flag,
            &self.port.to_string(),
        ]);
        command.arg("-i").arg(self.path(key));
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.path("known_hosts").display()));
        for option in ["StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR"] {
            command.args(["-o", option]);
        }
        command
    }
}

fn new_key(path: &Path) -> PrivateKey {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
    russh::keys::load_secret_key(path, None).unwrap()
}

/// Ends a client as Ctrl-C does: `timeout` passes the signal on, which a kill would not reach.
pub(crate) fn end(client: &mut std::process::Child) {
    let pid = nix::unistd::Pid::from_raw(client.id().try_into().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let _ = client.wait();
}
