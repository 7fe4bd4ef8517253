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
    /// Its own, on a network made by the user, by name or id.
    User(String),
}

impl NetworkMode {
    /// Reads `HostConfig.NetworkMode`. Whether what it names exists is another question.
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
                None => Ok(Self::User(other.to_owned())),
            },
        }
    }

    /// What inspect and list show.
    pub fn as_text(&self) -> String {
        match self {
            Self::Container(container) => format!("container:{container}"),
            other => other.network().unwrap_or_default().to_owned(),
        }
    }

    /// The network it names, unless it shares another container's.
    pub fn network(&self) -> Option<&str> {
        match self {
            Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Container(_) => None,
            Self::User(name) => Some(name),
        }
    }
}
