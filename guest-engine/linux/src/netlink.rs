//! Bridges, containers' network namespaces and the cables between them, over route netlink.
//!
//! A namespace is bound at `run_root/netns/ID`, so it lives without a process. Work inside one is done by
//! a thread that enters it and ends there; the engine's own threads never leave theirs.

mod bridge;
mod flows;
mod listener;
mod names;
mod plug;
mod resolvers;
mod sandbox;
mod session;
mod way_out;

use crate::{nftables, runtime::safe_name};
use async_trait::async_trait;
use engine::{
    EngineError,
    error::Result,
    ports::{BridgeSpec, EndpointSpec, LinkLayer, Names, Plug, PortSpec, Protocol},
};
use listener::Listener;
use names::NameServer;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Networks of this machine's kernel.
#[derive(Debug)]
pub struct NetlinkLinks {
    /// Folder of the bound namespaces.
    sandboxes: PathBuf,
    /// By container.
    name_servers: Mutex<HashMap<String, NameServer>>,
    listeners: Mutex<HashMap<PortSpec, Listener>>,
    /// Whether the rules for ports are this engine's, not what an earlier one left.
    ports_are_ours: tokio::sync::Mutex<bool>,
}

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("The kernel refused a netlink request")]
    Netlink(#[source] rtnetlink::Error),
    #[error("Could not reach the kernel's network configuration")]
    Io(#[from] io::Error),
    #[error("There is no interface {name:?}")]
    NoInterface { name: String },
    #[error("Interface {name:?} exists and is not a bridge")]
    NotABridge { name: String },
    #[error("The namespace thread panicked")]
    Thread,
}

impl From<rtnetlink::Error> for LinkError {
    fn from(error: rtnetlink::Error) -> Self {
        Self::Netlink(error)
    }
}

impl From<nix::Error> for LinkError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

impl LinkError {
    /// The kernel's error number, when it was the kernel.
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink(rtnetlink::Error::NetlinkError(message)) => message.code.map(|code| -code.get()),
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl NetlinkLinks {
    /// Networks whose namespaces are bound below `run_root`.
    pub fn new(run_root: &Path) -> Self {
        Self {
            sandboxes: run_root.join("netns"),
            name_servers: Mutex::default(),
            listeners: Mutex::default(),
            ports_are_ours: tokio::sync::Mutex::default(),
        }
    }

    fn sandbox(&self, container: &str) -> Result<PathBuf> {
        let name = safe_name(container).map_err(|error| EngineError::invalid(error.to_string()))?;
        Ok(self.sandboxes.join(name))
    }
}

#[async_trait]
impl LinkLayer for NetlinkLinks {
    async fn ensure_bridge(&self, bridge: &BridgeSpec) -> Result<()> {
        let failed = |error: LinkError| {
            EngineError::system(format!("Could not set up bridge {}", bridge.name)).because(error)
        };
        if bridge.name.is_empty() || bridge.name.len() > 15 {
            return Err(EngineError::invalid(format!("invalid bridge {:?}", bridge.name)));
        }
        bridge::ensure(bridge).await.map_err(failed)?;
        nftables::replace(bridge).await.map_err(|error| failed(error.into()))
    }

    async fn remove_bridge(&self, name: &str) -> Result<()> {
        let failed =
            |error: LinkError| EngineError::system(format!("Could not remove bridge {name}")).because(error);
        bridge::remove(name).await.map_err(failed)?;
        nftables::remove(name).await.map_err(|error| failed(error.into()))
    }

    async fn bridge_names(&self) -> Result<Vec<String>> {
        bridge::names()
            .await
            .map_err(|error| EngineError::system("Could not list the bridges").because(error))
    }

    async fn remove_rules(&self) -> Result<()> {
        let removed = nftables::remove_all().await;
        removed.map_err(|error| EngineError::system("Could not remove the rules").because(error))
    }

    async fn create_sandbox(&self, container: &str) -> Result<PathBuf> {
        let path = self.sandbox(container)?;
        sandbox::create(&path)
            .await
            .map_err(|error| EngineError::system("Could not create a network namespace").because(error))?;
        Ok(path)
    }

    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()> {
        let path = self.sandbox(container)?;
        plug::plug(&path, container, endpoint).await.map_err(|error| {
            let name = match &endpoint.plug {
                Plug::Bridge { name, .. } => name,
                Plug::Macvlan { parent, .. } | Plug::Ipvlan { parent, .. } => parent,
            };
            EngineError::system(format!("Could not plug the container into {name}")).because(error)
        })
    }

    async fn has_interface(&self, name: &str) -> Result<bool> {
        plug::interface_exists(name)
            .await
            .map_err(|error| EngineError::system("Could not look for an interface").because(error))
    }

    async fn unplug(&self, container: &str, interface: &str) -> Result<()> {
        let path = self.sandbox(container)?;
        plug::unplug(&path, container, interface)
            .await
            .map_err(|error| EngineError::system(format!("Could not unplug {interface}")).because(error))
    }

    async fn route(&self, container: &str, interface: &str, gateways: &[IpAddr]) -> Result<()> {
        let path = self.sandbox(container)?;
        plug::route(&path, interface, gateways)
            .await
            .map_err(|error| EngineError::system("Could not change the default route").because(error))
    }

    async fn remove_sandbox(&self, container: &str) -> Result<()> {
        let path = self.sandbox(container)?;
        // Its sockets keep the namespace alive.
        drop(lock(&self.name_servers).remove(container));
        sandbox::remove(&path)
            .await
            .map_err(|error| EngineError::system("Could not remove a network namespace").because(error))
    }

    async fn sandbox_ids(&self) -> Result<Vec<String>> {
        sandbox::ids(&self.sandboxes)
            .map_err(|error| EngineError::system("Could not list the network namespaces").because(error))
    }

    async fn serve_names(&self, container: &str, names: Arc<dyn Names>) -> Result<()> {
        let path = self.sandbox(container)?;
        drop(lock(&self.name_servers).remove(container));
        let server = names::serve(&path, container, names)
            .await
            .map_err(|error| EngineError::system("Could not serve names in the container").because(error))?;
        lock(&self.name_servers).insert(container.to_owned(), server);
        Ok(())
    }

    async fn reserve_port(&self, port: &PortSpec) -> Result<bool> {
        let opened = listener::open(port).map_err(|error| {
            let family = if port.host.is_ipv4() { 4 } else { 6 };
            let what = match error.raw_os_error() {
                Some(nix::libc::EADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
                Some(nix::libc::EACCES) => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            EngineError::system(format!(
                "Error starting userland proxy: listen {}{family} {}: bind: {what}",
                port.protocol, port.host
            ))
        })?;
        let free = opened.is_some();
        if let Some(listener) = opened {
            lock(&self.listeners).insert(*port, listener);
        }
        Ok(free)
    }

    async fn open_ports(&self, ports: &[PortSpec]) -> Result<()> {
        let mut ours = self.ports_are_ours.lock().await;
        let opened = if *ours { nftables::open(ports).await } else { nftables::restore(ports).await };
        opened.map_err(|error| EngineError::system("Could not publish ports").because(error))?;
        *ours = true;
        Ok(())
    }

    async fn close_ports(&self, ports: &[PortSpec]) -> Result<()> {
        {
            let mut listeners = lock(&self.listeners);
            ports.iter().for_each(|port| drop(listeners.remove(port)));
        }
        nftables::close(ports)
            .await
            .map_err(|error| EngineError::system("Could not close published ports").because(error))?;
        forget_flows(ports);
        Ok(())
    }

    async fn restore_ports(&self, ports: &[PortSpec]) -> Result<()> {
        let mut ours = self.ports_are_ours.lock().await;
        nftables::restore(ports)
            .await
            .map_err(|error| EngineError::system("Could not restore published ports").because(error))?;
        *ours = true;
        Ok(())
    }

    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok(resolvers::of_this_host())
    }

    async fn is_ipv6_only(&self) -> bool {
        way_out::is_ipv6_only()
    }

    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        session::routes()
            .await
            .map_err(|error| EngineError::system("Could not read the routes").because(error))
    }
}

/// What is on its way to these ports is decided anew.
fn forget_flows(ports: &[PortSpec]) {
    for port in ports.iter().filter(|port| port.protocol == Protocol::Udp && port.host.is_ipv4()) {
        if let Err(error) = flows::forget_datagrams(port.host.port()) {
            tracing::debug!(%error, port = %port.host, "Flows to a closed port stay known for a while");
        }
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
