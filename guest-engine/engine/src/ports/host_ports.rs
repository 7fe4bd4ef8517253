//! The user's own host, on which published ports are to be reachable as well.

use super::PortSpec;
use async_trait::async_trait;
use std::fmt::Debug;

/// Opens and closes ports there.
#[async_trait]
pub trait HostPorts: Debug + Send + Sync {
    /// Opens these ports, or none of them: then the sentence says why. `Ok` when there is no such host.
    async fn open(&self, ports: &[PortSpec]) -> Result<(), String>;

    /// Closes them. Those that are not open do not matter.
    fn close(&self, ports: &[PortSpec]);

    /// These are open since before the engine began.
    fn remember(&self, ports: &[PortSpec]);
}

/// The engine runs on the user's own host, or nobody is connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

#[async_trait]
impl HostPorts for NoHost {
    async fn open(&self, _ports: &[PortSpec]) -> Result<(), String> {
        Ok(())
    }

    fn close(&self, _ports: &[PortSpec]) {}

    fn remember(&self, _ports: &[PortSpec]) {}
}
