//! Published ports: maps from the host's ports to the containers', and the two chains that ask them.

use super::{ARRIVAL, BRIDGE_GROUP, Batch, LOCAL, TABLE, header, transaction};
use engine::ports::{PortSpec, Protocol};
use netlink_bindings::nftables::{
    CmpOps,
    MetaKeys::{Iifgroup, Oifname},
    SetFlags,
};
use nix::libc;
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

/// Ports on every address, by transport and port.
const EVERYWHERE: &str = "published";
/// Ports on one address, by address, transport and port.
const SOMEWHERE: &str = "published-on";
const ARRIVING: &str = "published-arrive";
const FROM_HERE: &str = "published-local";
/// How many elements a message takes. The kernel confirms each message, and drops a transaction whose
/// confirmations do not fit into the socket's buffer: some 250.
const PER_MESSAGE: usize = 500;
/// What `nft` calls the types, six bits each: only for its listing.
const PORT_TYPE: u32 = 13;
const PROTOCOL_TYPE: u32 = 12;
const ADDRESS_TYPE: u32 = 7;

/// Lets what arrives at these ports through to the containers.
pub(crate) async fn open(ports: &[PortSpec]) -> io::Result<()> {
    transaction(|batch| {
        frame(batch);
        elements(batch, ports, true);
    })
    .await
}

/// Stops doing so.
pub(crate) async fn close(ports: &[PortSpec]) -> io::Result<()> {
    transaction(|batch| {
        frame(batch);
        // Added first, so that removing what is not there succeeds.
        elements(batch, ports, true);
        elements(batch, ports, false);
    })
    .await
}

/// Makes these the only ones.
pub(crate) async fn restore(ports: &[PortSpec]) -> io::Result<()> {
    transaction(|batch| {
        frame(batch);
        for map in [EVERYWHERE, SOMEWHERE] {
            // Without elements: all of them.
            let header = header();
            let mut all = batch.inner.request().op_delsetelem_do(&header);
            all.encode().push_table_bytes(TABLE).push_set_bytes(map.as_bytes());
        }
        elements(batch, ports, true);
    })
    .await
}

/// Both maps and both chains, whether they are there or not.
fn frame(batch: &mut Batch) {
    let address_and_port = ADDRESS_TYPE << 6 | PORT_TYPE;
    let protocol_and_port = PROTOCOL_TYPE << 6 | PORT_TYPE;
    for (id, map, kind, length) in
        [(1, EVERYWHERE, protocol_and_port, 8), (2, SOMEWHERE, ADDRESS_TYPE << 12 | protocol_and_port, 12)]
    {
        let header = header();
        batch
            .inner
            .request()
            .set_create()
            .op_newset_do(&header)
            .encode()
            .push_table_bytes(TABLE)
            .push_name_bytes(map.as_bytes())
            .push_flags(SetFlags::Map as u32)
            .push_key_type(kind)
            .push_key_len(length)
            .push_data_type(address_and_port)
            .push_data_len(8)
            .push_id(id);
    }
    batch.empty_chain(ARRIVING, ARRIVAL);
    batch.empty_chain(FROM_HERE, LOCAL);
    // Containers reach published ports as any program on this host answers: by the listener.
    drop(batch.rule(ARRIVING).group(Iifgroup, BRIDGE_GROUP).leave_chain());
    drop(batch.rule(ARRIVING).family(true).translate_by(SOMEWHERE, true));
    drop(batch.rule(ARRIVING).family(true).for_this_host().translate_by(EVERYWHERE, false));
    // What this host sends to itself goes out by its loopback, whichever address it uses.
    for (map, by_address) in [(SOMEWHERE, true), (EVERYWHERE, false)] {
        let here = batch.rule(FROM_HERE).family(true).interface(Oifname, CmpOps::Eq, "lo");
        drop(here.translate_by(map, by_address));
    }
}

fn elements(batch: &mut Batch, ports: &[PortSpec], present: bool) {
    for map in [EVERYWHERE, SOMEWHERE] {
        let of_map: Vec<_> = ports.iter().filter_map(element).filter(|element| element.map == map).collect();
        for part in of_map.chunks(PER_MESSAGE) {
            let header = header();
            let request = batch.inner.request();
            if present {
                let message = request.set_create().op_newsetelem_do(&header).into_encoder();
                let message = message.push_table_bytes(TABLE).push_set_bytes(map.as_bytes());
                part.iter().fold(message.nested_elements(), |list, Element { key, data, .. }| {
                    let element = list.nested_elem().nested_key().push_value(key).end_nested();
                    element.nested_data().push_value(data).end_nested().end_nested()
                });
            } else {
                let message = request.op_delsetelem_do(&header).into_encoder();
                let message = message.push_table_bytes(TABLE).push_set_bytes(map.as_bytes());
                part.iter().fold(message.nested_elements(), |list, Element { key, .. }| {
                    list.nested_elem().nested_key().push_value(key).end_nested().end_nested()
                });
            }
        }
    }
}

/// A port as the map that it belongs to has it.
struct Element {
    map: &'static str,
    key: Vec<u8>,
    data: Vec<u8>,
}

/// `None` for IPv6, which arrives at the listener.
fn element(port: &PortSpec) -> Option<Element> {
    let (IpAddr::V4(host), IpAddr::V4(container)) = (port.host.ip(), port.container.ip()) else {
        return None;
    };
    let (map, key) = key(host, port);
    Some(Element { map, key, data: [container.octets(), padded(port.container.port())].concat() })
}

fn key(host: Ipv4Addr, port: &PortSpec) -> (&'static str, Vec<u8>) {
    let protocol = match port.protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let service = [[protocol as u8, 0, 0, 0], padded(port.host.port())].concat();
    match host.is_unspecified() {
        true => (EVERYWHERE, service),
        false => (SOMEWHERE, [&host.octets()[..], &service].concat()),
    }
}

/// Every part of a key fills whole registers.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
