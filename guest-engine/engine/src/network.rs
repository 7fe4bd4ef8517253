//! Networks: which there are, who is on them and with which address.
//!
//! The three predefined ones: `bridge` (a bridge with address translation), `host` and `none`. A
//! container is on its network from start to end; its address is free again afterwards. What outlives
//! the engine is the networks' identity and the bridge's subnet; addresses in use are told by the
//! containers that are found running.

pub mod ipam;
mod mode;

use crate::{
    error::{EngineError, ErrorKind, Result},
    events::{EventType, Events},
    id::random_id,
    ports::{BridgeSpec, EndpointSpec, LinkLayer},
    state_file,
};
use ipam::{Pool, Subnet};
pub use mode::NetworkMode;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::OnceCell;

/// Interface name of the default bridge.
pub const BRIDGE_INTERFACE: &str = "docker0";
/// File of the networks' identities, under the data root.
const FILE: &str = "networks/predefined.json";
const PREDEFINED: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// The networks of this engine.
#[derive(Debug)]
pub struct Networks {
    links: Arc<dyn LinkLayer>,
    events: Arc<Events>,
    identities: Vec<Identity>,
    subnet: Subnet,
    /// Made at first use, so that an engine without containers touches nothing.
    bridge: OnceCell<()>,
    members: Mutex<Members>,
}

#[derive(Debug)]
struct Members {
    pool: Pool,
    /// Network name to container id to member.
    on: BTreeMap<&'static str, BTreeMap<String, Member>>,
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container's name when it joined.
    pub name: String,
    pub endpoint: Endpoint,
}

/// One container's end of a network, as inspect shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: String,
    pub network_id: String,
    pub endpoint_id: String,
    /// Absent on `host` and `none`.
    pub address: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    /// `02:42:ac:11:00:02`; empty on `host` and `none`.
    pub mac: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    name: String,
    id: String,
    created: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    identities: Vec<Identity>,
    subnet: Subnet,
}

/// A network as list and inspect show it.
#[derive(Clone, Debug)]
pub struct NetworkView {
    pub name: &'static str,
    pub id: String,
    pub driver: &'static str,
    pub created: SystemTime,
    /// Only bridges have one.
    pub subnet: Option<Subnet>,
    /// Container id to member.
    pub members: BTreeMap<String, Member>,
}

/// What a starting container gets.
#[derive(Debug)]
pub struct Joined {
    /// The network namespace to enter; `None` is the host's own.
    pub sandbox: Option<PathBuf>,
    pub endpoint: Option<Endpoint>,
}

impl Networks {
    /// Reads the networks' identities, or makes them the first time.
    pub async fn open(data_root: &Path, links: Arc<dyn LinkLayer>, events: Arc<Events>) -> Result<Self> {
        let file = data_root.join(FILE);
        let stored = match state_file::load::<Stored>(&file).await? {
            Some(stored) => stored,
            None => {
                let routes: Vec<Subnet> = links
                    .host_routes()
                    .await?
                    .into_iter()
                    .map(|(address, prefix)| Subnet { address, prefix })
                    .collect();
                let subnet = Subnet::first_free(&routes).ok_or_else(|| {
                    EngineError::system("No private IPv4 range is free for the default bridge network")
                })?;
                let created = SystemTime::now();
                let identities = PREDEFINED
                    .iter()
                    .map(|(name, _)| Ok(Identity { name: (*name).to_owned(), id: random_id()?, created }))
                    .collect::<Result<_>>()?;
                let stored = Stored { identities, subnet };
                state_file::save(&file, &stored).await?;
                stored
            }
        };
        Ok(Self {
            links,
            events,
            identities: stored.identities,
            subnet: stored.subnet,
            bridge: OnceCell::new(),
            members: Mutex::new(Members { pool: Pool::new(stored.subnet), on: BTreeMap::new() }),
        })
    }

    /// Every network, by name.
    pub fn list(&self) -> Vec<NetworkView> {
        PREDEFINED.iter().map(|(name, driver)| self.view(name, driver)).collect()
    }

    /// The network with this name, id or unambiguous start of an id.
    pub fn find(&self, key: &str) -> Result<NetworkView> {
        let all = self.list();
        if let Some(view) = all.iter().find(|n| n.name == key || n.id == key) {
            return Ok(view.clone());
        }
        let mut matching = all.into_iter().filter(|n| !key.is_empty() && n.id.starts_with(key));
        match (matching.next(), matching.next()) {
            (Some(view), None) => Ok(view),
            (Some(_), Some(_)) => Err(EngineError::invalid(format!(
                "network {key} is ambiguous (2 matches found based on ID prefix)"
            ))),
            (None, _) => Err(EngineError::not_found(format!("network {key} not found"))),
        }
    }

    /// User-defined networks are not there yet.
    pub fn create(&self, name: &str) -> Result<NetworkView> {
        if PREDEFINED.iter().any(|(known, _)| *known == name) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("operation is not permitted on predefined {name} network"),
            ));
        }
        Err(EngineError::not_implemented(format!(
            "User-defined networks are not supported yet: network \"{name}\" was not created"
        )))
    }

    /// Predefined networks stay.
    pub fn remove(&self, key: &str) -> Result<()> {
        let name = self.find(key)?.name;
        Err(EngineError::new(
            ErrorKind::Forbidden,
            format!("{name} is a pre-defined network and cannot be removed"),
        ))
    }

    /// Connecting and disconnecting by hand belongs to user-defined networks.
    pub fn refuse_reconnect(&self, key: &str) -> Result<()> {
        let name = self.find(key)?.name;
        Err(EngineError::not_implemented(format!(
            "Containers cannot be connected to or disconnected from network \"{name}\" by hand yet"
        )))
    }

    /// Takes back what a running container already has, after a restart of the engine.
    pub(crate) fn readopt(&self, container: &str, name: &str, endpoint: &Endpoint) {
        let mut members = self.members();
        if let Some(address) = endpoint.address {
            members.pool.take(address, container);
        }
        if let Some((network, _)) = PREDEFINED.iter().find(|(known, _)| *known == endpoint.network) {
            let member = Member { name: name.to_owned(), endpoint: endpoint.clone() };
            members.on.entry(network).or_default().insert(container.to_owned(), member);
        }
    }

    /// Makes the container's sandbox and puts it on its network. On failure nothing is left.
    pub(crate) async fn join(
        &self,
        container: &str,
        name: &str,
        mode: &NetworkMode,
        mac: Option<[u8; 6]>,
    ) -> Result<Joined> {
        match mode {
            NetworkMode::Host => {
                let endpoint = self.enrol(container, name, "host", None)?;
                Ok(Joined { sandbox: None, endpoint: Some(endpoint) })
            }
            NetworkMode::Container(other) => {
                Ok(Joined { sandbox: Some(self.links.create_sandbox(other).await?), endpoint: None })
            }
            NetworkMode::None => {
                let sandbox = self.links.create_sandbox(container).await?;
                let endpoint = self.enrol(container, name, "none", None)?;
                Ok(Joined { sandbox: Some(sandbox), endpoint: Some(endpoint) })
            }
            NetworkMode::Bridge => {
                self.prepare().await?;
                let sandbox = self.links.create_sandbox(container).await?;
                let joined = self.join_bridge(container, name, mac).await;
                if joined.is_err()
                    && let Err(error) = self.links.remove_sandbox(container).await
                {
                    tracing::warn!(%error, container, "Network namespace was left behind");
                }
                Ok(Joined { sandbox: Some(sandbox), endpoint: Some(joined?) })
            }
        }
    }

    async fn join_bridge(&self, container: &str, name: &str, mac: Option<[u8; 6]>) -> Result<Endpoint> {
        let address = self.members().pool.allocate(container)?;
        let mac = mac.unwrap_or_else(|| mac_of(address));
        let spec = EndpointSpec {
            bridge: BRIDGE_INTERFACE.to_owned(),
            interface: "eth0".to_owned(),
            address,
            prefix: self.subnet.prefix,
            gateway: self.subnet.gateway(),
            mac,
        };
        let joined = match self.links.join(container, &spec).await {
            Ok(()) => self.enrol(container, name, "bridge", Some((address, mac))),
            Err(error) => Err(error),
        };
        if joined.is_err() {
            self.members().pool.release(container);
        }
        joined
    }

    fn enrol(
        &self,
        container: &str,
        name: &str,
        network: &'static str,
        address: Option<(Ipv4Addr, [u8; 6])>,
    ) -> Result<Endpoint> {
        let endpoint = Endpoint {
            network: network.to_owned(),
            network_id: self.identity(network).id,
            endpoint_id: random_id()?,
            address: address.map(|(address, _)| address),
            prefix: address.map_or(0, |_| self.subnet.prefix),
            gateway: address.map(|_| self.subnet.gateway()),
            mac: address.map(|(_, mac)| format_mac(mac)).unwrap_or_default(),
        };
        let member = Member { name: name.to_owned(), endpoint: endpoint.clone() };
        self.members().on.entry(network).or_default().insert(container.to_owned(), member);
        self.announce("connect", network, container);
        Ok(endpoint)
    }

    /// Takes the container off its network and removes its sandbox. `Ok` when it was on none.
    pub(crate) async fn leave(&self, container: &str) -> Result<()> {
        // The address is free only after the interface that has it is gone.
        let removed = self.links.remove_sandbox(container).await;
        let left: Vec<&'static str> = {
            let mut members = self.members();
            members.pool.release(container);
            members.on.iter_mut().filter_map(|(name, on)| on.remove(container).map(|_| *name)).collect()
        };
        for network in left {
            self.announce("disconnect", network, container);
        }
        removed
    }

    /// Makes the default bridge; called ahead of its first use to have it warm.
    pub async fn prepare(&self) -> Result<()> {
        let bridge = BridgeSpec {
            name: BRIDGE_INTERFACE.to_owned(),
            gateway: self.subnet.gateway(),
            prefix: self.subnet.prefix,
            masquerade: true,
        };
        self.bridge.get_or_try_init(|| self.links.ensure_bridge(&bridge)).await.map(|_| ())
    }

    /// Follows a container's new name.
    pub(crate) fn rename(&self, container: &str, name: &str) {
        for on in self.members().on.values_mut() {
            if let Some(member) = on.get_mut(container) {
                name.clone_into(&mut member.name);
            }
        }
    }

    /// Ids of every container that has a sandbox.
    pub(crate) async fn sandboxes(&self) -> Result<Vec<String>> {
        self.links.sandbox_ids().await
    }

    /// Resolvers and search domains of the host.
    pub(crate) async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        self.links.host_resolvers().await
    }

    /// The default bridge's own address: what `host-gateway` means.
    pub fn host_gateway(&self) -> Ipv4Addr {
        self.subnet.gateway()
    }

    fn announce(&self, action: &str, network: &str, container: &str) {
        let driver = PREDEFINED.iter().find(|(name, _)| *name == network).map_or("", |(_, driver)| driver);
        let attributes = [("container", container), ("name", network), ("type", driver)]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        self.events.publish(EventType::Network, action, self.identity(network).id, attributes.into());
    }

    fn view(&self, name: &'static str, driver: &'static str) -> NetworkView {
        let identity = self.identity(name);
        NetworkView {
            name,
            id: identity.id.clone(),
            driver,
            created: identity.created,
            subnet: (name == "bridge").then_some(self.subnet),
            members: self.members().on.get(name).cloned().unwrap_or_default(),
        }
    }

    fn identity(&self, name: &str) -> Identity {
        self.identities.iter().find(|i| i.name == name).cloned().unwrap_or_else(|| Identity {
            name: name.to_owned(),
            id: String::new(),
            created: SystemTime::UNIX_EPOCH,
        })
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Docker's derived address: the IPv4 address behind a locally administered prefix.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads `02:42:…`; a 400 when it is none.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
        .collect();
    bytes
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
        .ok_or_else(|| EngineError::invalid(format!("invalid MAC address: {text}")))
}

/// The MAC address that a container asks for, on whichever network.
pub(crate) fn requested_mac(
    endpoints: &HashMap<String, bollard_stubs::models::EndpointSettings>,
) -> Result<Option<[u8; 6]>> {
    endpoints
        .values()
        .find_map(|e| e.mac_address.as_deref().filter(|m| !m.is_empty()))
        .map(parse_mac)
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryLinks;

    async fn networks(root: &Path) -> (Networks, Arc<MemoryLinks>) {
        let links = Arc::new(MemoryLinks::default());
        (Networks::open(root, links.clone(), Arc::default()).await.unwrap(), links)
    }

    #[tokio::test]
    async fn identities_and_subnet_survive() {
        let root = tempfile::tempdir().unwrap();
        let (first, _) = networks(root.path()).await;
        let (second, _) = networks(root.path()).await;
        let bridge = first.find("bridge").unwrap();
        assert_eq!(bridge.id, second.find(&bridge.id[..12]).unwrap().id);
        assert_eq!(first.find("nope").unwrap_err().to_string(), "network nope not found");
        assert_eq!(first.remove("host").unwrap_err().kind(), ErrorKind::Forbidden);
        assert_eq!(first.create("mine").unwrap_err().kind(), ErrorKind::NotImplemented);
    }

    #[tokio::test]
    async fn an_address_belongs_to_one_container_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let (networks, links) = networks(root.path()).await;
        let mode = NetworkMode::Bridge;
        let a = networks.join("a", "one", &mode, None).await.unwrap().endpoint.unwrap();
        let b = networks.join("b", "two", &mode, None).await.unwrap().endpoint.unwrap();
        assert_eq!(
            (a.address.unwrap().to_string(), a.mac.as_str()),
            ("172.17.0.2".into(), "02:42:ac:11:00:02")
        );
        assert_eq!(b.address.unwrap().to_string(), "172.17.0.3");
        networks.leave("a").await.unwrap();
        networks.leave("a").await.unwrap();
        let c = networks.join("c", "three", &mode, None).await.unwrap().endpoint.unwrap();
        assert_eq!(c.address, a.address);
        assert_eq!(links.sandboxes(), ["b", "c"]);
        assert_eq!(networks.find("bridge").unwrap().members.len(), 2);
    }

    #[tokio::test]
    async fn a_failed_join_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (networks, links) = networks(root.path()).await;
        links.fail_joins(true);
        assert!(networks.join("a", "one", &NetworkMode::Bridge, None).await.is_err());
        links.fail_joins(false);
        assert!(links.sandboxes().is_empty());
        let b = networks.join("b", "two", &NetworkMode::Bridge, None).await.unwrap().endpoint.unwrap();
        assert_eq!(b.address.unwrap().to_string(), "172.17.0.2");
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(parse_mac("02:42:ac:11:00:0f").unwrap(), [2, 0x42, 0xac, 0x11, 0, 0xf]);
        for bad in ["", "02:42", "02:42:ac:11:00:zz", "2:42:ac:11:0:2"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
