//! Sandboxes and bridges that exist only in a table.

use crate::{
    error::{EngineError, Result},
    ports::{BridgeSpec, EndpointSpec, LinkLayer, Names, Plug, PortSpec},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A strict stand-in for netlink: joining needs a sandbox and a bridge, two sandboxes cannot have one
/// address, and a port is opened only after it was reserved.
#[derive(Debug, Default)]
pub struct MemoryLinks {
    state: Mutex<State>,
    fail_joins: AtomicBool,
    /// The host has no way out by IPv4.
    ipv6_only: bool,
}

#[derive(Debug, Default)]
struct State {
    bridges: BTreeMap<String, BridgeSpec>,
    /// Container to interface to endpoint.
    sandboxes: BTreeMap<String, BTreeMap<String, EndpointSpec>>,
    /// Host ports that other programs have.
    busy: BTreeSet<u16>,
    reserved: BTreeSet<PortSpec>,
    open: BTreeSet<PortSpec>,
    named: BTreeSet<String>,
}

impl MemoryLinks {
    /// Of a host that gets out by IPv6 only.
    pub fn ipv6_only() -> Self {
        Self { ipv6_only: true, ..Self::default() }
    }

    /// Ids of containers with a sandbox.
    pub fn sandboxes(&self) -> Vec<String> {
        self.state().sandboxes.keys().cloned().collect()
    }

    /// Loses sandboxes, as a reboot does.
    pub fn remove_sandbox_of(&self, containers: &[&str]) {
        self.state().sandboxes.retain(|id, _| !containers.contains(&id.as_str()));
    }

    /// Lets every join fail from now on.
    pub fn fail_joins(&self, fail: bool) {
        self.fail_joins.store(fail, Ordering::Relaxed);
    }

    /// Another program has this port of the host.
    pub fn occupy(&self, port: u16) {
        self.state().busy.insert(port);
    }

    /// Ports that lead to containers.
    pub fn open(&self) -> Vec<PortSpec> {
        self.state().open.iter().copied().collect()
    }

    /// Interfaces of a sandbox, and the one with the default route.
    pub fn interfaces(&self, container: &str) -> Vec<(String, bool)> {
        let state = self.state();
        let endpoints = state.sandboxes.get(container).into_iter().flatten();
        endpoints.map(|(name, endpoint)| (name.clone(), !endpoint.gateways.is_empty())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LinkLayer for MemoryLinks {
    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()> {
        self.state().bridges.insert(bridge.name.clone(), bridge.clone());
        Ok(())
    }

    async fn remove_bridge(&self, name: &str) -> Result<()> {
        self.state().bridges.remove(name);
        Ok(())
    }

    async fn bridge_names(&self) -> Result<Vec<String>> {
        Ok(self.state().bridges.keys().cloned().collect())
    }

    async fn remove_rules(&self) -> Result<()> {
        self.state().open.clear();
        Ok(())
    }

    async fn create_sandbox(&self, container: &str) -> Result<PathBuf> {
        self.state().sandboxes.entry(container.to_owned()).or_default();
        Ok(PathBuf::from(format!("/run/netns/{container}")))
    }

    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()> {
        if self.fail_joins.load(Ordering::Relaxed) {
            return Err(EngineError::system("Could not create veth pair"));
        }
        let mut state = self.state();
        if let Plug::Bridge { name, .. } = &endpoint.plug
            && !state.bridges.contains_key(name)
        {
            return Err(EngineError::system(format!("Bridge {name} does not exist")));
        }
        let mut others = state.sandboxes.values().flat_map(BTreeMap::values);
        if others.any(|other| other.addresses.iter().any(|address| endpoint.addresses.contains(address))) {
            return Err(EngineError::system(format!("Address {:?} is in use", endpoint.addresses)));
        }
        match state.sandboxes.get_mut(container) {
            Some(interfaces) if !interfaces.contains_key(&endpoint.interface) => {
                interfaces.insert(endpoint.interface.clone(), endpoint.clone());
                Ok(())
            }
            Some(_) => Err(EngineError::system(format!("Container {container} is joined already"))),
            None => Err(EngineError::system(format!("Container {container} has no sandbox"))),
        }
    }

    async fn has_interface(&self, name: &str) -> Result<bool> {
        Ok(name == "eth0")
    }

    async fn unplug(&self, container: &str, interface: &str) -> Result<()> {
        if let Some(interfaces) = self.state().sandboxes.get_mut(container) {
            interfaces.remove(interface);
        }
        Ok(())
    }

    async fn route(&self, container: &str, interface: &str, gateways: &[IpAddr]) -> Result<()> {
        let mut state = self.state();
        let Some(interfaces) = state.sandboxes.get_mut(container) else {
            return Err(EngineError::system(format!("Container {container} has no sandbox")));
        };
        for (name, endpoint) in interfaces {
            endpoint.gateways = if name == interface { gateways.to_vec() } else { Vec::new() };
        }
        Ok(())
    }

    async fn remove_sandbox(&self, container: &str) -> Result<()> {
        let mut state = self.state();
        state.sandboxes.remove(container);
        state.named.remove(container);
        Ok(())
    }

    async fn sandbox_ids(&self) -> Result<Vec<String>> {
        Ok(self.sandboxes())
    }

    async fn serve_names(&self, container: &str, _names: Arc<dyn Names>) -> Result<()> {
        self.state().named.insert(container.to_owned());
        Ok(())
    }

    async fn reserve_port(&self, port: &PortSpec) -> Result<bool> {
        let mut state = self.state();
        if state.busy.contains(&port.host.port()) {
            return Ok(false);
        }
        assert!(state.reserved.insert(*port), "{port:?} is reserved twice");
        Ok(true)
    }

    async fn open_ports(&self, ports: &[PortSpec]) -> Result<()> {
        let mut state = self.state();
        assert!(ports.iter().all(|port| state.reserved.contains(port)), "opened without reservation");
        state.open.extend(ports);
        Ok(())
    }

    async fn close_ports(&self, ports: &[PortSpec]) -> Result<()> {
        let mut state = self.state();
        state.open.retain(|port| !ports.contains(port));
        state.reserved.retain(|port| !ports.contains(port));
        Ok(())
    }

    async fn restore_ports(&self, ports: &[PortSpec]) -> Result<()> {
        self.state().open = ports.iter().copied().collect();
        Ok(())
    }

    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok((vec!["10.0.2.3".to_owned()], Vec::new()))
    }

    async fn is_ipv6_only(&self) -> bool {
        self.ipv6_only
    }

    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        Ok(vec![(Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(10, 0, 2, 0), 24)])
    }
}
