//! The machine's published ports on this host's loopback, for as long as the machine says.
//!
//! ```text
//!   engine ──"open 8080"──▶ keeper: listens on 127.0.0.1:8080 ──"open" or "taken by somebody"──▶ engine
//!   curl ──▶ 127.0.0.1:8080 ──▶ own SSH channel ──▶ 127.0.0.1:8080 in the machine ──▶ container
//! ```
//!
//! The engine asks before a container starts, so a port that is taken here is an error of that start. Not so on a
//! host with a system of its own, which serves others at the port's own place as well: here it is only missing. After
//! a break either side tells the other everything again; what is open stays open meanwhile.

mod listener;

use crate::tunnel::{Lines, Tunnel};
use guest_contract::{
    host, paths,
    ports::{Errand, PortAnswer, PortNews, PortProtocol, PublishedPort},
};
use listener::{Listener, Way};
use machine_drivers::EngineHome;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::time::sleep;

/// Pause before an engine that went away is looked for again; longer when it does not come back.
const RETRY: Duration = Duration::from_millis(300);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Keeps the ports open that the engine names. Ends only by being dropped, and closes them then.
pub(super) async fn keep(tunnel: &Tunnel, engine: &EngineHome) {
    let (meeting_point, required) = match engine {
        EngineHome::Guest => (paths::KEEPER_SOCKET, true),
        EngineHome::Host => (host::KEEPER_SOCKET, false),
        // It knows nothing of keepers.
        EngineHome::Existing(_) => return std::future::pending().await,
    };
    let way = Way { tunnel: tunnel.clone(), meeting_point };
    let mut ports = Ports { way, required, open: BTreeMap::new() };
    let mut pause = RETRY;
    loop {
        if !required {
            // Clients that come right after the engine answers go before what may be missing.
            tunnel.spare().await;
        }
        match tunnel.converse(meeting_point).await {
            Ok(mut lines) => {
                pause = RETRY;
                if let Err(error) = ports.follow(&mut lines).await {
                    tracing::debug!(%error, "the engine's news of ports ended");
                }
            }
            // Restarting.
            Err(error) => tracing::debug!(error = &error as &dyn Error, "no news of ports"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
    }
}

struct Ports {
    way: Way,
    /// A port that is taken here keeps its container from starting.
    required: bool,
    /// By where they listen on this host.
    open: BTreeMap<Place, Listener>,
}

/// A port of this host.
type Place = (PortProtocol, SocketAddr);

impl Ports {
    async fn follow(&mut self, lines: &mut Lines) -> io::Result<()> {
        lines.send(&serde_json::to_string(&Errand::Ports)?).await?;
        while let Some(line) = lines.next().await? {
            match serde_json::from_str(&line)? {
                PortNews::All { ports } => {
                    let wanted: BTreeSet<Place> = ports.iter().filter_map(place).collect();
                    self.open.retain(|place, _| wanted.contains(place));
                    for port in ports {
                        if let Err(refused) = self.open(&[port]).await {
                            tracing::warn!("{refused}");
                        }
                    }
                }
                PortNews::Open { id, ports } => {
                    let refused = self.open(&ports).await.err();
                    if let Some(refused) = &refused {
                        tracing::warn!("{refused}");
                    }
                    let refused = refused.filter(|_| self.required);
                    lines.send(&serde_json::to_string(&PortAnswer { id, refused })?).await?;
                }
                PortNews::Close { ports } => {
                    for place in ports.iter().filter_map(place) {
                        self.open.remove(&place);
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens all of them or none.
    async fn open(&mut self, ports: &[PublishedPort]) -> Result<(), String> {
        let mut opened = Vec::new();
        for port in ports {
            let Some(place) = place(port).filter(|place| !self.open.contains_key(place)) else { continue };
            match Listener::open(place, target(port.address), self.way.clone()).await {
                Ok(listener) => {
                    opened.push(place);
                    self.open.insert(place, listener);
                }
                // Only the superuser may: no reason to keep the container from starting.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(%error, "published port {} is not available on this host", place.1);
                }
                Err(error) => {
                    for place in opened {
                        self.open.remove(&place);
                    }
                    return Err(refusal(port, place, &error));
                }
            }
        }
        Ok(())
    }
}

/// Where a port of the machine appears here: on the loopback address that it names, else on 127.0.0.1.
/// IPv6's twin of an IPv4 port is the same port.
fn place(port: &PublishedPort) -> Option<Place> {
    let address = match port.address.ip() {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::V4(address),
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        // Everybody who publishes on every address has an IPv4 port as well.
        IpAddr::V6(address) if address.is_unspecified() => return None,
        IpAddr::V6(address) if address.is_loopback() => IpAddr::V6(address),
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
    };
    Some((port.protocol, SocketAddr::new(address, port.address.port())))
}

/// How the machine itself reaches the port.
fn target(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// As Docker Desktop words it.
fn refusal(port: &PublishedPort, (protocol, place): Place, error: &io::Error) -> String {
    let (upper, lower) = match protocol {
        PortProtocol::Tcp => ("TCP", "tcp"),
        PortProtocol::Udp => ("UDP", "udp"),
    };
    let family = if place.is_ipv4() { 4 } else { 6 };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "Ports are not available: exposing port {upper} {} on the machine's host: listen {lower}{family} {place}: bind: {why}",
        port.address
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str) -> PublishedPort {
        PublishedPort { protocol: PortProtocol::Tcp, address: address.parse().unwrap() }
    }

    #[test]
    fn ports_appear_on_the_loopback_and_once() {
        let shown = |address: &str| place(&port(address)).map(|(_, place)| place.to_string());
        assert_eq!(shown("0.0.0.0:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(shown("[::]:80"), None);
        assert_eq!(shown("127.0.0.5:80").as_deref(), Some("127.0.0.5:80"));
        assert_eq!(shown("10.0.2.15:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(shown("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(target("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(target("10.0.2.15:80".parse().unwrap()).to_string(), "10.0.2.15:80");
    }

    #[test]
    fn a_taken_port_is_named() {
        let port = port("0.0.0.0:80");
        let text = refusal(&port, place(&port).unwrap(), &io::ErrorKind::AddrInUse.into());
        assert_eq!(
            text,
            "Ports are not available: exposing port TCP 0.0.0.0:80 on the machine's host: listen tcp4 127.0.0.1:80: \
             bind: address already in use"
        );
    }
}
