//! A container's networks and published ports: what is asked of them, and changes by hand.

use super::{
    Containers, Shared,
    actor::{Actor, Request},
    etc_files,
    record::Record,
    state::Status,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    network::{self, Definition, Guest, NetworkMode, PortRequest},
    ports::PortSpec,
};
use bollard_stubs::models::{EndpointIpamConfig, EndpointSettings, HostConfig};
use std::{collections::HashMap, net::IpAddr, sync::Arc};

const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to \
                      any other network";
const HOST: &str = "container cannot be disconnected from host network or connected to host network";
const ISOLATED: &str = "container cannot be connected to multiple networks with one of the networks in private \
                        (none) mode";

impl Containers {
    /// Puts the container on one more network, at once when it runs.
    pub async fn connect(&self, key: &str, network: &str, wish: EndpointSettings) -> Result<()> {
        let definition = self.shared.networks.find(network)?.definition;
        let handle = self.shared.index.find(key)?;
        handle.ask(|reply| Request::Connect { network: definition, wish: Box::new(wish), reply }).await
    }

    /// Takes the container off a network. With `force` its endpoint is looked for, not itself.
    pub async fn disconnect(&self, key: &str, network: &str, force: bool) -> Result<()> {
        let definition = self.shared.networks.find(network)?.definition;
        let handle = match self.shared.index.find(key) {
            Err(_) if force => return Err(EngineError::not_found(format!("endpoint {key} not found"))),
            found => found?,
        };
        handle.ask(|reply| Request::Disconnect { network: definition, reply }).await
    }
}

impl Record {
    /// The container as its networks know it.
    pub(super) fn guest<'a>(&'a self, hostname: &'a str) -> Guest<'a> {
        Guest { id: &self.id, name: &self.name, hostname, host: &self.host, wishes: &self.endpoints }
    }

    /// Whether 127.0.0.11 answers its name queries.
    pub(super) fn has_name_service(&self) -> bool {
        self.attached.values().any(|endpoint| !endpoint.names.is_empty())
    }

    fn port_requests(&self) -> Result<Vec<PortRequest>> {
        network::port_requests(&self.host, self.config.exposed_ports.as_deref().unwrap_or_default())
    }
}

impl Actor {
    pub(super) async fn publish(&mut self) -> Result<()> {
        let record = &self.record;
        let requests = record.port_requests()?;
        let networks = &self.shared.networks;
        self.record.ports = networks.publish(&record.id, &record.name, &record.attached, &requests).await?;
        Ok(())
    }

    pub(super) async fn connect(&mut self, definition: &Definition, wish: EndpointSettings) -> Result<()> {
        self.may_be_rewired()?;
        let mode = NetworkMode::parse(self.record.host.network_mode.as_deref().unwrap_or_default())?;
        match definition.name.as_str() {
            "host" => {
                return Err(EngineError::invalid(HOST));
            }
            _ if matches!(mode, NetworkMode::Host | NetworkMode::Container(_)) => {
                return Err(EngineError::invalid(SHARED));
            }
            name => {
                let others = self
                    .record
                    .endpoints
                    .keys()
                    .any(|other| other != name && (other == "none") != (name == "none"));
                if others {
                    return Err(EngineError::invalid(ISOLATED));
                }
            }
        }
        let wish = settled(definition, wish)?;
        let before = self.record.endpoints.insert(definition.name.clone(), wish);
        let connected = async {
            if self.record.state.status.has_process() {
                self.connect_running(definition).await?;
            }
            self.persist().await
        };
        if let Err(error) = connected.await {
            match before {
                Some(wish) => self.record.endpoints.insert(definition.name.clone(), wish),
                None => self.record.endpoints.remove(&definition.name),
            };
            return Err(error);
        }
        self.show();
        Ok(())
    }

    async fn connect_running(&mut self, definition: &Definition) -> Result<()> {
        let hostname = self.record.hostname();
        let guest = self.record.guest(&hostname);
        let endpoint = self.shared.networks.connect(guest, &definition.name, &self.record.attached).await?;
        let address = endpoint.address;
        self.record.attached.insert(definition.name.clone(), endpoint);
        self.republish().await?;
        self.shared.write_resolvers(&self.record).await?;
        let domain = self.record.config.domainname.as_deref().unwrap_or_default();
        let lines = address.map(|a| etc_files::own_line(&a.to_string(), &hostname, domain));
        self.shared.edit_hosts(&self.record.id, |hosts| hosts + lines.as_deref().unwrap_or_default()).await
    }

    pub(super) async fn disconnect(&mut self, definition: &Definition) -> Result<()> {
        self.may_be_rewired()?;
        let name = &definition.name;
        let id = self.record.id.clone();
        if name == "host" && self.record.endpoints.contains_key(name) {
            return Err(EngineError::invalid(HOST));
        }
        if !self.record.endpoints.contains_key(name) {
            let article = if self.record.state.status.has_process() { "" } else { "the " };
            return Err(EngineError::system(format!(
                "container {id} is not connected to {article}network {name}"
            )));
        }
        if self.record.state.status.has_process() {
            self.shared.networks.disconnect(&id, name, &self.record.attached).await?;
            let left = self.record.attached.remove(name);
            self.republish().await?;
            if let Some(address) = left.and_then(|endpoint| endpoint.address) {
                let start = format!("{address}\t");
                let without =
                    |hosts: String| hosts.split_inclusive('\n').filter(|l| !l.starts_with(&start)).collect();
                self.shared.edit_hosts(&id, without).await?;
            }
        }
        self.record.endpoints.remove(name);
        self.persist().await?;
        if !self.record.state.status.has_process() {
            self.shared.networks.forgotten(&id, definition);
        }
        self.show();
        Ok(())
    }

    /// Published ports follow the way out.
    async fn republish(&mut self) -> Result<()> {
        let target = |ports: &[PortSpec]| ports.first().map(|port| port.container.ip());
        let way_out = self.record.attached.values().find(|endpoint| endpoint.gateway.is_some());
        let now = way_out.and_then(|endpoint| endpoint.address).map(IpAddr::from);
        let wanted = !self.record.port_requests()?.is_empty();
        if !wanted || target(&self.record.ports) == now {
            return Ok(());
        }
        self.shared.networks.unpublish(&self.record.id).await;
        self.record.ports.clear();
        self.publish().await
    }

    fn may_be_rewired(&self) -> Result<()> {
        match self.record.state.status {
            Status::Removing | Status::Dead => Err(EngineError::conflict(format!(
                "Container {} is marked for removal and cannot be connected or disconnected to the network",
                self.record.id
            ))),
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// Gives the address of old clients to the endpoint in the main network.
    pub(super) fn settle_mac(
        &self,
        host: &HostConfig,
        endpoints: &mut HashMap<String, EndpointSettings>,
        mac: String,
    ) -> Result<()> {
        let mode = NetworkMode::parse(host.network_mode.as_deref().unwrap_or_default())?;
        let Some(primary) = mode.network() else {
            return Err(EngineError::invalid("conflicting options: mac-address and the network mode"));
        };
        let name = self.existing(primary)?.map_or_else(|| primary.to_owned(), |found| found.name.clone());
        let own = endpoints.entry(name.clone()).or_default();
        if own.mac_address.as_ref().is_some_and(|own| !own.is_empty() && *own != mac) {
            return Err(EngineError::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main \
                 network, or be left empty",
            ));
        }
        own.mac_address = Some(mac);
        network::requested_mac(endpoints).map_err(|error| of_network(&name, error))
    }

    /// Which networks a new container is to be on, by their names, with what it asks of each.
    pub(super) fn settle_endpoints(
        &self,
        host: &HostConfig,
        asked: HashMap<String, EndpointSettings>,
    ) -> Result<HashMap<String, EndpointSettings>> {
        let mode = NetworkMode::parse(host.network_mode.as_deref().unwrap_or_default())?;
        let Some(primary) = mode.network() else {
            return if asked.is_empty() { Ok(asked) } else { Err(EngineError::invalid(SHARED)) };
        };
        let mut settled_all = HashMap::new();
        for (key, wish) in asked {
            match self.existing(&key)? {
                Some(definition) => {
                    let wish =
                        settled(&definition, wish).map_err(|error| of_network(&definition.name, error))?;
                    settled_all.insert(definition.name.clone(), wish);
                }
                None => drop(settled_all.insert(key, wish)),
            }
        }
        let Some(primary) = self.existing(primary)? else {
            settled_all.entry(primary.to_owned()).or_default();
            return Ok(settled_all);
        };
        // On a network of the user's, a link is a name for this container only.
        let links = host.links.clone().filter(|links| !links.is_empty() && primary.has_names());
        if links.is_some() {
            let own = settled_all
                .entry(primary.name.clone())
                .or_insert(settled(&primary, EndpointSettings::default())?);
            own.links = links;
        }
        // Who names networks, and no mode, wants those and not the default bridge.
        let named = mode == NetworkMode::Bridge && !settled_all.is_empty();
        if !named && !settled_all.contains_key(&primary.name) {
            settled_all.insert(primary.name.clone(), settled(&primary, EndpointSettings::default())?);
        }
        if settled_all.len() > 1 && settled_all.contains_key("host") {
            return Err(EngineError::invalid(SHARED));
        }
        if settled_all.len() > 1 && settled_all.contains_key("none") {
            return Err(EngineError::invalid(ISOLATED));
        }
        Ok(settled_all)
    }

    /// As dockerd: a network that does not exist is an error of the start, by which time it may.
    fn existing(&self, key: &str) -> Result<Option<Arc<Definition>>> {
        match self.networks.find(key) {
            Ok(network) => Ok(Some(network.definition)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes a container's `/etc/hosts` where it lies, which is how the container has it mounted.
    async fn edit_hosts(&self, id: &str, edit: impl FnOnce(String) -> String) -> Result<()> {
        let path = self.folder(id).join("hosts");
        let failed = |e| EngineError::system(format!("Could not change {}", path.display())).because(e);
        let text = tokio::fs::read_to_string(&path).await.map_err(failed)?;
        tokio::fs::write(&path, edit(text)).await.map_err(failed)
    }
}

/// As a create tells it.
fn of_network(name: &str, error: EngineError) -> EngineError {
    error.of(format_args!("invalid config for network {name}"))
}

/// What is asked of a network, checked against what it can do, and bound to this very network: another one
/// of the same name is not it.
fn settled(definition: &Definition, mut wish: EndpointSettings) -> Result<EndpointSettings> {
    let ipam = wish.ipam_config.as_ref();
    let mut mistakes = address_mistakes(definition, ipam);
    if ipam.and_then(|i| i.link_local_ips.as_ref()).is_some_and(|ips| !ips.is_empty()) {
        return Err(EngineError::not_implemented("Link-local addresses are not supported by this engine"));
    }
    for link in wish.links.iter().flatten() {
        super::links::parse(link)?;
    }
    if definition.is_predefined() && wish.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
        mistakes.push(
            "network-scoped alias is supported only for containers in user defined networks".to_owned(),
        );
    }
    if wish.mac_address.as_deref().is_some_and(|mac| !mac.is_empty()) {
        network::requested_mac(&[(String::new(), wish.clone())].into())?;
    }
    if !mistakes.is_empty() {
        let list = match mistakes.as_slice() {
            [one] => one.clone(),
            several => several.iter().map(|mistake| format!("* {mistake}")).collect::<Vec<_>>().join("\n"),
        };
        return Err(EngineError::invalid(format!("invalid endpoint settings:\n{list}")));
    }
    wish.network_id = Some(definition.id.clone());
    // What a client read back from inspect is no wish.
    wish.endpoint_id = None;
    Ok(wish)
}

/// What is wrong with the addresses that are asked for, in moby's words and order.
fn address_mistakes(definition: &Definition, ipam: Option<&EndpointIpamConfig>) -> Vec<String> {
    let asked: Vec<(&str, bool)> = ipam
        .into_iter()
        .flat_map(|ipam| [(&ipam.ipv4_address, true), (&ipam.ipv6_address, false)])
        .filter_map(|(text, ipv4)| Some((text.as_deref().filter(|text| !text.is_empty())?, ipv4)))
        .collect();
    let mut mistakes = Vec::new();
    if definition.is_predefined() && !asked.is_empty() {
        mistakes.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    let understood = |text: &str, ipv4: bool| text.parse().ok().filter(|a: &IpAddr| a.is_ipv4() == ipv4);
    for (text, ipv4) in &asked {
        if understood(text, *ipv4).is_none() {
            mistakes.push(format!("invalid IPv{} address: {text}", if *ipv4 { 4 } else { 6 }));
        }
    }
    for (text, ipv4) in asked {
        let address = understood(text, ipv4);
        let mut plans = definition.chosen_plans(ipv4).peekable();
        if plans.peek().is_none() {
            mistakes.push(
                "user specified IP address is supported only when connecting to networks with user configured \
                 subnets"
                    .to_owned(),
            );
        } else if !plans.any(|plan| address.is_some_and(|address| plan.subnet.contains(address))) {
            mistakes.push(format!("no configured subnet or ip-range contain the IP address {text}"));
        }
    }
    mistakes
}
