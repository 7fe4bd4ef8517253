//! A network namespace of a test's own: the engine lives in it, and the servers it is to reach.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::Read,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

/// An address that is not the loopback's: what only local registries may is not allowed here.
pub const ADDRESS: &str = "192.0.2.1";
/// The same of IPv6.
pub const ADDRESS6: &str = "2001:db8:ffff::1";

/// Lasts until the last of its handles is dropped; engines come and go in it.
#[derive(Clone, Debug)]
pub struct Network {
    holder: Arc<Holder>,
}

/// The process that it is of.
#[derive(Debug)]
struct Holder(Child);

impl Network {
    /// With a loopback device, which also has [`ADDRESS`] and [`ADDRESS6`]. Root only.
    pub fn new() -> Result<Self> {
        let set_up = format!(
            "busybox ip link set lo up && busybox ip address add {ADDRESS}/32 dev lo && \
             {{ busybox ip -6 address add {ADDRESS6}/128 dev lo; echo; exec sleep 100000; }}"
        );
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", &set_up])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("Could not run unshare")?;
        let mut ready = [0];
        let mut said = holder.stdout.take().context("the namespace's output")?;
        said.read_exact(&mut ready).context("The network namespace was not set up")?;
        Ok(Self { holder: Arc::new(Holder(holder)) })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.0.id()).into()
    }

    /// A command that runs in it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// A socket in it, for a server that lives in the test itself.
    pub fn listen(&self, address: &str) -> Result<TcpListener> {
        let address = address.to_owned();
        self.inside(move || Ok(TcpListener::bind(address)?))
    }

    /// The same for datagrams.
    pub fn listen_for_datagrams(&self, address: &str) -> Result<UdpSocket> {
        let address = address.to_owned();
        self.inside(move || Ok(UdpSocket::bind(address)?))
    }

    /// A connection to a server in it.
    pub fn connect(&self, address: &str) -> Result<TcpStream> {
        let address = address.to_owned();
        self.inside(move || Ok(TcpStream::connect(address)?))
    }

    /// Whether anybody listens there.
    pub fn answers(&self, address: &str) -> Result<bool> {
        Ok(self.connect(address).is_ok())
    }

    /// Whether a server speaks there: one that only accepts may be a forwarder without anybody behind it.
    pub fn speaks(&self, address: &str) -> Result<bool> {
        let address = address.to_owned();
        self.inside(move || {
            let Ok(mut server) = TcpStream::connect(address) else { return Ok(false) };
            server.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok(server.read_exact(&mut [0]).is_ok())
        })
    }

    /// The namespace is the thread's; a socket made there keeps it.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let path = self.path();
        let inside = thread::spawn(move || {
            setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        inside.join().map_err(|_| anyhow!("a thread panicked"))?
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Everything in it ends or has ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
