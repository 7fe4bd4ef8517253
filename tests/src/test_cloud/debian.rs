//! Real VMs: Debian as `debian-vm.sh` makes it, booted by QEMU in a network namespace of its own. A VM's
//! address is one of the namespace's loopback addresses, with its SSH server on port 22 as anywhere; or, where
//! IPv6 is all there is, one of the VM's own, by an interface that it shares with the namespace.
//!
//! The guest hears of its user-data as at any provider: cloud-init reads them from a data source, here a
//! small file system (NoCloud).

use super::hypervisor::{Hypervisor, Order};
use crate::{Network, artifacts, network::ADDRESS6};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// How many commands ran over SSH since the VM was booted, this one included: each is a round trip.
pub const COMMANDS_OVER_SSH: &str = "sudo journalctl -b -o cat -u ssh | grep -c 'Starting session: command'";

/// MiB. The engine, a container and what unpacking the engine takes.
const MEMORY: u32 = 768;

/// All VMs of one provider.
#[derive(Debug)]
pub struct DebianVms {
    folder: TempDir,
    network: Option<Arc<Network>>,
    init: Init,
    ipv6_only: bool,
    vms: BTreeMap<u64, Vm>,
}

/// What starts their services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// As Debian is.
    Systemd,
    /// Nobody logs in but root.
    OpenRc,
}

#[derive(Debug)]
struct Vm {
    folder: PathBuf,
    address: IpAddr,
    qemu: Option<Child>,
}

impl DebianVms {
    /// None yet; they will be reachable in `network`, else on this computer.
    pub fn new(network: Option<Arc<Network>>) -> Result<Self> {
        let init = Init::Systemd;
        let folder = TempDir::with_prefix("vms-")?;
        Ok(Self { folder, network, init, ipv6_only: false, vms: BTreeMap::new() })
    }

    /// The same whose services that one starts.
    pub fn with_init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// The same without IPv4; only in a network of their own. Each has a /64, of which it uses the first address,
    /// and gets out by `fe80::1`; who answers names is at [`ADDRESS6`].
    pub fn with_ipv6_only(mut self) -> Self {
        self.ipv6_only = true;
        self
    }

    fn prepare(&self, id: u64, order: &Order) -> Result<Vm> {
        let folder = self.folder.path().join(id.to_string());
        let seed = folder.join("seed");
        fs::create_dir_all(&seed)?;
        fs::write(seed.join("user-data"), &order.user_data)?;
        // A new instance each time, and all of cloud-init's work at once, without a network.
        let meta = json!({ "instance-id": format!("i-{id}"), "local-hostname": order.name, "dsmode": "local",
            "public-keys": order.authorized_keys });
        fs::write(seed.join("meta-data"), meta.to_string())?;
        let image = artifacts::debian_vm()?.join("disk.raw");
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(fs::canonicalize(image)?)
            .arg(folder.join("disk.qcow2"))
            .status()
            .context("Could not run qemu-img")?;
        anyhow::ensure!(made.success(), "qemu-img could not make a disk");
        let number = u16::try_from(id)?;
        let [high, low] = number.to_be_bytes();
        let mut address = Ipv4Addr::new(127, 22, high, low).into();
        if self.ipv6_only {
            let own = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 1);
            address = own.into();
            fs::write(seed.join("vendor-data"), ipv6_settings(own))?;
            let script = folder.join("plug");
            fs::write(
                &script,
                format!(
                    "#!/bin/sh\nset -e\nip link set \"$1\" up\nip address add fe80::1/64 dev \"$1\" nodad\n\
                     ip route add {own}/128 dev \"$1\"\n"
                ),
            )?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Vm { folder, address, qemu: None })
    }

    fn boot(network: Option<&Network>, init: Init, vm: &Vm) -> Result<Child> {
        let image = artifacts::debian_vm()?;
        let path = |name: &str| vm.folder.join(name).display().to_string();
        let init = match init {
            Init::Systemd => "",
            Init::OpenRc => "init=/sbin/openrc-init",
        };
        let program = Path::new("qemu-system-x86_64");
        let mut qemu = network.map_or_else(|| Command::new(program), |network| network.command(program));
        // One processor: QEMU before 8.1 sometimes emulates a kernel wrongly that patches itself on several.
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"])
            .args(["-accel", "tcg,tb-size=256", "-cpu", "max", "-smp", "1", "-m", &MEMORY.to_string()])
            .arg("-kernel")
            .arg(image.join("vmlinuz"))
            .arg("-initrd")
            .arg(image.join("initrd.img"))
            .args(["-append", &format!("root=LABEL=root rw console=ttyS0 quiet {init}")])
            .args(["-drive", &format!("file={},if=virtio,cache=unsafe", path("disk.qcow2"))])
            .args([
                "-blockdev",
                &format!("driver=vvfat,node-name=seed,dir={},label=CIDATA,read-only=on", path("seed")),
            ])
            .args(["-device", "virtio-blk-pci,drive=seed"])
            .args(["-netdev", &format!("{},id=net", vm.plug())])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"])
            .args(["-serial", &format!("file:{}", path("console.log"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", path("qmp"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        qemu.spawn().context("Could not run qemu-system-x86_64")
    }

    fn vm(&mut self, id: u64) -> &mut Vm {
        self.vms.get_mut(&id).unwrap()
    }
}

/// What a provider's own data tell such a VM.
fn ipv6_settings(address: Ipv6Addr) -> String {
    let file = |path: &str, content: &str| json!({ "path": path, "content": content });
    let link =
        format!("[Match]\nName=e*\n[Network]\nAddress={address}/64\nGateway=fe80::1\nIPv6AcceptRA=no\n");
    let files = [
        file("/etc/systemd/network/10-ipv6.network", &link),
        file("/etc/resolv.conf", &format!("nameserver {ADDRESS6}\n")),
    ];
    // JSON is YAML.
    format!("#cloud-config\n{}\n", json!({ "write_files": files }))
}

impl Vm {
    /// What QEMU connects its interface with.
    fn plug(&self) -> String {
        match self.address {
            IpAddr::V4(address) => format!("user,hostfwd=tcp:{address}:22-:22"),
            IpAddr::V6(_) => format!("tap,script={},downscript=no", self.folder.join("plug").display()),
        }
    }

    /// One command to QEMU; what it says to it is not asked for.
    fn tell(&self, command: &str) -> Result<()> {
        let socket = UnixStream::connect(self.folder.join("qmp"))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (mut lines, mut socket) = (BufReader::new(socket.try_clone()?).lines(), socket);
        for command in ["qmp_capabilities", command] {
            // A greeting goes before, an answer after.
            lines.next().context("QEMU hung up")??;
            writeln!(socket, "{}", json!({ "execute": command }))?;
        }
        lines.next().context("QEMU hung up")??;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            // It may have ended by itself.
            drop(qemu.kill());
            drop(qemu.wait());
        }
    }
}

impl Hypervisor for DebianVms {
    fn make(&mut self, id: u64, order: &Order) -> String {
        let vm = self.prepare(id, order).unwrap();
        let address = vm.address.to_string();
        self.vms.insert(id, vm);
        self.switch_on(id);
        address
    }

    fn switch_on(&mut self, id: u64) {
        let (network, init) = (self.network.clone(), self.init);
        if !self.is_on(id) {
            let vm = self.vm(id);
            vm.qemu = Some(Self::boot(network.as_deref(), init, vm).unwrap());
        }
    }

    fn press(&mut self, id: u64) {
        self.vm(id).tell("system_powerdown").unwrap();
    }

    fn cut(&mut self, id: u64) {
        self.vm(id).end();
    }

    fn is_on(&mut self, id: u64) -> bool {
        let Some(vm) = self.vms.get_mut(&id) else { return false };
        match vm.qemu.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => true,
            Some(_) => {
                vm.qemu = None;
                false
            }
            None => false,
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(mut vm) = self.vms.remove(&id) {
            vm.end();
            // The whole folder goes at the end, too.
            drop(fs::remove_dir_all(&vm.folder));
        }
    }
}

impl Drop for DebianVms {
    fn drop(&mut self) {
        self.vms.values_mut().for_each(Vm::end);
    }
}
