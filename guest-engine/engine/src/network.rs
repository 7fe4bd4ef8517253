//! Networks: which there are, who is on them and with which address.
//!
//! Three are always there: `bridge` (a bridge with address translation), `host` and `none`; the user makes
//! further ones. A container is on its networks from start to end; its addresses are free again afterwards.
//! What outlives the engine is each network's definition, one file each; who is on a network is told by the
//! containers that are found running.
//!
//! `membership` puts containers on networks and takes them off, `publish` opens ports of this host to them,
//! `directory` answers their name queries.

mod default_pools;
mod definition;
mod directory;
mod membership;
mod mode;
mod pool;
mod publish;
mod request;
mod subnet;

use crate::{
    error::{EngineError, ErrorKind, Result},
    events::{EventType, Events},
    id::{random_bytes, random_id},
    ports::{BridgeSpec, HostPorts, LinkLayer, PortSpec, Upstream},
    state_file,
};
use bollard_stubs::models::NetworkCreateRequest;
pub use definition::{AddressPlan, Definition, Driver};
pub use membership::{Endpoint, Guest, Joined, requested_mac};
pub use mode::NetworkMode;
use pool::Pool;
pub use publish::{PortRequest, port_requests};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
pub use subnet::Subnet;
use tokio::sync::OnceCell;

/// Interface name of the default bridge.
pub const BRIDGE_INTERFACE: &str = "docker0";
/// Folder of the networks' definitions, under the data root.
const FOLDER: &str = "networks";
/// File of the predefined networks' identities, in that folder.
const PREDEFINED_FILE: &str = "predefined.json";
const PREDEFINED: [(&str, Driver); 3] =
    [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)];

/// The networks of this engine.
#[derive(Debug)]
pub struct Networks {
    links: Arc<dyn LinkLayer>,
    host: Arc<dyn HostPorts>,
    events: Arc<Events>,
    folder: PathBuf,
    /// What IPv6 subnets are derived from when nobody chooses one.
    site: [u8; 5],
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By id.
    networks: BTreeMap<String, Network>,
    /// By container.
    sandboxes: BTreeMap<String, Sandbox>,
    ports: publish::Allocator,
}

#[derive(Debug)]
struct Network {
    definition: Arc<Definition>,
    pools: Vec<Pool>,
    /// Container id to member.
    members: BTreeMap<String, Member>,
    /// The bridge is made at first use, so that an engine without containers touches nothing.
    ready: Arc<OnceCell<()>>,
}

/// What a container has besides its places on networks.
#[derive(Debug)]
struct Sandbox {
    upstream: Upstream,
    /// Names without a dot are not asked elsewhere: the user set `ndots`.
    keeps_short_names: bool,
    ports: Vec<PortSpec>,
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container's name.
    pub name: String,
    pub endpoint: Endpoint,
}

/// A network as list and inspect show it.
#[derive(Clone, Debug)]
pub struct NetworkView {
    pub definition: Arc<Definition>,
    /// Container id to member.
    pub members: BTreeMap<String, Member>,
}

#[derive(Serialize, Deserialize)]
struct Predefined {
    identities: Vec<Identity>,
    subnet: Subnet,
    #[serde(default)]
    site: [u8; 5],
}

#[derive(Serialize, Deserialize)]
struct Identity {
    name: String,
    id: String,
    created: SystemTime,
}

impl Networks {
    /// Reads the networks, or makes the predefined ones the first time. `bridge` is the interface of the
    /// default one, [`BRIDGE_INTERFACE`] unless another engine on this host has that.
    pub async fn open(
        data_root: &Path,
        links: Arc<dyn LinkLayer>,
        host: Arc<dyn HostPorts>,
        events: Arc<Events>,
        bridge: &str,
    ) -> Result<Self> {
        let folder = data_root.join(FOLDER);
        let predefined = predefined(&folder.join(PREDEFINED_FILE), links.as_ref()).await?;
        let mut state = State::default();
        for (identity, (_, driver)) in predefined.identities.into_iter().zip(PREDEFINED) {
            state.insert(predefined_definition(identity, driver, predefined.subnet, bridge));
        }
        for definition in read_definitions(&folder).await? {
            state.insert(definition);
        }
        let site = predefined.site;
        Ok(Self { links, host, events, folder, site, state: Arc::new(Mutex::new(state)) })
    }

    /// Every network, by name.
    pub fn list(&self) -> Vec<NetworkView> {
        let mut views: Vec<NetworkView> = self.state().networks.values().map(Network::view).collect();
        views.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        views
    }

    /// The network with this name, id or unambiguous start of an id.
    pub fn find(&self, key: &str) -> Result<NetworkView> {
        self.state().find(key).map(Network::view)
    }

    /// Makes a network of the user's. On failure nothing is left.
    pub async fn create(&self, request: NetworkCreateRequest) -> Result<Arc<Definition>> {
        request::check(&request)?;
        let driver = request.driver.as_deref().unwrap_or_default();
        let driver = Driver::of_users(driver).ok_or_else(|| no_driver(driver))?;
        let routes = host_routes(self.links.as_ref()).await?;
        let definition = self.state().define(request, driver, &routes, &self.site)?;
        let made = async {
            self.ensure(&definition).await?;
            state_file::save(&self.file(&definition.id), definition.as_ref()).await
        };
        if let Err(error) = made.await {
            self.state().networks.remove(&definition.id);
            self.remove_bridge(&definition).await;
            return Err(error);
        }
        self.announce("create", &definition, None);
        Ok(definition)
    }

    /// Removes a network of the user's that nobody is on.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let network = self.state().withdraw(key)?;
        let definition = network.definition.clone();
        if let Err(error) = state_file::remove(&self.file(&definition.id)).await {
            self.state().networks.insert(definition.id.clone(), network);
            return Err(error);
        }
        self.remove_bridge(&definition).await;
        self.announce("destroy", &definition, None);
        Ok(())
    }

    /// Removes every network of the user's that nobody is on and `wanted` accepts; answers their names.
    pub async fn prune(&self, wanted: impl Fn(&Definition) -> bool) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for view in self.list() {
            let definition = &view.definition;
            if definition.is_predefined() || !view.members.is_empty() || !wanted(definition) {
                continue;
            }
            match self.remove(&definition.id).await {
                Ok(()) => removed.push(definition.name.clone()),
                // Used or removed by somebody else meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let reclaimed = [("reclaimed".to_owned(), "0".to_owned())].into();
        self.events.publish(EventType::Network, "prune", "", reclaimed);
        Ok(removed)
    }

    /// Makes the default bridge; called ahead of its first use to have it warm.
    pub async fn prepare(&self) -> Result<()> {
        let definition = self.find("bridge")?.definition;
        self.ensure(&definition).await
    }

    /// Resolvers and search domains of the host.
    pub(crate) async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        self.links.host_resolvers().await
    }

    /// The default bridge's own address: what `host-gateway` means.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        let state = self.state();
        state.find("bridge").ok()?.definition.plan(true).map(|plan| plan.gateway)
    }

    /// Removes bridges that no network has: a creation or removal was cut short.
    pub(crate) async fn sweep_bridges(&self) {
        let found = self.links.bridge_names().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "Could not look for leftover bridges");
            Vec::new()
        });
        for name in found {
            let known = self.list().iter().any(|network| network.definition.interface() == name);
            if !known && let Err(error) = self.links.remove_bridge(&name).await {
                tracing::warn!(%error, name, "Leftover bridge stays");
            }
        }
    }

    /// Makes the network's bridge unless that has been done.
    async fn ensure(&self, definition: &Definition) -> Result<()> {
        match definition.driver {
            Driver::Bridge => {}
            Driver::Host | Driver::Null => return Ok(()),
            Driver::Macvlan | Driver::Ipvlan => return self.check_parent(definition).await,
        }
        let ready = self.state().by_id(&definition.id)?.ready.clone();
        let bridge = BridgeSpec {
            name: definition.interface(),
            addresses: definition.plans.iter().map(|plan| (plan.gateway, plan.subnet.prefix)).collect(),
            masquerade: definition.masquerade(),
            internal: definition.internal,
            mtu: definition.mtu(),
        };
        ready.get_or_try_init(|| self.links.ensure_bridge(&bridge)).await.map(|_| ())
    }

    /// The driver's part of the host must be there.
    async fn check_parent(&self, definition: &Definition) -> Result<()> {
        let (driver, parent) = (definition.driver.as_str(), definition.parent());
        definition.plug()?;
        if parent.is_empty() {
            return Err(EngineError::not_implemented(format!(
                "A {driver} network without a parent interface (-o parent=eth0) is not supported by this engine"
            )));
        }
        if !self.links.has_interface(parent).await? {
            return Err(EngineError::invalid(format!(
                "-o parent interface {parent} was not found on the host"
            )));
        }
        Ok(())
    }

    async fn remove_bridge(&self, definition: &Definition) {
        let name = definition.interface();
        if definition.driver == Driver::Bridge
            && let Err(error) = self.links.remove_bridge(&name).await
        {
            tracing::warn!(%error, name, "Bridge was left behind");
        }
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn announce(&self, action: &str, definition: &Definition, container: Option<&str>) {
        let mut attributes: BTreeMap<String, String> = [
            ("name".to_owned(), definition.name.clone()),
            ("type".to_owned(), definition.driver.as_str().to_owned()),
        ]
        .into();
        attributes.extend(container.map(|id| ("container".to_owned(), id.to_owned())));
        self.events.publish(EventType::Network, action, definition.id.clone(), attributes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn insert(&mut self, definition: Definition) -> Arc<Definition> {
        let definition = Arc::new(definition);
        let pool = |plan: &AddressPlan| {
            let reserved = plan.auxiliary.values().copied().chain([plan.gateway]);
            Pool::new(plan.subnet, plan.range, reserved)
        };
        let network = Network {
            definition: definition.clone(),
            pools: definition.plans.iter().map(pool).collect(),
            members: BTreeMap::new(),
            ready: Arc::default(),
        };
        self.networks.insert(definition.id.clone(), network);
        definition
    }

    fn find(&self, key: &str) -> Result<&Network> {
        let key = if key == "default" { "bridge" } else { key };
        let named = |network: &&Network| network.definition.name == key;
        if let Some(network) = self.networks.get(key).or_else(|| self.networks.values().find(named)) {
            return Ok(network);
        }
        let mut matching =
            self.networks.values().filter(|n| !key.is_empty() && n.definition.id.starts_with(key));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => {
                let more = matching.count() + 2;
                Err(EngineError::invalid(format!(
                    "network {key} is ambiguous ({more} matches found based on ID prefix)"
                )))
            }
            (None, _) => Err(EngineError::not_found(format!("network {key} not found"))),
        }
    }

    fn by_id(&self, id: &str) -> Result<&Network> {
        self.networks.get(id).ok_or_else(|| EngineError::not_found(format!("network {id} not found")))
    }

    /// Takes name, interface and subnets for a new network.
    fn define(
        &mut self,
        request: NetworkCreateRequest,
        driver: Driver,
        routes: &[Subnet],
        site: &[u8; 5],
    ) -> Result<Arc<Definition>> {
        let name = request.name;
        if self.networks.values().any(|network| network.definition.name == name) {
            return Err(EngineError::conflict(format!("network with name {name} already exists")));
        }
        let ipv6 = request.enable_ipv6.unwrap_or(false);
        let ipam = request.ipam.unwrap_or_default();
        let asked = request::plans(ipam.config.as_deref().unwrap_or_default(), ipv6)?;
        let (asked, idle): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|plan| ipv6 || plan.subnet.is_ipv4());
        let definition = Definition {
            name,
            id: random_id()?,
            created: SystemTime::now(),
            driver,
            ipv6,
            internal: request.internal.unwrap_or(false),
            attachable: request.attachable.unwrap_or(false),
            options: request.options.unwrap_or_default().into_iter().collect(),
            labels: request.labels.unwrap_or_default().into_iter().collect(),
            ipam_options: ipam.options.map(|options| options.into_iter().collect()),
            plans: self.choose_plans(driver, asked, ipv6, routes, site)?,
            idle_plans: idle.into_iter().map(request::AskedPlan::complete).collect(),
        };
        let interface = definition.interface();
        let same = |other: &&Network| {
            driver == Driver::Bridge
                && other.definition.driver == Driver::Bridge
                && other.definition.interface() == interface
        };
        if let Some(other) = self.networks.values().find(same) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!(
                    "cannot create network {} ({interface}): conflicts with network {} ({interface}): networks \
                     have same bridge name",
                    definition.id, other.definition.id
                ),
            ));
        }
        Ok(self.insert(definition))
    }

    /// The subnets of a new network: those asked for when they are free, else the next free ones.
    fn choose_plans(
        &self,
        driver: Driver,
        asked: Vec<request::AskedPlan>,
        ipv6: bool,
        routes: &[Subnet],
        site: &[u8; 5],
    ) -> Result<Vec<AddressPlan>> {
        let plans = self.networks.values().flat_map(|network| &network.definition.plans);
        let mut taken: Vec<Subnet> = plans.map(|plan| plan.subnet).collect();
        if asked.iter().any(|plan| taken.iter().any(|other| plan.subnet.overlaps(*other))) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                "Pool overlaps with other one on this address space",
            ));
        }
        let (ipv4, other): (Vec<_>, Vec<_>) = asked.into_iter().partition(|plan| plan.subnet.is_ipv4());
        if ipv4.len() > 1 || other.len() > 1 {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("{} driver doesn't support multiple subnets", driver.as_str()),
            ));
        }
        taken.extend(routes);
        let none_left = |family: u8| {
            EngineError::not_found(format!(
                "could not find an available, non-overlapping IPv{family} address pool among the defaults to assign \
                 to the network"
            ))
        };
        let mut chosen: Vec<AddressPlan> = ipv4.into_iter().map(request::AskedPlan::complete).collect();
        if chosen.is_empty() {
            chosen.push(automatic(default_pools::free_ipv4(&taken).ok_or_else(|| none_left(4))?));
        }
        if ipv6 {
            chosen.push(match other.into_iter().next() {
                Some(plan) => plan.complete(),
                None => automatic(default_pools::free_ipv6(site, &taken).ok_or_else(|| none_left(6))?),
            });
        }
        match chosen.iter().find(|plan| !plan.subnet.can_own(plan.gateway)) {
            Some(AddressPlan { gateway, .. }) => Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("failed to allocate gateway ({gateway}): Address already in use"),
            )),
            None => Ok(chosen),
        }
    }

    /// Takes a network out that nobody is on, so that nobody can join it any more.
    fn withdraw(&mut self, key: &str) -> Result<Network> {
        let definition = self.find(key)?.definition.clone();
        let forbidden = |message: String| Err(EngineError::new(ErrorKind::Forbidden, message));
        if definition.is_predefined() {
            return forbidden(format!("{} is a pre-defined network and cannot be removed", definition.name));
        }
        match self.networks.remove(&definition.id) {
            Some(network) if network.members.is_empty() => Ok(network),
            Some(network) => {
                let (name, id) = (&definition.name, &definition.id);
                let error =
                    format!("error while removing network: network {name} id {id} has active endpoints");
                self.networks.insert(id.clone(), network);
                forbidden(error)
            }
            None => Err(EngineError::not_found(format!("network {key} not found"))),
        }
    }
}

impl Network {
    fn view(&self) -> NetworkView {
        NetworkView { definition: self.definition.clone(), members: self.members.clone() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_driver(name: &str) -> EngineError {
    match name {
        "host" | "null" => EngineError::new(
            ErrorKind::Forbidden,
            format!("only one instance of {name:?} network is allowed"),
        ),
        "overlay" => EngineError::new(
            ErrorKind::Forbidden,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
             node to swarm and try again.",
        ),
        other => EngineError::not_found(format!("plugin {other:?} not found")),
    }
}

fn automatic(subnet: Subnet) -> AddressPlan {
    AddressPlan {
        subnet,
        gateway: subnet.gateway(),
        range: None,
        auxiliary: BTreeMap::new(),
        chosen: false,
        gateway_chosen: true,
    }
}

async fn host_routes(links: &dyn LinkLayer) -> Result<Vec<Subnet>> {
    let routes = links.host_routes().await?;
    Ok(routes.into_iter().filter_map(|(address, prefix)| Subnet::around(address.into(), prefix)).collect())
}

async fn predefined(file: &Path, links: &dyn LinkLayer) -> Result<Predefined> {
    if let Some(stored) = state_file::load::<Predefined>(file).await? {
        return Ok(stored);
    }
    let subnet = default_pools::free_ipv4(&host_routes(links).await?)
        .ok_or_else(|| EngineError::system("No private IPv4 range is free for the default bridge network"))?;
    let created = SystemTime::now();
    let identities = PREDEFINED
        .iter()
        .map(|(name, _)| Ok(Identity { name: (*name).to_owned(), id: random_id()?, created }))
        .collect::<Result<_>>()?;
    let stored = Predefined { identities, subnet, site: random_bytes()? };
    state_file::save(file, &stored).await?;
    Ok(stored)
}

fn predefined_definition(identity: Identity, driver: Driver, subnet: Subnet, interface: &str) -> Definition {
    let bridge = driver == Driver::Bridge;
    let options = [
        ("com.docker.network.bridge.default_bridge", "true"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ("com.docker.network.bridge.name", interface),
        ("com.docker.network.driver.mtu", "1500"),
    ];
    Definition {
        name: identity.name,
        id: identity.id,
        created: identity.created,
        driver,
        ipv6: false,
        internal: false,
        attachable: false,
        options: options
            .into_iter()
            .filter(|_| bridge)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        labels: BTreeMap::new(),
        ipam_options: None,
        plans: if bridge { vec![automatic(subnet)] } else { Vec::new() },
        idle_plans: Vec::new(),
    }
}

async fn read_definitions(folder: &Path) -> Result<Vec<Definition>> {
    let failed = |e: io::Error| {
        EngineError::system(format!("Could not read networks in {}", folder.display())).because(e)
    };
    let mut entries = tokio::fs::read_dir(folder).await.map_err(failed)?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == PREDEFINED_FILE || !name.ends_with(".json") {
            continue;
        }
        match state_file::load::<Definition>(&entry.path()).await {
            Ok(definition) => found.extend(definition),
            // One damaged definition must not take the others down.
            Err(error) => tracing::error!(%error, "A network's definition cannot be read; it is left alone"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
