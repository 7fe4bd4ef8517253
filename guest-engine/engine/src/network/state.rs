//! The networks as they are in memory, and what may be made of them: names, interfaces and subnets that
//! do not collide. Nothing here waits.

use super::{
    Driver, Member, NetworkView, Subnet, default_pools,
    definition::{AddressPlan, Definition},
    pool::Pool,
    publish, request,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::random_id,
    ports::{PortSpec, Upstream},
};
use bollard_stubs::models::NetworkCreateRequest;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::OnceCell;

#[derive(Debug, Default)]
pub(super) struct State {
    /// By id.
    pub(super) networks: BTreeMap<String, Network>,
    /// By container.
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    pub(super) ports: publish::Allocator,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) definition: Arc<Definition>,
    pub(super) pools: Vec<Pool>,
    /// Container id to member.
    pub(super) members: BTreeMap<String, Member>,
    /// The bridge is made at first use, so that an engine without containers touches nothing.
    pub(super) ready: Arc<OnceCell<()>>,
}

/// What a container has besides its places on networks.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) upstream: Upstream,
    /// Names without a dot are not asked elsewhere: the user set `ndots`.
    pub(super) keeps_short_names: bool,
    pub(super) ports: Vec<PortSpec>,
}

impl State {
    pub(super) fn insert(&mut self, definition: Definition) -> Arc<Definition> {
        let definition = Arc::new(definition);
        let pool = |plan: &AddressPlan| {
            let reserved = plan.auxiliary.values().copied().chain([plan.gateway]);
            Pool::new(plan.subnet, plan.range, reserved)
        };
        let network = Network {
            definition: definition.clone(),
            pools: definition.plans.iter().map(pool).collect(),
            members: BTreeMap::new(),
            ready: Arc::default(),
        };
        self.networks.insert(definition.id.clone(), network);
        definition
    }

    pub(super) fn find(&self, key: &str) -> Result<&Network> {
        let key = if key == "default" { "bridge" } else { key };
        let named = |network: &&Network| network.definition.name == key;
        if let Some(network) = self.networks.get(key).or_else(|| self.networks.values().find(named)) {
            return Ok(network);
        }
        let mut matching =
            self.networks.values().filter(|n| !key.is_empty() && n.definition.id.starts_with(key));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => {
                let more = matching.count() + 2;
                Err(EngineError::invalid(format!(
                    "network {key} is ambiguous ({more} matches found based on ID prefix)"
                )))
            }
            (None, _) => Err(EngineError::not_found(format!("network {key} not found"))),
        }
    }

    pub(super) fn by_id(&self, id: &str) -> Result<&Network> {
        self.networks.get(id).ok_or_else(|| EngineError::not_found(format!("network {id} not found")))
    }

    /// Takes name, interface and subnets for a new network.
    pub(super) fn define(
        &mut self,
        request: NetworkCreateRequest,
        driver: Driver,
        routes: &[Subnet],
        site: &[u8; 5],
    ) -> Result<Arc<Definition>> {
        let name = request.name;
        if self.networks.values().any(|network| network.definition.name == name) {
            return Err(EngineError::conflict(format!("network with name {name} already exists")));
        }
        // As the default bridge has it, unless somebody says.
        let usual =
            driver == Driver::Bridge && self.find("bridge").is_ok_and(|bridge| bridge.definition.ipv6);
        let ipv6 = request.enable_ipv6.unwrap_or(usual);
        let ipam = request.ipam.unwrap_or_default();
        let asked = request::plans(ipam.config.as_deref().unwrap_or_default(), ipv6)?;
        let (asked, idle): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|plan| ipv6 || plan.subnet.is_ipv4());
        let definition = Definition {
            name,
            id: random_id()?,
            created: SystemTime::now(),
            driver,
            ipv6,
            internal: request.internal.unwrap_or(false),
            attachable: request.attachable.unwrap_or(false),
            options: request.options.unwrap_or_default().into_iter().collect(),
            labels: request.labels.unwrap_or_default().into_iter().collect(),
            ipam_options: ipam.options.map(|options| options.into_iter().collect()),
            plans: self.choose_plans(driver, asked, ipv6, routes, site)?,
            idle_plans: idle.into_iter().map(request::AskedPlan::complete).collect(),
        };
        let interface = definition.interface();
        let same = |other: &&Network| {
            driver == Driver::Bridge
                && other.definition.driver == Driver::Bridge
                && other.definition.interface() == interface
        };
        if let Some(other) = self.networks.values().find(same) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!(
                    "cannot create network {} ({interface}): conflicts with network {} ({interface}): networks \
                     have same bridge name",
                    definition.id, other.definition.id
                ),
            ));
        }
        Ok(self.insert(definition))
    }

    /// The subnets of a new network: those asked for when they are free, else the next free ones.
    fn choose_plans(
        &self,
        driver: Driver,
        asked: Vec<request::AskedPlan>,
        ipv6: bool,
        routes: &[Subnet],
        site: &[u8; 5],
    ) -> Result<Vec<AddressPlan>> {
        let plans = self.networks.values().flat_map(|network| &network.definition.plans);
        let mut taken: Vec<Subnet> = plans.map(|plan| plan.subnet).collect();
        if asked.iter().any(|plan| taken.iter().any(|other| plan.subnet.overlaps(*other))) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                "Pool overlaps with other one on this address space",
            ));
        }
        let (ipv4, other): (Vec<_>, Vec<_>) = asked.into_iter().partition(|plan| plan.subnet.is_ipv4());
        if ipv4.len() > 1 || other.len() > 1 {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("{} driver doesn't support multiple subnets", driver.as_str()),
            ));
        }
        taken.extend(routes);
        let none_left = |family: u8| {
            EngineError::not_found(format!(
                "could not find an available, non-overlapping IPv{family} address pool among the defaults to assign \
                 to the network"
            ))
        };
        let mut chosen: Vec<AddressPlan> = ipv4.into_iter().map(request::AskedPlan::complete).collect();
        if chosen.is_empty() {
            chosen.push(automatic(default_pools::free_ipv4(&taken).ok_or_else(|| none_left(4))?));
        }
        if ipv6 {
            chosen.push(match other.into_iter().next() {
                Some(plan) => plan.complete(),
                None => automatic(default_pools::free_ipv6(site, &taken).ok_or_else(|| none_left(6))?),
            });
        }
        match chosen.iter().find(|plan| !plan.subnet.can_own(plan.gateway)) {
            Some(AddressPlan { gateway, .. }) => Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("failed to allocate gateway ({gateway}): Address already in use"),
            )),
            None => Ok(chosen),
        }
    }

    /// Takes a network out that nobody is on, so that nobody can join it any more.
    pub(super) fn withdraw(&mut self, key: &str) -> Result<Network> {
        let definition = self.find(key)?.definition.clone();
        let forbidden = |message: String| Err(EngineError::new(ErrorKind::Forbidden, message));
        if definition.is_predefined() {
            return forbidden(format!("{} is a pre-defined network and cannot be removed", definition.name));
        }
        match self.networks.remove(&definition.id) {
            Some(network) if network.members.is_empty() => Ok(network),
            Some(network) => {
                let (name, id) = (&definition.name, &definition.id);
                let error =
                    format!("error while removing network: network {name} id {id} has active endpoints");
                self.networks.insert(id.clone(), network);
                forbidden(error)
            }
            None => Err(EngineError::not_found(format!("network {key} not found"))),
        }
    }
}

impl Network {
    pub(super) fn view(&self) -> NetworkView {
        NetworkView { definition: self.definition.clone(), members: self.members.clone() }
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole of a subnet that nobody chose.
pub(super) fn automatic(subnet: Subnet) -> AddressPlan {
    AddressPlan {
        subnet,
        gateway: subnet.gateway(),
        range: None,
        auxiliary: BTreeMap::new(),
        chosen: false,
        gateway_chosen: true,
    }
}
