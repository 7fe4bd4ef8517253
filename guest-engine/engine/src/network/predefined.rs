//! The networks that are always there: `bridge`, `host` and `none`. Their identities outlive the engine.

use super::{Driver, Subnet, default_pools, definition::Definition, host_routes, state::automatic};
use crate::{
    error::{EngineError, Result},
    id::{random_bytes, random_id},
    ports::LinkLayer,
    state_file,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, time::SystemTime};

/// File of their identities, in the folder of the networks' definitions.
pub(super) const FILE: &str = "predefined.json";
const NETWORKS: [(&str, Driver); 3] =
    [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)];

/// What is remembered of them.
#[derive(Serialize, Deserialize)]
pub(super) struct Predefined {
    /// In the order of [`NETWORKS`].
    identities: Vec<Identity>,
    /// Of the default bridge.
    subnet: Subnet,
    /// The same of IPv6, on a host that gets out by nothing else.
    #[serde(default)]
    subnet6: Option<Subnet>,
    /// What IPv6 subnets are derived from when nobody chooses one.
    #[serde(default)]
    pub(super) site: [u8; 5],
}

#[derive(Serialize, Deserialize)]
struct Identity {
    name: String,
    id: String,
    created: SystemTime,
}

impl Predefined {
    /// Those of before, or new ones the first time.
    pub(super) async fn open(folder: &Path, links: &dyn LinkLayer) -> Result<Self> {
        let file = folder.join(FILE);
        if let Some(stored) = state_file::load(&file).await? {
            return Ok(stored);
        }
        let subnet = default_pools::free_ipv4(&host_routes(links).await?).ok_or_else(|| {
            EngineError::system("No private IPv4 range is free for the default bridge network")
        })?;
        let created = SystemTime::now();
        let identities = NETWORKS
            .iter()
            .map(|(name, _)| Ok(Identity { name: (*name).to_owned(), id: random_id()?, created }))
            .collect::<Result<_>>()?;
        let site = random_bytes()?;
        // Where IPv4 leads nowhere, containers without IPv6 would reach nobody.
        let subnet6 = if links.is_ipv6_only().await { default_pools::free_ipv6(&site, &[]) } else { None };
        let made = Self { identities, subnet, subnet6, site };
        state_file::save(&file, &made).await?;
        Ok(made)
    }

    /// `bridge` is the interface of the default bridge.
    pub(super) fn definitions(self, bridge: &str) -> impl Iterator<Item = Definition> {
        let Self { identities, subnet, subnet6, .. } = self;
        let subnets: Vec<Subnet> = [subnet].into_iter().chain(subnet6).collect();
        identities
            .into_iter()
            .zip(NETWORKS)
            .map(move |(identity, (_, driver))| definition(identity, driver, &subnets, bridge))
    }
}

fn definition(identity: Identity, driver: Driver, subnets: &[Subnet], interface: &str) -> Definition {
    let bridge = driver == Driver::Bridge;
    let options = [
        ("com.docker.network.bridge.default_bridge", "true"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ("com.docker.network.bridge.name", interface),
        ("com.docker.network.driver.mtu", "1500"),
    ];
    Definition {
        name: identity.name,
        id: identity.id,
        created: identity.created,
        driver,
        ipv6: bridge && subnets.iter().any(|subnet| !subnet.is_ipv4()),
        internal: false,
        attachable: false,
        options: options
            .into_iter()
            .filter(|_| bridge)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        labels: BTreeMap::new(),
        ipam_options: None,
        plans: subnets.iter().filter(|_| bridge).map(|subnet| automatic(*subnet)).collect(),
        idle_plans: Vec::new(),
    }
}
