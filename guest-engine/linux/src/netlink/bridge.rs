//! A bridge with its address, and forwarding switched on.

use super::{LinkError, session::Session};
use engine::ports::BridgeSpec;
use futures_util::TryStreamExt;
use nix::libc;
use rtnetlink::{
    LinkBridge, LinkUnspec,
    packet_route::address::{AddressAttribute, AddressMessage},
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

/// Makes it as specified, or corrects the one that is there.
pub(super) async fn ensure(bridge: &BridgeSpec) -> Result<(), LinkError> {
    let session = Session::open()?;
    // A fixed address: otherwise a bridge takes the lowest of its ports', and changes it with them.
    let gateway = bridge.gateway.octets();
    let mac = vec![0x02, 0x42, gateway[0], gateway[1], gateway[2], gateway[3]];
    let message = LinkBridge::new(&bridge.name).address(mac).up().build();
    match session.handle.link().add(message).execute().await.map_err(LinkError::from) {
        Err(error) if error.errno() == Some(libc::EEXIST) => {}
        other => other?,
    }
    let index = session.index(&bridge.name).await?;
    session.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;

    let mut found = false;
    for address in addresses(&session, index).await? {
        if is(&address, bridge) {
            found = true;
        } else {
            session.handle.address().del(address).execute().await?;
        }
    }
    if !found {
        let add = session.handle.address().add(index, IpAddr::V4(bridge.gateway), bridge.prefix);
        add.replace().execute().await?;
    }
    // Written only when it changes something: the switch resets other settings of every interface.
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(forwarding)?.trim() != "1" {
        fs::write(forwarding, "1")?;
    }
    Ok(())
}

/// Removes it, if it is there.
pub(super) async fn remove(name: &str) -> Result<(), LinkError> {
    Session::open()?.remove_link(name).await
}

async fn addresses(session: &Session, index: u32) -> Result<Vec<AddressMessage>, LinkError> {
    let all: Vec<AddressMessage> =
        session.handle.address().get().set_link_index_filter(index).execute().try_collect().await?;
    Ok(all.into_iter().filter(|one| address_of(one).is_some()).collect())
}

fn address_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}

fn is(message: &AddressMessage, bridge: &BridgeSpec) -> bool {
    address_of(message) == Some(bridge.gateway) && message.header.prefix_len == bridge.prefix
}
