//! A bridge with its addresses, and forwarding switched on.

use super::{LinkError, session::Session, way_out};
use crate::nftables::BRIDGE_GROUP;
use engine::ports::BridgeSpec;
use futures_util::TryStreamExt;
use nix::libc;
use rtnetlink::{
    LinkBridge, LinkUnspec,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    },
};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Makes it as specified, or corrects the one that is there.
pub(super) async fn ensure(bridge: &BridgeSpec) -> Result<(), LinkError> {
    let session = Session::open()?;
    // A fixed address: otherwise a bridge takes the lowest of its ports', and changes it with them.
    let mut message = LinkBridge::new(&bridge.name).address(mac(bridge)).link_group(BRIDGE_GROUP).up();
    if let Some(mtu) = bridge.mtu {
        message = message.mtu(mtu);
    }
    match session.handle.link().add(message.build()).execute().await.map_err(LinkError::from) {
        // One that is there already is taken over; the host's other interfaces are not.
        Err(error) if error.errno() == Some(libc::EEXIST) => match session.link(&bridge.name).await? {
            Some(link) if is_bridge(&link) => {}
            _ => return Err(LinkError::NotABridge { name: bridge.name.clone() }),
        },
        other => other?,
    }
    let index = session.index(&bridge.name).await?;
    let up = LinkUnspec::new_with_index(index).link_group(BRIDGE_GROUP).up().build();
    session.handle.link().set(up).execute().await?;

    let mut missing = bridge.addresses.clone();
    for address in addresses(&session, index).await? {
        match missing.iter().position(|wanted| is(&address, *wanted)) {
            Some(found) => drop(missing.swap_remove(found)),
            None => session.handle.address().del(address).execute().await?,
        }
    }
    let sysctl = |family: &str, what: &str| {
        PathBuf::from(format!("/proc/sys/net/{family}/conf/{}/{what}", bridge.name))
    };
    let ipv6 = bridge.addresses.iter().any(|(address, _)| address.is_ipv6());
    // A kernel without IPv6 has no switch to turn.
    if ipv6 || sysctl("ipv6", "disable_ipv6").exists() {
        write(&sysctl("ipv6", "disable_ipv6"), if ipv6 { "0" } else { "1" })?;
    }
    for (address, prefix) in missing {
        let mut add = session.handle.address().add(index, address, prefix).replace();
        // Ours alone: waiting whether somebody else has it would only delay the first packet.
        add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        add.execute().await?;
    }
    // The host's loopback reaches published ports by here.
    write(&sysctl("ipv4", "route_localnet"), "1")?;
    write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
    if ipv6 {
        // A host that forwards does not listen to routers any more, and drops the way out that it has from one.
        for interface in way_out::announced() {
            let listens = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra"));
            if fs::read_to_string(&listens)?.trim() == "1" {
                write(&listens, "2")?;
            }
        }
        write(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"), "1")?;
    }
    Ok(())
}

/// Removes it, if it is there.
pub(super) async fn remove(name: &str) -> Result<(), LinkError> {
    Session::open()?.remove_link(name).await
}

/// Every bridge that the engine made.
pub(super) async fn names() -> Result<Vec<String>, LinkError> {
    let links: Vec<LinkMessage> = Session::open()?.handle.link().get().execute().try_collect().await?;
    let ours = links
        .into_iter()
        .filter(|link| is_bridge(link) && link.attributes.contains(&LinkAttribute::Group(BRIDGE_GROUP)));
    let name = |link: LinkMessage| {
        link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })
    };
    Ok(ours.filter_map(name).collect())
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    })
}

/// Derived from the IPv4 address as Docker does, else from the name.
fn mac(bridge: &BridgeSpec) -> Vec<u8> {
    let ipv4 = bridge.addresses.iter().find_map(|(address, _)| match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let digest = Sha256::digest(&bridge.name);
    let tail = ipv4.unwrap_or([digest[0], digest[1], digest[2], digest[3]]);
    [&[0x02, 0x42], &tail[..]].concat()
}

/// Written only when it changes something: some switches reset settings of every interface.
fn write(switch: &Path, value: &str) -> io::Result<()> {
    if fs::read_to_string(switch)?.trim() == value {
        return Ok(());
    }
    fs::write(switch, value)
}

async fn addresses(session: &Session, index: u32) -> Result<Vec<AddressMessage>, LinkError> {
    let all: Vec<AddressMessage> =
        session.handle.address().get().set_link_index_filter(index).execute().try_collect().await?;
    // The kernel's own link-local address is not ours to judge.
    let ours = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    Ok(all.into_iter().filter(|one| address_of(one).is_some_and(ours)).collect())
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |local: bool| {
        message.attributes.iter().find_map(move |attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    find(true).or_else(|| find(false))
}

fn is(message: &AddressMessage, (address, prefix): (IpAddr, u8)) -> bool {
    address_of(message) == Some(address) && message.header.prefix_len == prefix
}
