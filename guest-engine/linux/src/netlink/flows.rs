//! Connections that the kernel remembers. A client of UDP that never pauses would be led to a container that
//! is gone for as long as it goes on; forgetting its flow lets the rules decide again.

use nix::{
    libc,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt,
            socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike},
    },
};
use std::{io, os::fd::AsRawFd};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`
const DELETE: u16 = 1 << 8 | 2;
const TUPLE: u16 = 1;
const TUPLE_TRANSPORT: u16 = 2;
const TRANSPORT: u16 = 1;
const DESTINATION_PORT: u16 = 3;
const FILTER: u16 = 25;
const FILTER_TUPLE: u16 = 1;
/// Which parts of the tuple the filter looks at: transport and destination port.
const BY_TRANSPORT_AND_PORT: u32 = 1 << 3 | 1 << 5;
const NESTED: u16 = 1 << 15;
/// The kernel answers at once.
const PATIENCE: i64 = 2;

/// Forgets every flow of UDP over IPv4 that was addressed to this port. Kernels before 6.9 refuse. Blocks
/// for a moment.
pub(super) fn forget_datagrams(port: u16) -> io::Result<()> {
    let transport =
        [attribute(TRANSPORT, &[libc::IPPROTO_UDP as u8]), attribute(DESTINATION_PORT, &port.to_be_bytes())];
    let tuple = attribute(TUPLE | NESTED, &attribute(TUPLE_TRANSPORT | NESTED, &transport.concat()));
    let filter = attribute(FILTER | NESTED, &attribute(FILTER_TUPLE, &BY_TRANSPORT_AND_PORT.to_ne_bytes()));
    let family = [libc::AF_INET as u8, 0, 0, 0];
    let body = [&family[..], &tuple, &filter].concat();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let message = [
        &length.to_ne_bytes()[..],
        &DELETE.to_ne_bytes(),
        &flags.to_ne_bytes(),
        // Sequence number and sender: this is a conversation of one sentence.
        &[0; 8],
        &body,
    ]
    .concat();

    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&kernel, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
    sendto(kernel.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // Behind the header: the error number, negative, or zero.
    let code =
        answer[..length].get(16..20).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    match code.saturating_neg() {
        0 | libc::ENOENT => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
