//! Networks: which there are, who is on them and with which address.
//!
//! Three are always there: `bridge` (a bridge with address translation), `host` and `none`; the user makes
//! further ones. A container is on its networks from start to end; its addresses are free again afterwards.
//! What outlives the engine is each network's definition, one file each; who is on a network is told by the
//! containers that are found running.
//!
//! `state` says which may be made, `membership` puts containers on networks and takes them off, `publish` opens ports of this host to them,
//! `directory` answers their name queries.

mod default_pools;
mod definition;
mod directory;
mod membership;
mod mode;
mod pool;
mod predefined;
mod publish;
mod request;
mod state;
mod subnet;

use crate::{
    error::{EngineError, ErrorKind, Result},
    events::{EventType, Events},
    ports::{BridgeSpec, HostPorts, LinkLayer},
    state_file,
};
use bollard_stubs::models::NetworkCreateRequest;
pub use definition::{AddressPlan, Definition, Driver};
pub use membership::{Endpoint, Guest, Joined, requested_mac};
pub use mode::NetworkMode;
use predefined::Predefined;
pub use publish::{PortRequest, port_requests};
use state::{Network, Sandbox, State, lock};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};
pub use subnet::Subnet;

/// Interface name of the default bridge.
pub const BRIDGE_INTERFACE: &str = "docker0";
/// Folder of the networks' definitions, under the data root.
const FOLDER: &str = "networks";

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
        let predefined = Predefined::open(&folder, links.as_ref()).await?;
        let site = predefined.site;
        let mut state = State::default();
        for definition in predefined.definitions(bridge).chain(read_definitions(&folder).await?) {
            state.insert(definition);
        }
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

    /// Takes away what the kernel has of all networks, for an end without containers. The next engine makes it anew.
    pub async fn dismantle(&self) {
        for name in self.links.bridge_names().await.unwrap_or_default() {
            if let Err(error) = self.links.remove_bridge(&name).await {
                tracing::warn!(%error, name, "Bridge was left behind");
            }
        }
        if let Err(error) = self.links.remove_rules().await {
            tracing::warn!(%error, "Rules were left behind");
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

async fn host_routes(links: &dyn LinkLayer) -> Result<Vec<Subnet>> {
    let routes = links.host_routes().await?;
    Ok(routes.into_iter().filter_map(|(address, prefix)| Subnet::around(address.into(), prefix)).collect())
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
        if name == predefined::FILE || !name.ends_with(".json") {
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
