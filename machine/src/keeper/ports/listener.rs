//! One published port on this host, carried to the machine.

use super::Place;
use crate::tunnel::Tunnel;
use guest_contract::ports::{Errand, FRAME_HEADER, PortProtocol, frame_header, parse_frame_header};
use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    io,
    net::SocketAddr,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// How many clients of UDP are told apart; the longest known is forgotten for a new one.
const MOST_CLIENTS: usize = 1024;
/// Pause after the way to the machine broke.
const RETRY: Duration = Duration::from_millis(200);

/// How the machine is reached.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) tunnel: Tunnel,
    /// Socket at which its engine meets keepers.
    pub(super) meeting_point: &'static str,
}

/// Closes the port, and every connection to it, when it is dropped.
#[derive(Debug)]
pub(super) struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Listens at `place` and carries what comes to `target` in the machine.
    pub(super) async fn open((protocol, address): Place, target: SocketAddr, way: Way) -> io::Result<Self> {
        let task = match protocol {
            PortProtocol::Tcp => {
                let listener = TcpListener::bind(address).await?;
                tokio::spawn(carry_streams(listener, target, way.tunnel))
            }
            PortProtocol::Udp => {
                let socket = UdpSocket::bind(address).await?;
                tokio::spawn(carry_datagrams(socket, target, way))
            }
        };
        Ok(Self(task.abort_handle()))
    }
}

async fn carry_streams(listener: TcpListener, target: SocketAddr, tunnel: Tunnel) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let tunnel = tunnel.clone();
                    clients.spawn(async move {
                        // Delayed packets would wait for acknowledgements across two hops.
                        _ = client.set_nodelay(true);
                        if let Err(error) = tunnel.carry(client, target).await {
                            let error = &error as &dyn Error;
                            tracing::debug!(error, %target, "a client of a published port was not served");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a client of a published port");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn carry_datagrams(socket: UdpSocket, target: SocketAddr, way: Way) {
    let mut clients = Clients::default();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // The way is made when somebody comes.
        let first = match socket.recv_from(&mut buffer).await {
            Ok((length, client)) => frame(&mut clients, client, &buffer[..length]),
            Err(_) => continue,
        };
        if let Err(error) = carry_for_a_while(&socket, target, &way, &mut clients, first).await {
            tracing::debug!(%error, %target, "datagrams to a published port were interrupted");
            sleep(RETRY).await;
        }
    }
}

/// Until the machine breaks off.
async fn carry_for_a_while(
    socket: &UdpSocket,
    target: SocketAddr,
    way: &Way,
    clients: &mut Clients,
    first: Vec<u8>,
) -> io::Result<()> {
    let mut lines = way.tunnel.converse(way.meeting_point).await.map_err(io::Error::other)?;
    lines.send(&serde_json::to_string(&Errand::Datagrams { to: target })?).await?;
    lines.send_bytes(first).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is the echo of an answer that nobody took.
                if let Ok((length, client)) = received {
                    lines.send_bytes(frame(clients, client, &buffer[..length])).await?;
                }
            }
            more = lines.receive() => {
                if !more? {
                    return Ok(());
                }
                while let Some((client, payload)) = next_frame(&mut lines) {
                    if let Some(address) = clients.addresses.get(&client) {
                        // Datagrams may be lost.
                        _ = socket.try_send_to(&payload, *address);
                    }
                }
            }
        }
    }
}

/// Who has sent something, by number.
#[derive(Default)]
struct Clients {
    numbers: HashMap<SocketAddr, u32>,
    addresses: BTreeMap<u32, SocketAddr>,
    last: u32,
}

impl Clients {
    fn number(&mut self, client: SocketAddr) -> u32 {
        if let Some(number) = self.numbers.get(&client) {
            return *number;
        }
        if self.addresses.len() >= MOST_CLIENTS
            && let Some((_, oldest)) = self.addresses.pop_first()
        {
            self.numbers.remove(&oldest);
        }
        self.last = self.last.wrapping_add(1);
        self.numbers.insert(client, self.last);
        self.addresses.insert(self.last, client);
        self.last
    }
}

fn frame(clients: &mut Clients, client: SocketAddr, payload: &[u8]) -> Vec<u8> {
    // No datagram is longer.
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    [&frame_header(clients.number(client), length)[..], payload].concat()
}

/// Takes a whole frame out of what has been received.
fn next_frame(lines: &mut crate::tunnel::Lines) -> Option<(u32, Vec<u8>)> {
    let header: [u8; FRAME_HEADER] = lines.received().get(..FRAME_HEADER)?.try_into().ok()?;
    let (client, length) = parse_frame_header(header);
    let end = FRAME_HEADER + usize::from(length);
    if lines.received().len() < end {
        return None;
    }
    let frame = lines.take(end);
    Some((client, frame[FRAME_HEADER..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_and_the_oldest_is_forgotten() {
        let mut clients = Clients::default();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let first = clients.number(address(1));
        assert_eq!(clients.number(address(1)), first);
        for port in 2..=1025 {
            assert_ne!(clients.number(address(port)), first);
        }
        assert_eq!(clients.addresses.len(), MOST_CLIENTS);
        assert_ne!(clients.number(address(1)), first);
    }
}
