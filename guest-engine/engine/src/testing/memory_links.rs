//! Sandboxes and bridges that exist only in a table.

use crate::{
    error::{EngineError, Result},
    ports::{BridgeSpec, EndpointSpec, LinkLayer},
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A strict stand-in for netlink: joining needs a sandbox and a bridge, and two sandboxes cannot have one
/// address.
#[derive(Debug, Default)]
pub struct MemoryLinks {
    state: Mutex<State>,
    fail_joins: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    bridges: BTreeMap<String, BridgeSpec>,
    sandboxes: BTreeMap<String, Option<EndpointSpec>>,
}

impl MemoryLinks {
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

    async fn create_sandbox(&self, container: &str) -> Result<PathBuf> {
        self.state().sandboxes.entry(container.to_owned()).or_default();
        Ok(PathBuf::from(format!("/run/netns/{container}")))
    }

    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()> {
        if self.fail_joins.load(Ordering::Relaxed) {
            return Err(EngineError::system("Could not create veth pair"));
        }
        let mut state = self.state();
        if !state.bridges.contains_key(&endpoint.bridge) {
            return Err(EngineError::system(format!("Bridge {} does not exist", endpoint.bridge)));
        }
        if state.sandboxes.values().flatten().any(|other| other.address == endpoint.address) {
            return Err(EngineError::system(format!("Address {} is in use", endpoint.address)));
        }
        match state.sandboxes.get_mut(container) {
            Some(slot @ None) => {
                *slot = Some(endpoint.clone());
                Ok(())
            }
            Some(Some(_)) => Err(EngineError::system(format!("Container {container} is joined already"))),
            None => Err(EngineError::system(format!("Container {container} has no sandbox"))),
        }
    }

    async fn remove_sandbox(&self, container: &str) -> Result<()> {
        self.state().sandboxes.remove(container);
        Ok(())
    }

    async fn sandbox_ids(&self) -> Result<Vec<String>> {
        Ok(self.sandboxes())
    }

    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok((vec!["10.0.2.3".to_owned()], Vec::new()))
    }

    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        Ok(vec![(Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(10, 0, 2, 0), 24)])
    }
}
