//! Bridges, network namespaces and address translation.

use crate::error::Result;
use async_trait::async_trait;
use std::{fmt::Debug, net::Ipv4Addr, path::PathBuf};

/// Makes and removes what the kernel needs for containers' networks.
#[async_trait]
pub trait LinkLayer: Debug + Send + Sync {
    /// Makes the bridge, its address and its NAT rules as specified. Harmless to repeat.
    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()>;

    /// Removes the bridge and its rules. `Ok` when it is gone already.
    async fn remove_bridge(&self, name: &str) -> Result<()>;

    /// Makes a network namespace with loopback up and says where it is bound. Harmless to repeat.
    async fn create_sandbox(&self, container: &str) -> Result<PathBuf>;

    /// Plugs the sandbox into a bridge: veth pair, address, default route.
    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()>;

    /// Removes the sandbox and everything plugged into it. `Ok` when it is gone already.
    async fn remove_sandbox(&self, container: &str) -> Result<()>;

    /// Ids of every container that has a sandbox, for finding leftovers.
    async fn sandbox_ids(&self) -> Result<Vec<String>>;

    /// Addresses of the resolvers the host itself uses, for containers' `/etc/resolv.conf`, and its
    /// search domains.
    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)>;

    /// Networks that the host routes to already, as address and prefix length, so that a bridge does not
    /// take one of them. Asked once, before the first bridge ever exists. None known is no error.
    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        Ok(Vec::new())
    }
}

/// A bridge network on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// The bridge's own address: the containers' gateway.
    pub gateway: Ipv4Addr,
    pub prefix: u8,
    /// Translate what leaves the host (masquerade).
    pub masquerade: bool,
}

/// One container's place on a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The bridge's interface name.
    pub bridge: String,
    /// Name of the interface inside the sandbox: `eth0`.
    pub interface: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Ipv4Addr,
    pub mac: [u8; 6],
}
