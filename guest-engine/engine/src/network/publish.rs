//! Published ports: which port of this host leads to which container.

use super::{Definition, Driver, Endpoint, Networks, membership::way_out};
use crate::{
    error::{EngineError, Result},
    ports::{PortSpec, Protocol},
};
use bollard_stubs::models::{HostConfig, PortBinding};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
};

/// Where ports come from that nobody chose, as Linux and dockerd have it.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// One port of a container that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    pub protocol: Protocol,
    pub container_port: u16,
    /// `None` is everywhere.
    pub host_address: Option<IpAddr>,
    /// The first free one is taken; `None` is any.
    pub host_ports: Option<RangeInclusive<u16>>,
}

/// Which ports of this host are taken by containers.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    taken: BTreeSet<(Protocol, IpAddr, u16)>,
    /// How far random ports have been handed out.
    next: u16,
}

/// What `PortBindings` and `PublishAllPorts` ask for, by container port.
pub fn port_requests(host: &HostConfig, exposed: &[String]) -> Result<Vec<PortRequest>> {
    let mut requests = Vec::new();
    let mut bound = BTreeSet::new();
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let (container_port, protocol) = parse_port(port)?;
        let default = [PortBinding::default()];
        let bindings = bindings.as_deref().unwrap_or_default();
        for binding in if bindings.is_empty() { &default[..] } else { bindings } {
            bound.insert((container_port, protocol));
            requests.push(PortRequest {
                protocol,
                container_port,
                host_address: host_address(binding)?,
                host_ports: host_ports(binding)?,
            });
        }
    }
    if host.publish_all_ports.unwrap_or(false) {
        for port in exposed {
            let (container_port, protocol) = parse_port(port)?;
            if bound.insert((container_port, protocol)) {
                requests.push(PortRequest { protocol, container_port, host_address: None, host_ports: None });
            }
        }
    }
    // Single ports first: a range must not take what another binding names.
    requests.sort_by_key(|r| {
        let width = r.host_ports.as_ref().map_or(usize::MAX, ExactSizeIterator::len);
        (width, r.host_ports.as_ref().map(|ports| *ports.start()), r.container_port, r.protocol)
    });
    Ok(requests)
}

fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let invalid = || EngineError::invalid(format!("invalid port specification: {text:?}"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => {
            return Err(EngineError::not_implemented(
                "Publishing SCTP ports is not supported by this engine",
            ));
        }
        _ => return Err(invalid()),
    };
    match number.parse() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => Err(invalid()),
    }
}

fn host_address(binding: &PortBinding) -> Result<Option<IpAddr>> {
    let text = binding.host_ip.as_deref().unwrap_or_default().trim_matches(['[', ']']);
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| EngineError::invalid(format!("invalid IP address: {text}"));
    text.parse().map(Some).map_err(invalid)
}

fn host_ports(binding: &PortBinding) -> Result<Option<RangeInclusive<u16>>> {
    let text = binding.host_port.as_deref().unwrap_or_default();
    let invalid = || EngineError::invalid(format!("invalid port specification: {text:?}"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first, last) {
        ("" | "0", "" | "0") => Ok(None),
        _ => match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(Some(first..=last)),
            _ => Err(invalid()),
        },
    }
}

impl Allocator {
    pub(super) fn take(&mut self, ports: &[PortSpec]) {
        self.taken.extend(ports.iter().map(key));
    }

    fn release(&mut self, ports: &[PortSpec]) {
        for port in ports {
            self.taken.remove(&key(port));
        }
    }

    fn is_free(&self, protocol: Protocol, addresses: &[IpAddr], port: u16) -> bool {
        !self.taken.iter().any(|(other, address, number)| {
            *other == protocol
                && *number == port
                && addresses.iter().any(|wanted| {
                    wanted.is_ipv4() == address.is_ipv4()
                        && (wanted == address || wanted.is_unspecified() || address.is_unspecified())
                })
        })
    }

    /// Takes the first port of `candidates` that is free on every one of the addresses.
    fn claim(
        &mut self,
        protocol: Protocol,
        addresses: &[IpAddr],
        mut candidates: impl Iterator<Item = u16>,
    ) -> Option<u16> {
        let port = candidates.find(|port| self.is_free(protocol, addresses, *port))?;
        self.taken.extend(addresses.iter().map(|address| (protocol, *address, port)));
        Some(port)
    }

    /// Every random port once, from where the last one was.
    fn random(&mut self) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
        let start = self.next.clamp(first, last);
        self.next = if start == last { first } else { start + 1 };
        (start..=last).chain(first..start)
    }
}

fn key(port: &PortSpec) -> (Protocol, IpAddr, u16) {
    (port.protocol, port.host.ip(), port.host.port())
}

impl Networks {
    /// Opens the ports that a container publishes, on the network that leads out. On failure none is open.
    pub(crate) async fn publish(
        &self,
        container: &str,
        name: &str,
        endpoints: &BTreeMap<String, Endpoint>,
        requests: &[PortRequest],
    ) -> Result<Vec<PortSpec>> {
        let Some(endpoint) = way_out(endpoints).filter(|_| !requests.is_empty()) else {
            return Ok(Vec::new());
        };
        let Some(target) = endpoint.address else { return Ok(Vec::new()) };
        let definition = self.find(&endpoint.network_id)?.definition;
        // A container on the host's own network is reached there.
        if definition.driver != Driver::Bridge {
            return Ok(Vec::new());
        }
        let mut ports = Vec::new();
        let opened = async {
            for request in requests {
                ports.extend(self.reserve(&definition, target, request).await?);
            }
            self.links.open_ports(&ports).await
        };
        if let Err(error) = opened.await {
            self.close(&ports).await;
            return Err(EngineError::new(
                error.kind(),
                format!(
                    "driver failed programming external connectivity on endpoint {name} ({}): {error}",
                    endpoint.endpoint_id
                ),
            ));
        }
        if let Some(sandbox) = self.state().sandboxes.get_mut(container) {
            sandbox.ports.clone_from(&ports);
        }
        Ok(ports)
    }

    /// Closes what the container has published.
    pub(crate) async fn unpublish(&self, container: &str) {
        let ports = {
            let mut state = self.state();
            state.sandboxes.get_mut(container).map(|sandbox| std::mem::take(&mut sandbox.ports))
        };
        self.close(&ports.unwrap_or_default()).await;
    }

    /// After a restart of the engine: the ports of the containers found are open, and no others.
    pub(crate) async fn restore_ports(&self) {
        let ports: Vec<PortSpec> =
            self.state().sandboxes.values().flat_map(|sandbox| sandbox.ports.iter().copied()).collect();
        if ports.is_empty() {
            return;
        }
        for port in &ports {
            match self.links.reserve_port(port).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(port = %port.host, "Somebody else has a published port"),
                Err(error) => tracing::warn!(%error, port = %port.host, "Published port is not reserved"),
            }
        }
        self.host.remember(&ports);
        if let Err(error) = self.links.restore_ports(&ports).await {
            tracing::warn!(%error, "Published ports could not be restored");
        }
    }

    async fn close(&self, ports: &[PortSpec]) {
        if ports.is_empty() {
            return;
        }
        self.host.close(ports);
        if let Err(error) = self.links.close_ports(ports).await {
            tracing::warn!(%error, "Published ports were left open");
        }
        self.state().ports.release(ports);
    }

    /// Takes one port on all its addresses.
    async fn reserve(
        &self,
        definition: &Definition,
        target: Ipv4Addr,
        request: &PortRequest,
    ) -> Result<Vec<PortSpec>> {
        let addresses = match request.host_address.or_else(|| definition.default_host_address()) {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        let protocol = request.protocol;
        let candidates: Vec<u16> = match &request.host_ports {
            Some(range) => range.clone().collect(),
            None => self.state().ports.random().collect(),
        };
        let mut candidates = candidates.into_iter();
        let mut refused = None;
        loop {
            let claimed = self.state().ports.claim(protocol, &addresses, &mut candidates);
            let Some(number) = claimed else {
                return Err(refused.unwrap_or_else(|| none_left(addresses[0], request)));
            };
            let ports: Vec<PortSpec> = addresses
                .iter()
                .map(|address| PortSpec {
                    protocol,
                    host: SocketAddr::new(*address, number),
                    container: SocketAddr::new(target.into(), request.container_port),
                })
                .collect();
            match self.reserve_all(&ports).await {
                Ok(None) => return Ok(ports),
                // Another program has it.
                Ok(Some(why)) => {
                    self.close(&ports).await;
                    refused = Some(EngineError::system(why));
                }
                Err(error) => {
                    self.close(&ports).await;
                    return Err(error);
                }
            }
        }
    }

    /// Reserves all of them, here and on the user's own host; the sentence says that somebody has one.
    async fn reserve_all(&self, ports: &[PortSpec]) -> Result<Option<String>> {
        for port in ports {
            if !self.links.reserve_port(port).await? {
                let (protocol, address) = (port.protocol, port.host);
                let family = if address.is_ipv4() { 4 } else { 6 };
                return Ok(Some(format!(
                    "Error starting userland proxy: listen {protocol}{family} {address}: bind: address already in use"
                )));
            }
        }
        Ok(self.host.open(ports).await.err())
    }
}

fn none_left(address: IpAddr, request: &PortRequest) -> EngineError {
    EngineError::system(match &request.host_ports {
        Some(range) if range.start() == range.end() => {
            format!("Bind for {} failed: port is already allocated", SocketAddr::new(address, *range.start()))
        }
        _ => format!("Bind for {address} failed: all ports are allocated"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(address: &str, port: &str) -> PortBinding {
        PortBinding { host_ip: Some(address.to_owned()), host_port: Some(port.to_owned()) }
    }

    fn requests(bindings: &[(&str, PortBinding)], all: bool, exposed: &[&str]) -> Result<Vec<PortRequest>> {
        let mut map = bollard_stubs::models::PortMap::new();
        for (port, binding) in bindings {
            let list: &mut Option<Vec<PortBinding>> = map.entry((*port).to_owned()).or_default();
            list.get_or_insert_default().push(binding.clone());
        }
        let host =
            HostConfig { port_bindings: Some(map), publish_all_ports: Some(all), ..HostConfig::default() };
        let exposed: Vec<String> = exposed.iter().map(|p| (*p).to_owned()).collect();
        port_requests(&host, &exposed)
    }

    #[test]
    fn bindings_are_understood_and_single_ports_come_first() {
        let found = requests(
            &[
                ("80/tcp", binding("", "8000-8010")),
                ("81/tcp", binding("127.0.0.1", "8000")),
                ("53/udp", binding("", "")),
            ],
            true,
            &["80/tcp", "90/tcp"],
        )
        .unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|r| format!("{}/{} {:?} {:?}", r.container_port, r.protocol, r.host_address, r.host_ports))
            .collect();
        assert_eq!(
            shown,
            [
                "81/tcp Some(127.0.0.1) Some(8000..=8000)",
                "80/tcp None Some(8000..=8010)",
                "53/udp None None",
                "90/tcp None None",
            ]
        );
        for (port, address, host) in
            [("x", "", "1"), ("80/abc", "", "1"), ("80", "1.2.3", "1"), ("80", "", "9-8")]
        {
            assert!(
                requests(&[(port, binding(address, host))], false, &[]).is_err(),
                "{port} {address} {host}"
            );
        }
    }

    #[test]
    fn a_port_is_one_containers_per_address() {
        let mut ports = Allocator::default();
        let any: &[IpAddr] = &[Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let one: &[IpAddr] = &[Ipv4Addr::LOCALHOST.into()];
        let other: &[IpAddr] = &[Ipv4Addr::new(10, 0, 0, 1).into()];
        assert_eq!(ports.claim(Protocol::Tcp, one, 80..=80), Some(80));
        assert_eq!(ports.claim(Protocol::Tcp, other, 80..=80), Some(80));
        assert_eq!(ports.claim(Protocol::Tcp, any, 80..=80), None);
        assert_eq!(ports.claim(Protocol::Tcp, any, 80..=82), Some(81));
        assert_eq!(ports.claim(Protocol::Udp, any, 80..=80), Some(80));
        let first: Vec<u16> = ports.random().take(2).collect();
        assert_eq!((first, ports.random().next()), (vec![32768, 32769], Some(32769)));
        assert_eq!(ports.random().count(), EPHEMERAL.len());
    }
}
