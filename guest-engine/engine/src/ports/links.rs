//! Bridges, network namespaces, address translation, published ports and name service.

use super::names::Names;
use crate::error::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Debug},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

/// Makes and removes what the kernel needs for containers' networks.
#[async_trait]
pub trait LinkLayer: Debug + Send + Sync {
    /// Makes the bridge, its addresses and its rules as specified. Harmless to repeat.
    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()>;

    /// Removes the bridge and its rules. `Ok` when it is gone already.
    async fn remove_bridge(&self, name: &str) -> Result<()>;

    /// Interface names of every bridge that [`Self::ensure_bridge`] made, for finding leftovers.
    async fn bridge_names(&self) -> Result<Vec<String>>;

    /// Removes what rules are left when the bridges are gone.
    async fn remove_rules(&self) -> Result<()>;

    /// Makes a network namespace with loopback up and says where it is bound. Harmless to repeat.
    async fn create_sandbox(&self, container: &str) -> Result<PathBuf>;

    /// Whether this host has an interface of that name.
    async fn has_interface(&self, name: &str) -> Result<bool>;

    /// Plugs the sandbox into a network: interface, addresses, default route.
    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()>;

    /// Unplugs one interface of the sandbox. `Ok` when it is gone already.
    async fn unplug(&self, container: &str, interface: &str) -> Result<()>;

    /// Makes these the sandbox's default routes, instead of whatever there was; with none it keeps to
    /// its own networks.
    async fn route(&self, container: &str, interface: &str, gateways: &[IpAddr]) -> Result<()>;

    /// Removes the sandbox, everything plugged into it and its name service. `Ok` when it is gone already.
    async fn remove_sandbox(&self, container: &str) -> Result<()>;

    /// Ids of every container that has a sandbox, for finding leftovers.
    async fn sandbox_ids(&self) -> Result<Vec<String>>;

    /// Answers the sandbox's name queries on 127.0.0.11 from `names`, until it is removed or the engine
    /// ends. Replaces what answered before.
    async fn serve_names(&self, container: &str, names: Arc<dyn Names>) -> Result<()>;

    /// Takes a port of this host, so that nobody else does; `false` when somebody has.
    async fn reserve_port(&self, port: &PortSpec) -> Result<bool>;

    /// Lets what arrives at reserved ports through to the containers.
    async fn open_ports(&self, ports: &[PortSpec]) -> Result<()>;

    /// Undoes [`Self::open_ports`] and [`Self::reserve_port`]. `Ok` when it is done already.
    async fn close_ports(&self, ports: &[PortSpec]) -> Result<()>;

    /// Makes these the only open ports, at once: what an engine that ended before left is replaced. The
    /// first [`Self::open_ports`] of an engine does the same.
    async fn restore_ports(&self, ports: &[PortSpec]) -> Result<()>;

    /// Addresses of the resolvers the host itself uses, for containers' `/etc/resolv.conf`, and its
    /// search domains.
    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)>;

    /// Whether the host gets out to others by IPv6, and not by IPv4. Not known is no.
    async fn is_ipv6_only(&self) -> bool {
        false
    }

    /// Networks that the host routes to already, as address and prefix length, so that a bridge does not
    /// take one of them. None known is no error.
    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        Ok(Vec::new())
    }
}

/// A bridge network on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// The bridge's own addresses, the containers' gateways, with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Translate what leaves the host (masquerade).
    pub masquerade: bool,
    /// Nothing goes out and nothing comes in.
    pub internal: bool,
    pub mtu: Option<u32>,
}

/// What an interface of a sandbox is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// A bridge, by a cable; `isolated` keeps it from the bridge's other containers.
    Bridge { name: String, isolated: bool },
    /// The network of one of the host's interfaces, with a hardware address of its own.
    Macvlan { parent: String, mode: MacvlanMode },
    /// The same with the host's hardware address; `routed` without neighbours.
    Ipvlan { parent: String, routed: bool },
}

/// What containers on the same interface see of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    Bridge,
    Private,
    Vepa,
    Passthru,
}

/// One container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    pub plug: Plug,
    /// Name of the interface inside the sandbox: `eth0`.
    pub interface: String,
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default routes by this interface; none when another one has them.
    pub gateways: Vec<IpAddr>,
    pub mac: [u8; 6],
}

/// A port of this host that leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortSpec {
    pub protocol: Protocol,
    /// Where it is reached; an unspecified address is every one of its family.
    pub host: SocketAddr,
    pub container: SocketAddr,
}

/// What runs over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
