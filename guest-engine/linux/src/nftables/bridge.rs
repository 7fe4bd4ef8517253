//! The rules of one bridge: what may pass it, and with which address.

use super::{BEFORE_CONNTRACK, BRIDGE_GROUP, Batch, DEPARTURE, FORWARD, Place, transaction};
use engine::ports::BridgeSpec;
use netlink_bindings::nftables::{
    CmpOps::{Eq, Neq},
    MetaKeys::{Iifname, Oifgroup, Oifname},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

/// Makes the rules of `bridge` as specified, whatever they were.
pub(crate) async fn replace(bridge: &BridgeSpec) -> io::Result<()> {
    transaction(|batch| {
        let name = bridge.name.as_str();
        empty(batch, name);
        let [(forward, _), (leave, _), (arrive, _)] = chains(name);

        let mut rule = |build: &dyn Fn(super::Expressions<'_>)| build(batch.rule(&forward));
        if bridge.internal {
            rule(&|r| drop(r.interface(Iifname, Eq, name).interface(Oifname, Neq, name).drop_packet()));
            rule(&|r| drop(r.interface(Oifname, Eq, name).interface(Iifname, Neq, name).drop_packet()));
        } else {
            rule(&|r| drop(r.interface(Oifname, Eq, name).goes_on().accept()));
            // Networks do not see each other.
            rule(&|r| {
                let from_us = r.interface(Iifname, Eq, name).interface(Oifname, Neq, name);
                drop(from_us.group(Oifgroup, BRIDGE_GROUP).drop_packet());
            });
            rule(&|r| drop(r.interface(Iifname, Eq, name).accept()));
            rule(&|r| drop(r.interface(Oifname, Eq, name).translated().accept()));
            // Ports that are not published are nobody else's business.
            rule(&|r| drop(r.interface(Oifname, Eq, name).drop_packet()));
        }

        // This host's own loopback, to a published port.
        let local = batch.rule(&leave).source_in(LOOPBACK.0, LOOPBACK.1);
        drop(local.interface(Oifname, Eq, name).masquerade());
        if bridge.masquerade {
            for (address, prefix) in &bridge.addresses {
                let ours = batch.rule(&leave).source_in(*address, *prefix);
                drop(ours.interface(Oifname, Neq, name).masquerade());
            }
        }
        // Answers to it come back here; nothing else from a container is for the loopback.
        let inward = batch.rule(&arrive).interface(Iifname, Eq, name);
        drop(inward.destination_in(LOOPBACK.0, LOOPBACK.1).drop_packet());
    })
    .await
}

/// Removes the rules of the bridge, if there are any.
pub(crate) async fn remove(bridge: &str) -> io::Result<()> {
    transaction(|batch| {
        // Made first, so that removing what is not there succeeds.
        empty(batch, bridge);
        for (chain, _) in chains(bridge) {
            batch.remove_chain(&chain);
        }
    })
    .await
}

fn empty(batch: &mut Batch, bridge: &str) {
    for (chain, place) in chains(bridge) {
        batch.empty_chain(&chain, place);
    }
}

fn chains(bridge: &str) -> [(String, Place); 3] {
    [
        (format!("forward-{bridge}"), FORWARD),
        (format!("leave-{bridge}"), DEPARTURE),
        (format!("arrive-{bridge}"), BEFORE_CONNTRACK),
    ]
}
