//! The three things that the guest asks of rtnetlink, one request and one answer at a time: PID 1
//! has no async runtime.

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::{AddressMessageBuilder, LinkUnspec, RouteMessageBuilder};
use std::io;
use std::net::Ipv4Addr;

/// Brings the interface with this index up.
pub(super) fn set_up(index: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).up().build();
    request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Gives the interface an address; the same again does nothing.
pub(super) fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build();
    request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address away.
pub(super) fn remove_address(index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build();
    request(RouteNetlinkMessage::DelAddress(message), 0)
}

/// Makes `gateway` the way to everywhere.
pub(super) fn set_default_route(index: u32, gateway: Ipv4Addr) -> io::Result<()> {
    let message = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build();
    request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    message.header.sequence_number = 1;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    // The kernel answers a request within the call that sends it: this does not wait.
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        NetlinkPayload::Error(_) => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}
