//! A sandbox's interfaces: a veth pair whose other end is on a bridge, or a part of one of the host's own
//! interfaces.

use super::{
    LinkError,
    session::{Session, inside},
};
use engine::ports::{EndpointSpec, MacvlanMode, Plug};
use futures_util::TryStreamExt;
use nix::libc;
use rtnetlink::{
    LinkBridgePort, LinkIpVlan, LinkMacVlan, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::AddressHeaderFlags,
        link::{InfoData, InfoVeth, IpVlanMode, LinkAttribute, LinkMessage, MacVlanMode as LinkMode},
        route::RouteMessage,
    },
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    path::Path,
};

/// Makes the interface, named and addressed as `endpoint` says.
pub(super) async fn plug(sandbox: &Path, container: &str, endpoint: &EndpointSpec) -> Result<(), LinkError> {
    let session = Session::open()?;
    match &endpoint.plug {
        Plug::Bridge { name, isolated } => {
            cable(&session, sandbox, container, endpoint, name).await?;
            let name = host_name(container, &endpoint.interface);
            let configured = async {
                if *isolated {
                    let port = LinkBridgePort::new(session.index(&name).await?).isolated(true).build();
                    session.handle.link().set_port(port).execute().await?;
                }
                configure(sandbox, endpoint, false).await
            };
            let configured = configured.await;
            if configured.is_err() {
                // The first error is the one that says what is wrong.
                let _left = session.remove_link(&name).await;
            }
            configured
        }
        Plug::Macvlan { parent, mode } => {
            let mode = match mode {
                MacvlanMode::Bridge => LinkMode::Bridge,
                MacvlanMode::Private => LinkMode::Private,
                MacvlanMode::Vepa => LinkMode::Vepa,
                MacvlanMode::Passthru => LinkMode::Passthrough,
            };
            let namespace = File::open(sandbox)?;
            let message = LinkMacVlan::new(&endpoint.interface, session.index(parent).await?, mode)
                .address(endpoint.mac.to_vec())
                .setns_by_fd(namespace.as_raw_fd())
                .build();
            session.handle.link().add(message).execute().await?;
            configure(sandbox, endpoint, false).await
        }
        Plug::Ipvlan { parent, routed } => {
            let mode = if *routed { IpVlanMode::L3 } else { IpVlanMode::L2 };
            let namespace = File::open(sandbox)?;
            let message = LinkIpVlan::new(&endpoint.interface, session.index(parent).await?, mode)
                .setns_by_fd(namespace.as_raw_fd())
                .build();
            session.handle.link().add(message).execute().await?;
            configure(sandbox, endpoint, *routed).await
        }
    }
}

/// Makes the veth pair between the sandbox and the bridge.
async fn cable(
    session: &Session,
    sandbox: &Path,
    container: &str,
    endpoint: &EndpointSpec,
    bridge: &str,
) -> Result<(), LinkError> {
    let Some(bridge) = session.link(bridge).await? else {
        return Err(LinkError::NoInterface { name: bridge.to_owned() });
    };
    let namespace = File::open(sandbox)?;
    let name = host_name(container, &endpoint.interface);
    let pair = || {
        // Everything at once: the inner end is born in its namespace with its name and address.
        let inner = LinkUnspec::new_with_name(&endpoint.interface)
            .address(endpoint.mac.to_vec())
            .mtu(mtu_of(&bridge))
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        LinkVeth::new(&name, &endpoint.interface)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner)))
            .mtu(mtu_of(&bridge))
            .controller(bridge.header.index)
            .up()
            .build()
    };
    match session.handle.link().add(pair()).execute().await.map_err(LinkError::from) {
        // A leftover of an earlier run of this container, on its way out or stuck.
        Err(error) if error.errno() == Some(libc::EEXIST) => {
            session.remove_link(&name).await?;
            Ok(session.handle.link().add(pair()).execute().await?)
        }
        other => other,
    }
}

/// Whether this host has the interface.
pub(super) async fn interface_exists(name: &str) -> Result<bool, LinkError> {
    Ok(Session::open()?.link(name).await?.is_some())
}

/// Removes the interface. `Ok` when there is none.
pub(super) async fn unplug(sandbox: &Path, container: &str, interface: &str) -> Result<(), LinkError> {
    // Both ends of a cable go together.
    Session::open()?.remove_link(&host_name(container, interface)).await?;
    let interface = interface.to_owned();
    inside(sandbox, async move |session: Session| session.remove_link(&interface).await).await
}

/// `direct`: everybody is reached by the interface itself, without a gateway.
async fn configure(sandbox: &Path, endpoint: &EndpointSpec, direct: bool) -> Result<(), LinkError> {
    let endpoint = endpoint.clone();
    inside(sandbox, async move |session: Session| {
        let index = session.index(&endpoint.interface).await?;
        if endpoint.addresses.iter().any(|(address, _)| address.is_ipv6()) {
            fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", endpoint.interface), "0")?;
        }
        for (address, prefix) in &endpoint.addresses {
            let mut add = session.handle.address().add(index, *address, *prefix);
            if address.is_ipv6() {
                add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            add.execute().await?;
        }
        session.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        for gateway in &endpoint.gateways {
            let route = match direct {
                true => RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).build(),
                false => default_route(*gateway, index),
            };
            // One default route of a kind is enough.
            match session.handle.route().add(route).execute().await.map_err(LinkError::from) {
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                other => other?,
            }
        }
        Ok(())
    })
    .await
}

/// Makes these the default routes of the sandbox, instead of what there is.
pub(super) async fn route(sandbox: &Path, interface: &str, gateways: &[IpAddr]) -> Result<(), LinkError> {
    let (interface, gateways) = (interface.to_owned(), gateways.to_vec());
    inside(sandbox, async move |session: Session| {
        let index = session.index(&interface).await?;
        for request in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let routes: Vec<RouteMessage> =
                session.handle.route().get(request).execute().try_collect().await?;
            for old in routes.into_iter().filter(is_default) {
                session.handle.route().del(old).execute().await?;
            }
        }
        for gateway in gateways {
            session.handle.route().add(default_route(gateway, index)).execute().await?;
        }
        Ok(())
    })
    .await
}

fn is_default(route: &RouteMessage) -> bool {
    use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteType};
    route.header.destination_prefix_length == 0
        && route.header.table == RouteHeader::RT_TABLE_MAIN
        && route.header.kind == RouteType::Unicast
        && route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Gateway(_)))
}

fn default_route(gateway: IpAddr, index: u32) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => {
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build()
        }
        IpAddr::V6(gateway) => {
            RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build()
        }
    }
}

/// The same for the same container and interface, so that a leftover is recognised.
fn host_name(container: &str, interface: &str) -> String {
    let digest = Sha256::new().chain_update(container).chain_update([0]).chain_update(interface).finalize();
    format!("veth{:02x}{:02x}{:02x}{:x}", digest[0], digest[1], digest[2], digest[3] & 15)
}

fn mtu_of(link: &LinkMessage) -> u32 {
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or(1500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_fit_and_differ() {
        let (first, second) = (host_name("a", "eth0"), host_name("a", "eth1"));
        assert_eq!(first.len(), 11);
        assert_ne!(first, second);
        assert_eq!(first, host_name("a", "eth0"));
    }
}
