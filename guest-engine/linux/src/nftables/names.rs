//! Inside a container's own namespace: its name queries to 127.0.0.11 arrive where the engine listens, so
//! that port 53 stays free for a name server in the container.

use super::{LOCAL, transaction};
use nix::libc;
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

const CHAIN: &str = "names";
/// Where containers ask.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;

/// Sends queries over UDP and TCP to these ports; in the network namespace of the calling thread.
pub(crate) async fn redirect(udp: u16, tcp: u16) -> io::Result<()> {
    transaction(|batch| {
        batch.empty_chain(CHAIN, LOCAL);
        for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
            let query = batch.rule(CHAIN).destination_in(IpAddr::V4(ADDRESS), 32);
            drop(query.destination_port(protocol as u8, PORT).translate_port(port));
        }
    })
    .await
}
