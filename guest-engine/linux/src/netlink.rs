//! Bridges, containers' network namespaces and the cables between them, over route netlink.
//!
//! A namespace is bound at `run_root/netns/ID`, so it lives without a process. Work inside one is done by
//! a thread that enters it and ends there; the engine's own threads never leave theirs.

mod bridge;
mod resolvers;
mod sandbox;
mod session;
mod veth;

use crate::{nftables, runtime::safe_name};
use async_trait::async_trait;
use engine::{
    EngineError,
    error::Result,
    ports::{BridgeSpec, EndpointSpec, LinkLayer},
};
use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Networks of this machine's kernel.
#[derive(Debug)]
pub struct NetlinkLinks {
    /// Folder of the bound namespaces.
    sandboxes: PathBuf,
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
        Self { sandboxes: run_root.join("netns") }
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
        if bridge.name.is_empty() || bridge.name.len() > 15 || bridge.prefix > 32 {
            return Err(EngineError::invalid(format!("invalid bridge {:?}/{}", bridge.name, bridge.prefix)));
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

    async fn create_sandbox(&self, container: &str) -> Result<PathBuf> {
        let path = self.sandbox(container)?;
        sandbox::create(&path)
            .await
            .map_err(|error| EngineError::system("Could not create a network namespace").because(error))?;
        Ok(path)
    }

    async fn join(&self, container: &str, endpoint: &EndpointSpec) -> Result<()> {
        let path = self.sandbox(container)?;
        veth::plug(&path, container, endpoint).await.map_err(|error| {
            EngineError::system(format!("Could not plug the container into {}", endpoint.bridge))
                .because(error)
        })
    }

    async fn remove_sandbox(&self, container: &str) -> Result<()> {
        let path = self.sandbox(container)?;
        sandbox::remove(&path)
            .await
            .map_err(|error| EngineError::system("Could not remove a network namespace").because(error))
    }

    async fn sandbox_ids(&self) -> Result<Vec<String>> {
        sandbox::ids(&self.sandboxes)
            .map_err(|error| EngineError::system("Could not list the network namespaces").because(error))
    }

    async fn host_resolvers(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok(resolvers::of_this_host())
    }

    async fn host_routes(&self) -> Result<Vec<(Ipv4Addr, u8)>> {
        session::routes()
            .await
            .map_err(|error| EngineError::system("Could not read the routes").because(error))
    }
}
