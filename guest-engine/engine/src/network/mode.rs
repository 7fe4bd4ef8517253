//! `--network` of a container.

use crate::error::{EngineError, Result};

/// Where a container's network namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// Its own, on the default bridge.
    Bridge,
    /// The host's.
    Host,
    /// Its own, with loopback only.
    None,
    /// Another container's, by whatever the user called it.
    Container(String),
}

impl NetworkMode {
    /// Reads `HostConfig.NetworkMode`; names of user-defined networks are not found.
    pub fn parse(mode: &str) -> Result<Self> {
        match mode {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some("") => Err(EngineError::invalid(
                    "Invalid network mode: invalid container format container:<name|id>",
                )),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None => Err(EngineError::not_found(format!("network {other} not found"))),
            },
        }
    }

    /// What inspect and list show.
    pub fn as_text(&self) -> String {
        match self {
            Self::Bridge => "bridge".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Container(container) => format!("container:{container}"),
        }
    }
}
