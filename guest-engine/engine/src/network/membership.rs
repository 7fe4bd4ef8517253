//! Containers on networks: joining at start, leaving at the end, and both by hand in between.

use super::{Definition, Member, NetworkMode, Networks, Sandbox, State, directory::Directory};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::{random_id, short},
    ports::{EndpointSpec, PortSpec, Upstream},
};
use bollard_stubs::models::{EndpointSettings, HostConfig};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

/// One container's end of a network, as inspect shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: String,
    pub network_id: String,
    pub endpoint_id: String,
    /// Inside the container; empty on `host` and `none`.
    #[serde(default)]
    pub interface: String,
    /// Absent on `host` and `none`.
    pub address: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    #[serde(default)]
    pub prefix6: u8,
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// `02:42:ac:11:00:02`; empty on `host` and `none`.
    pub mac: String,
    /// What others on the network may call it besides its name.
    #[serde(default)]
    pub names: Vec<String>,
    /// What this container alone calls others: alias to name or id.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

impl Endpoint {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::from).into_iter().chain(self.address6.map(IpAddr::from))
    }

    /// Where default routes by this endpoint lead.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.gateway.map(IpAddr::from).into_iter().chain(self.gateway6.map(IpAddr::from)).collect()
    }
}

/// A container as its networks know it.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub hostname: &'a str,
    pub host: &'a HostConfig,
    /// What is asked of each network, by the network's name.
    pub wishes: &'a HashMap<String, EndpointSettings>,
}

/// What a starting container gets.
#[derive(Debug)]
pub struct Joined {
    /// The network namespace to enter; `None` is the host's own.
    pub sandbox: Option<PathBuf>,
    /// By name of the network.
    pub endpoints: BTreeMap<String, Endpoint>,
}

impl Networks {
    /// Takes back what a running container already has, after a restart of the engine.
    pub(crate) fn readopt(
        &self,
        guest: Guest<'_>,
        endpoints: &BTreeMap<String, Endpoint>,
        ports: &[PortSpec],
    ) {
        let mut state = self.state();
        for endpoint in endpoints.values() {
            let Some(network) = state.networks.get_mut(&endpoint.network_id) else { continue };
            for pool in &mut network.pools {
                for address in endpoint.addresses() {
                    pool.take(address, guest.id);
                }
            }
            let member = Member { name: guest.name.to_owned(), endpoint: endpoint.clone() };
            network.members.insert(guest.id.to_owned(), member);
        }
        state.ports.take(ports);
        state.sandboxes.insert(guest.id.to_owned(), sandbox(guest.host, ports.to_vec()));
    }

    /// Answers a container's names again that was found running.
    pub(crate) async fn resume(&self, container: &str) {
        let named = self.state().is_named(container);
        if named && let Err(error) = self.serve_names(container).await {
            tracing::warn!(%error, container, "Container is without name service");
        }
    }

    /// Makes the container's sandbox and puts it on its networks. On failure nothing is left.
    pub(crate) async fn join(&self, guest: Guest<'_>, mode: &NetworkMode) -> Result<Joined> {
        let sandbox = match mode {
            NetworkMode::Host => None,
            NetworkMode::Container(other) => {
                let sandbox = Some(self.links.create_sandbox(other).await?);
                return Ok(Joined { sandbox, endpoints: BTreeMap::new() });
            }
            _ => {
                let networks = self.networks_of(guest, mode)?;
                for definition in &networks {
                    self.ensure(definition).await?;
                }
                Some(self.links.create_sandbox(guest.id).await?)
            }
        };
        match self.join_all(guest, mode).await {
            Ok(endpoints) => Ok(Joined { sandbox, endpoints }),
            Err(error) => {
                if let Err(error) = self.leave(guest.id).await {
                    tracing::warn!(%error, container = guest.id, "Network namespace was left behind");
                }
                Err(error)
            }
        }
    }

    async fn join_all(&self, guest: Guest<'_>, mode: &NetworkMode) -> Result<BTreeMap<String, Endpoint>> {
        let networks = self.networks_of(guest, mode)?;
        self.state().sandboxes.insert(guest.id.to_owned(), sandbox(guest.host, Vec::new()));
        let mut endpoints = BTreeMap::new();
        for definition in &networks {
            let endpoint = self.state().enrol(guest, definition)?;
            endpoints.insert(definition.name.clone(), endpoint);
        }
        let way_out = way_out(&endpoints).map(|endpoint| endpoint.network.clone());
        for definition in &networks {
            let endpoint = &endpoints[&definition.name];
            if definition.driver.has_interfaces() {
                let leads_out = way_out.as_deref() == Some(&definition.name);
                self.links.join(guest.id, &spec(definition, endpoint, leads_out)?).await?;
            }
            self.announce("connect", definition, Some(guest.id));
        }
        if networks.iter().any(|definition| definition.has_names()) {
            self.serve_names(guest.id).await?;
        }
        Ok(endpoints)
    }

    /// Puts a running container on one more network; answers where it now is.
    pub(crate) async fn connect(
        &self,
        guest: Guest<'_>,
        network: &str,
        current: &BTreeMap<String, Endpoint>,
    ) -> Result<Endpoint> {
        let definition = self.find(network)?.definition;
        self.ensure(&definition).await?;
        let endpoint = self.state().enrol(guest, &definition)?;
        let mut after = current.clone();
        after.insert(definition.name.clone(), endpoint.clone());
        let plugged = async {
            self.links.join(guest.id, &spec(&definition, &endpoint, false)?).await?;
            self.redirect(guest.id, current, &after).await?;
            if definition.has_names() { self.serve_names(guest.id).await } else { Ok(()) }
        };
        if let Err(error) = plugged.await {
            if let Err(error) = self.links.unplug(guest.id, &endpoint.interface).await {
                tracing::warn!(%error, container = guest.id, "Interface was left behind");
            }
            self.state().dismiss(guest.id, &definition.id);
            return Err(error);
        }
        self.announce("connect", &definition, Some(guest.id));
        Ok(endpoint)
    }

    /// Takes a running container off one network.
    pub(crate) async fn disconnect(
        &self,
        container: &str,
        network: &str,
        current: &BTreeMap<String, Endpoint>,
    ) -> Result<()> {
        let Some(endpoint) = current.get(network) else { return Ok(()) };
        let mut after = current.clone();
        after.remove(network);
        self.links.unplug(container, &endpoint.interface).await?;
        let left = self.state().dismiss(container, &endpoint.network_id);
        self.redirect(container, current, &after).await?;
        if let Some(definition) = left {
            self.announce("disconnect", &definition, Some(container));
        }
        Ok(())
    }

    /// Tells that a container is not to be on a network any more in which it has no endpoint, because it does
    /// not run.
    pub(crate) fn forgotten(&self, container: &str, definition: &Definition) {
        self.announce("disconnect", definition, Some(container));
    }

    /// Moves the default route when another network has become the way out.
    async fn redirect(
        &self,
        container: &str,
        before: &BTreeMap<String, Endpoint>,
        after: &BTreeMap<String, Endpoint>,
    ) -> Result<()> {
        let (old, new) = (way_out(before), way_out(after));
        match new {
            _ if old.map(|e| &e.network_id) == new.map(|e| &e.network_id) => Ok(()),
            Some(endpoint) => self.links.route(container, &endpoint.interface, &endpoint.gateways()).await,
            // The route went with its interface.
            None => Ok(()),
        }
    }

    /// Takes the container off its networks, closes its ports and removes its sandbox. `Ok` when it was
    /// on none.
    pub(crate) async fn leave(&self, container: &str) -> Result<()> {
        self.unpublish(container).await;
        // The addresses are free only after the interfaces that have them are gone.
        let removed = self.links.remove_sandbox(container).await;
        let left: Vec<Arc<Definition>> = {
            let mut state = self.state();
            state.sandboxes.remove(container);
            let ids: Vec<String> = state.networks.keys().cloned().collect();
            ids.iter().filter_map(|id| state.dismiss(container, id)).collect()
        };
        for definition in left {
            self.announce("disconnect", &definition, Some(container));
        }
        removed
    }

    /// Follows a container's new name.
    pub(crate) fn rename(&self, container: &str, name: &str) {
        for network in self.state().networks.values_mut() {
            if let Some(member) = network.members.get_mut(container) {
                name.clone_into(&mut member.name);
            }
        }
    }

    /// Ids of every container that has a sandbox.
    pub(crate) async fn sandboxes(&self) -> Result<Vec<String>> {
        self.links.sandbox_ids().await
    }

    async fn serve_names(&self, container: &str) -> Result<()> {
        self.links.serve_names(container, Arc::new(Directory::new(self.state.clone()))).await
    }

    /// The networks a container asks for: the one of its mode first, the others by name.
    fn networks_of(&self, guest: Guest<'_>, mode: &NetworkMode) -> Result<Vec<Arc<Definition>>> {
        let state = self.state();
        let mut found = Vec::new();
        for (name, wish) in guest.wishes {
            let id = wish.network_id.as_deref().filter(|id| !id.is_empty());
            found.push(state.find(id.unwrap_or(name))?.definition.clone());
        }
        let primary =
            mode.network().and_then(|key| state.find(key).ok()).map(|network| &network.definition.id);
        found.sort_by(|a, b| (Some(&a.id) != primary, &a.name).cmp(&(Some(&b.id) != primary, &b.name)));
        Ok(found)
    }
}

impl State {
    /// Gives the container its place: addresses, interface, names.
    fn enrol(&mut self, guest: Guest<'_>, definition: &Definition) -> Result<Endpoint> {
        let wish = guest.wishes.get(&definition.name);
        let taken: Vec<String> = self
            .networks
            .values()
            .filter_map(|network| Some(network.members.get(guest.id)?.endpoint.interface.clone()))
            .collect();
        let Some(network) = self.networks.get_mut(&definition.id) else {
            return Err(EngineError::not_found(format!("network {} not found", definition.id)));
        };
        if network.members.contains_key(guest.id) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("endpoint with name {} already exists in network {}", guest.name, definition.name),
            ));
        }
        let mut endpoint = Endpoint {
            network: definition.name.clone(),
            network_id: definition.id.clone(),
            endpoint_id: random_id()?,
            interface: String::new(),
            address: None,
            prefix: 0,
            gateway: None,
            address6: None,
            prefix6: 0,
            gateway6: None,
            mac: String::new(),
            names: Vec::new(),
            links: BTreeMap::new(),
        };
        let asked = |address: IpAddr| {
            let ipam = wish.and_then(|wish| wish.ipam_config.as_ref());
            let text =
                ipam.and_then(|i| if address.is_ipv4() { &i.ipv4_address } else { &i.ipv6_address }.as_ref());
            text.filter(|text| !text.is_empty())
        };
        for pool in &mut network.pools {
            let subnet = pool.subnet();
            let given = match asked(subnet.address) {
                Some(text) => match text.parse::<IpAddr>() {
                    Ok(address) => pool.claim(address, guest.id).map(|()| address),
                    Err(_) => Err(EngineError::invalid(format!("invalid IP address: {text}"))),
                },
                None => pool.allocate(guest.id).ok_or_else(|| {
                    EngineError::system(format!(
                        "no available IPv{} addresses on this network's address pools: {} ({})",
                        if subnet.is_ipv4() { 4 } else { 6 },
                        definition.name,
                        definition.id
                    ))
                }),
            };
            let given = match given {
                Ok(given) => given,
                Err(error) => {
                    network.pools.iter_mut().for_each(|pool| pool.release(guest.id));
                    return Err(error);
                }
            };
            let gateway = definition.plan(subnet.is_ipv4()).map(|plan| plan.gateway);
            match (given, gateway.filter(|_| !definition.internal)) {
                (IpAddr::V4(address), gateway) => {
                    endpoint.address = Some(address);
                    endpoint.prefix = subnet.prefix;
                    endpoint.gateway =
                        gateway.and_then(|g| if let IpAddr::V4(g) = g { Some(g) } else { None });
                }
                (IpAddr::V6(address), gateway) => {
                    endpoint.address6 = Some(address);
                    endpoint.prefix6 = subnet.prefix;
                    endpoint.gateway6 =
                        gateway.and_then(|g| if let IpAddr::V6(g) = g { Some(g) } else { None });
                }
            }
        }
        if definition.driver.has_interfaces() {
            let prefix = definition.interface_prefix();
            let free =
                (0..).map(|number: u32| format!("{prefix}{number}")).find(|name| !taken.contains(name));
            endpoint.interface = free.unwrap_or_default();
            let mac = wish.and_then(|wish| wish.mac_address.as_deref()).filter(|mac| !mac.is_empty());
            let mac = mac.map(parse_mac).transpose()?;
            endpoint.mac = format_mac(mac.unwrap_or_else(|| mac_of(&endpoint)));
        }
        if definition.has_names() {
            let aliases =
                wish.and_then(|wish| wish.aliases.as_ref()).into_iter().flatten().map(String::as_str);
            for name in aliases.chain([short(guest.id), guest.hostname]) {
                if name != guest.name && !name.is_empty() && !endpoint.names.iter().any(|known| known == name)
                {
                    endpoint.names.push(name.to_owned());
                }
            }
        }
        for link in wish.and_then(|wish| wish.links.as_ref()).into_iter().flatten() {
            let (other, alias) = link.split_once(':').unwrap_or((link, link));
            let alias = alias.rsplit('/').next().unwrap_or(alias);
            endpoint.links.insert(alias.to_ascii_lowercase(), other.trim_start_matches('/').to_owned());
        }
        let member = Member { name: guest.name.to_owned(), endpoint: endpoint.clone() };
        network.members.insert(guest.id.to_owned(), member);
        Ok(endpoint)
    }

    /// Takes the container off the network; answers the network when it was on it.
    fn dismiss(&mut self, container: &str, network: &str) -> Option<Arc<Definition>> {
        let network = self.networks.get_mut(network)?;
        network.members.remove(container)?;
        network.pools.iter_mut().for_each(|pool| pool.release(container));
        Some(network.definition.clone())
    }

    fn is_named(&self, container: &str) -> bool {
        self.networks
            .values()
            .any(|network| network.definition.has_names() && network.members.contains_key(container))
    }
}

/// The endpoint with the default route: the first by the network's name that has a gateway.
pub(super) fn way_out(endpoints: &BTreeMap<String, Endpoint>) -> Option<&Endpoint> {
    endpoints.values().find(|endpoint| endpoint.gateway.is_some())
}

fn sandbox(host: &HostConfig, ports: Vec<PortSpec>) -> Sandbox {
    let servers: Vec<IpAddr> = host.dns.iter().flatten().filter_map(|server| server.parse().ok()).collect();
    Sandbox {
        upstream: if servers.is_empty() { Upstream::Host } else { Upstream::Servers(servers) },
        keeps_short_names: host
            .dns_options
            .iter()
            .flatten()
            .any(|option| option.strip_prefix("ndots:").is_some_and(|dots| dots != "0")),
        ports,
    }
}

fn spec(definition: &Definition, endpoint: &Endpoint, leads_out: bool) -> Result<EndpointSpec> {
    let prefix = |address: IpAddr| if address.is_ipv4() { endpoint.prefix } else { endpoint.prefix6 };
    Ok(EndpointSpec {
        plug: definition.plug()?,
        interface: endpoint.interface.clone(),
        addresses: endpoint.addresses().map(|address| (address, prefix(address))).collect(),
        gateways: if leads_out { endpoint.gateways() } else { Vec::new() },
        mac: parse_mac(&endpoint.mac)?,
    })
}

/// Docker's derived address: the IPv4 address behind a locally administered prefix.
fn mac_of(endpoint: &Endpoint) -> [u8; 6] {
    let [a, b, c, d] = endpoint.address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
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
        .ok_or_else(|| EngineError::invalid(format!("invalid MAC address {text}")))
}

/// Checks the MAC addresses that a container asks for.
pub fn requested_mac(endpoints: &HashMap<String, EndpointSettings>) -> Result<()> {
    let mut asked = endpoints.values().filter_map(|e| e.mac_address.as_deref().filter(|m| !m.is_empty()));
    asked.try_for_each(|mac| parse_mac(mac).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        assert_eq!(parse_mac("02:42:ac:11:00:0f").unwrap(), [2, 0x42, 0xac, 0x11, 0, 0xf]);
        for bad in ["", "02:42", "02:42:ac:11:00:zz", "2:42:ac:11:0:2"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
