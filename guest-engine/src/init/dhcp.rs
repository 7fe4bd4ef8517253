//! DHCP for one IPv4 interface: which messages are sent and what an answer means, and the exchange
//! over a broadcast socket. What to do with a lease is `network.rs`'s.

use dhcproto::v4::{
    Decodable, Decoder, DhcpOption, Encodable, Encoder, Flags, Message, MessageType, OptionCode,
};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// First wait for an answer; it doubles with each try. Under user networking the answer takes less
/// than a millisecond, so a short first wait only matters when the link is still coming up.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Used when the server names no lease time.
const DEFAULT_LEASE: u32 = 3600;

/// What the server granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub router: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub search_domain: Option<String>,
    pub duration: Duration,
    server: Ipv4Addr,
}

/// The side of the exchange that knows the interface.
#[derive(Debug)]
pub(super) struct Client {
    socket: UdpSocket,
    hardware_address: [u8; 6],
}

impl Client {
    /// Binds to the client port of one interface, which must be up.
    pub(super) fn bind(interface: &str, hardware_address: [u8; 6]) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_broadcast(&socket, true)?;
        bind_to_device(&socket, interface)?;
        bind(&socket, &std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68))?;
        Ok(Self { socket: UdpSocket::from(socket), hardware_address })
    }

    /// Gets a lease: discover, offer, request, acknowledgement; again and again until `deadline`.
    pub(super) fn obtain(&self, deadline: Instant) -> io::Result<Lease> {
        let mut wait = FIRST_WAIT;
        loop {
            let id = transaction_id();
            let discover = self.message(id, MessageType::Discover);
            if let Some(offer) = self.exchange(&discover, MessageType::Offer, wait)? {
                let mut request = self.message(id, MessageType::Request);
                request.opts_mut().insert(DhcpOption::RequestedIpAddress(offer.address));
                request.opts_mut().insert(DhcpOption::ServerIdentifier(offer.server));
                if let Some(lease) = self.exchange(&request, MessageType::Ack, wait)? {
                    return Ok(lease);
                }
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Asks for the same address for longer. `None`: no answer, or the address is no longer ours.
    pub(super) fn renew(&self, lease: &Lease) -> io::Result<Option<Lease>> {
        let mut request = self.message(transaction_id(), MessageType::Request);
        request.set_ciaddr(lease.address);
        self.exchange(&request, MessageType::Ack, LONGEST_WAIT)
    }

    fn message(&self, id: u32, kind: MessageType) -> Message {
        let mut message = Message::default();
        message.set_xid(id).set_flags(Flags::default().set_broadcast()).set_chaddr(&self.hardware_address);
        let mut client = vec![1];
        client.extend_from_slice(&self.hardware_address);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ClientIdentifier(client));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
        ]));
        message
    }

    /// Sends a message and waits for the answer of that kind to it.
    fn exchange(
        &self,
        message: &Message,
        expected: MessageType,
        wait: Duration,
    ) -> io::Result<Option<Lease>> {
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).map_err(io::Error::other)?;
        if let Err(error) = self.socket.send_to(&bytes, (Ipv4Addr::BROADCAST, 67)) {
            // The link may still be coming up; the next try will tell.
            if !matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown) {
                return Err(error);
            }
        }
        let deadline = Instant::now() + wait;
        let mut buffer = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match parse(&buffer[..length], message.xid()) {
                Some((kind, Some(lease))) if kind == expected => return Ok(Some(lease)),
                Some((MessageType::Nak, _)) => return Ok(None),
                _ => {}
            }
        }
    }
}

fn bind_to_device(socket: impl AsFd, interface: &str) -> io::Result<()> {
    let name = std::ffi::OsString::from(interface);
    nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::BindToDevice, &name)?;
    Ok(())
}

/// Numbers one exchange. Needs no secrecy, and must not wait for the kernel's random generator.
fn transaction_id() -> u32 {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    now.subsec_nanos() ^ std::process::id().rotate_left(16)
}

/// An answer to exchange `id`: its kind, and the lease if it carries a usable one.
fn parse(bytes: &[u8], id: u32) -> Option<(MessageType, Option<Lease>)> {
    let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
    if message.xid() != id || message.opcode() != dhcproto::v4::Opcode::BootReply {
        return None;
    }
    let options = message.opts();
    Some((options.msg_type()?, lease(&message)))
}

fn lease(message: &Message) -> Option<Lease> {
    let options = message.opts();
    let address = message.yiaddr();
    if address.is_unspecified() {
        return None;
    }
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix(*mask)?,
        _ => 24,
    };
    let server = match options.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => *server,
        _ => message.siaddr(),
    };
    let router = match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers.first().copied(),
        _ => None,
    };
    let name_servers = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => servers.clone(),
        _ => Vec::new(),
    };
    let search_domain = match options.get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(name)) => domain_name(name),
        _ => None,
    };
    let seconds = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(seconds)) => *seconds,
        _ => DEFAULT_LEASE,
    };
    let duration = Duration::from_secs(u64::from(seconds));
    Some(Lease { address, prefix, router, name_servers, search_domain, duration, server })
}

/// The length of a netmask; `None` if it has holes.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).ok())?
}

/// The name if it is one: it goes into `/etc/resolv.conf`, where a line break would be a directive.
fn domain_name(name: &str) -> Option<String> {
    let name = name.trim_end_matches('\0');
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: MessageType, id: u32, options: Vec<DhcpOption>) -> Vec<u8> {
        let mut message = Message::default();
        message.set_opcode(dhcproto::v4::Opcode::BootReply).set_xid(id).set_yiaddr([10, 0, 2, 15]);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        for option in options {
            message.opts_mut().insert(option);
        }
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        bytes
    }

    #[test]
    fn an_acknowledgement_becomes_a_lease() {
        let bytes = answer(
            MessageType::Ack,
            7,
            vec![
                DhcpOption::SubnetMask([255, 255, 255, 0].into()),
                DhcpOption::Router(vec![[10, 0, 2, 2].into()]),
                DhcpOption::DomainNameServer(vec![[10, 0, 2, 3].into()]),
                DhcpOption::DomainName("example.org".to_owned()),
                DhcpOption::AddressLeaseTime(86400),
                DhcpOption::ServerIdentifier([10, 0, 2, 2].into()),
            ],
        );
        let (kind, lease) = parse(&bytes, 7).unwrap();
        assert_eq!(kind, MessageType::Ack);
        assert_eq!(
            lease.unwrap(),
            Lease {
                address: [10, 0, 2, 15].into(),
                prefix: 24,
                router: Some([10, 0, 2, 2].into()),
                name_servers: vec![[10, 0, 2, 3].into()],
                search_domain: Some("example.org".to_owned()),
                duration: Duration::from_secs(86400),
                server: [10, 0, 2, 2].into(),
            }
        );
    }

    #[test]
    fn answers_to_others_and_garbage_are_ignored() {
        let bytes = answer(MessageType::Ack, 7, vec![]);
        assert_eq!(parse(&bytes, 8), None);
        assert_eq!(parse(b"\x02\x01garbage", 7), None);
        assert_eq!(parse(b"", 7), None);
    }

    #[test]
    fn netmasks_have_no_holes() {
        assert_eq!(prefix([255, 255, 240, 0].into()), Some(20));
        assert_eq!(prefix([0, 0, 0, 0].into()), Some(0));
        assert_eq!(prefix([255, 0, 255, 0].into()), None);
    }

    #[test]
    fn a_domain_name_cannot_smuggle_a_line() {
        assert_eq!(domain_name("a.example\0"), Some("a.example".to_owned()));
        assert_eq!(domain_name("a\nnameserver 6.6.6.6"), None);
        assert_eq!(domain_name(""), None);
    }
}
