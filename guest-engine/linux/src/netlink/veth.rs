//! The cable between a container and a bridge: a veth pair, one end in the container's namespace.

use super::{
    LinkError,
    session::{Session, inside},
};
use engine::ports::EndpointSpec;
use nix::libc;
use rtnetlink::{
    LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::Path,
};

/// Makes the pair, its inner end named and addressed as `endpoint` says.
pub(super) async fn plug(sandbox: &Path, container: &str, endpoint: &EndpointSpec) -> Result<(), LinkError> {
    let session = Session::open()?;
    let Some(bridge) = session.link(&endpoint.bridge).await? else {
        return Err(LinkError::NoInterface { name: endpoint.bridge.clone() });
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
            session.handle.link().add(pair()).execute().await?;
        }
        other => other?,
    }
    let configured = configure(sandbox, endpoint).await;
    if configured.is_err() {
        // The first error is the one that says what is wrong.
        let _left = session.remove_link(&name).await;
    }
    configured
}

async fn configure(sandbox: &Path, endpoint: &EndpointSpec) -> Result<(), LinkError> {
    let endpoint = endpoint.clone();
    inside(sandbox, async move |session: Session| {
        let index = session.index(&endpoint.interface).await?;
        session.handle.address().add(index, IpAddr::V4(endpoint.address), endpoint.prefix).execute().await?;
        session.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        let default =
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(endpoint.gateway).output_interface(index).build();
        // A second network's gateway does not replace the first's.
        match session.handle.route().add(default).execute().await.map_err(LinkError::from) {
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    })
    .await
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
