//! The guest's own network: loopback, the first Ethernet interface by DHCP, `/etc/resolv.conf`, and
//! the kernel settings of a container host. Containers' networks are the engine's.

use super::dhcp::{Client, Lease};
use super::{log, netlink};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const INTERFACES: &str = "/sys/class/net";
/// How long the boot waits for the interface to appear and for a lease.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// A lease is renewed no sooner than this, whatever the server says.
const MIN_RENEWAL: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("The VM has no network interface")]
    NoInterface,
    #[error("Could not bring the interface {0} up")]
    Up(String, #[source] io::Error),
    #[error("No DHCP server answered on {0}")]
    Dhcp(String, #[source] io::Error),
    #[error("Could not configure the address {0}")]
    Configure(std::net::Ipv4Addr, #[source] io::Error),
}

#[derive(Debug)]
struct Interface {
    name: String,
    index: u32,
    hardware_address: [u8; 6],
}

/// Brings the network up and keeps its lease in the background.
pub(super) fn configure() -> Result<(), NetworkError> {
    let deadline = Instant::now() + DEADLINE;
    if let Err(error) = netlink::set_up(1) {
        log::line(format_args!("Could not bring the loopback interface up: {error}"));
    }
    let interface = wait_for_interface(deadline)?;
    netlink::set_up(interface.index).map_err(|error| NetworkError::Up(interface.name.clone(), error))?;
    let dhcp = |error| NetworkError::Dhcp(interface.name.clone(), error);
    let client = Client::bind(&interface.name, interface.hardware_address).map_err(dhcp)?;
    let lease = client.obtain(deadline).map_err(dhcp)?;
    apply(&interface, &lease).map_err(|error| NetworkError::Configure(lease.address, error))?;
    log::line(format_args!("{} is {}/{}", interface.name, lease.address, lease.prefix));
    super::thread("dhcp", move || keep(&client, &interface, lease));
    Ok(())
}

/// Kernel settings that containers expect of their host. Those whose module is not loaded yet are
/// simply not there; the call may be repeated.
pub(super) fn set_kernel_parameters() {
    const PARAMETERS: [(&str, &str); 11] = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/bridge/bridge-nf-call-iptables", "1"),
        ("net/bridge/bridge-nf-call-ip6tables", "1"),
        ("net/core/somaxconn", "4096"),
        ("vm/max_map_count", "262144"),
        ("fs/inotify/max_user_instances", "8192"),
        ("fs/inotify/max_user_watches", "524288"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/pid_max", "4194304"),
        ("fs/nr_open", "1048576"),
    ];
    for (name, value) in PARAMETERS {
        let path = Path::new("/proc/sys").join(name);
        if path.exists()
            && let Err(error) = fs::write(&path, value)
        {
            log::line(format_args!("Could not set {name} to {value}: {error}"));
        }
    }
}

fn wait_for_interface(deadline: Instant) -> Result<Interface, NetworkError> {
    loop {
        if let Some(interface) = first_interface(Path::new(INTERFACES)) {
            return Ok(interface);
        }
        if Instant::now() >= deadline {
            return Err(NetworkError::NoInterface);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The Ethernet device with the lowest index: bridges and the like come later and have no `device`.
fn first_interface(folder: &Path) -> Option<Interface> {
    let interface = |entry: fs::DirEntry| {
        let path = entry.path();
        let read = |file: &str| fs::read_to_string(path.join(file)).ok();
        if !path.join("device").exists() {
            return None;
        }
        Some(Interface {
            name: entry.file_name().into_string().ok()?,
            index: read("ifindex")?.trim().parse().ok()?,
            hardware_address: hardware_address(read("address")?.trim())?,
        })
    };
    fs::read_dir(folder).ok()?.flatten().filter_map(interface).min_by_key(|interface| interface.index)
}

fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn apply(interface: &Interface, lease: &Lease) -> io::Result<()> {
    netlink::add_address(interface.index, lease.address, lease.prefix)?;
    if let Some(router) = lease.router {
        netlink::set_default_route(interface.index, router)?;
    }
    fs::write("/etc/resolv.conf", resolv_conf(lease))
}

fn resolv_conf(lease: &Lease) -> String {
    let mut text = String::new();
    if let Some(domain) = &lease.search_domain {
        text.push_str(&format!("search {domain}\n"));
    }
    for server in lease.name_servers.iter().take(3) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// Renews at half of the lease; when the server has forgotten us, starts over.
fn keep(client: &Client, interface: &Interface, mut lease: Lease) {
    loop {
        std::thread::sleep((lease.duration / 2).max(MIN_RENEWAL));
        let renewed = match client.renew(&lease) {
            Ok(Some(renewed)) => Ok(renewed),
            Ok(None) => client.obtain(Instant::now() + DEADLINE),
            Err(error) => Err(error),
        };
        match renewed {
            Ok(renewed) => {
                if let Err(error) = replace(interface, &lease, &renewed) {
                    log::line(format_args!("Could not configure the address {}: {error}", renewed.address));
                }
                lease = renewed;
            }
            // The address is kept: a guest that answers on a stale one is better than one that does not.
            Err(error) => log::line(format_args!("Could not renew the DHCP lease: {error}")),
        }
    }
}

fn replace(interface: &Interface, old: &Lease, new: &Lease) -> io::Result<()> {
    if (old.address, old.prefix) != (new.address, new.prefix) {
        netlink::remove_address(interface.index, old.address, old.prefix)?;
    }
    apply(interface, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_six_bytes() {
        assert_eq!(hardware_address("52:54:00:12:34:56"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(hardware_address("52:54:00"), None);
        assert_eq!(hardware_address("zz:54:00:12:34:56"), None);
    }

    #[test]
    fn the_first_interface_is_a_device_and_has_the_lowest_index() {
        let folder = tempfile::tempdir().unwrap();
        for (name, index, device) in
            [("lo", 1, false), ("docker0", 2, false), ("eth1", 4, true), ("eth0", 3, true)]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.join(if device { "device" } else { "queues" })).unwrap();
            fs::write(path.join("ifindex"), format!("{index}\n")).unwrap();
            fs::write(path.join("address"), "52:54:00:12:34:56\n").unwrap();
        }
        assert_eq!(first_interface(folder.path()).unwrap().name, "eth0");
    }
}
