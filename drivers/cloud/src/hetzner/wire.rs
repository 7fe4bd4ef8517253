//! What of Hetzner's answers is read. Everything else may come and go.

use crate::http::{CloudError, Refusal};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) public_net: PublicNet,
    #[serde(default)]
    pub(super) private_net: Vec<PrivateNet>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PublicNet {
    pub(super) ipv4: Option<Net>,
    pub(super) ipv6: Option<Net>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Net {
    pub(super) ip: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct PrivateNet {
    /// Not there while the server is being attached.
    pub(super) ip: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneServer {
    pub(super) server: Server,
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub(super) server: Server,
}

#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    pub(super) action: Action,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) command: String,
    pub(super) status: String,
    pub(super) error: Option<ActionError>,
}

impl Action {
    pub(super) fn is_under_way(&self) -> Result<bool, CloudError> {
        if self.status == "error" {
            let message = self.error.as_ref().map_or("no reason given", |error| &error.message).to_owned();
            return Err(CloudError::Action { what: self.command.clone(), message });
        }
        Ok(self.status == "running")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ActionError {
    pub(super) message: String,
}

/// What making a key, a firewall or a placement group is answered with.
#[derive(Debug, Deserialize)]
pub(super) struct ThingCreated {
    #[serde(alias = "ssh_key", alias = "firewall", alias = "placement_group")]
    pub(super) thing: Thing,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServerType {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) cores: u32,
    /// GB.
    pub(super) memory: f64,
    #[serde(default)]
    pub(super) deprecation: Option<Value>,
    #[serde(default)]
    pub(super) prices: Vec<Price>,
    /// Where it is sold; older API versions do not say.
    #[serde(default)]
    pub(super) locations: Vec<TypeLocation>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TypeLocation {
    pub(super) name: String,
    #[serde(default)]
    pub(super) deprecation: Option<Value>,
    #[serde(default = "yes")]
    pub(super) available: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub(super) struct Price {
    pub(super) location: String,
    pub(super) price_monthly: Amount,
}

#[derive(Debug, Deserialize)]
pub(super) struct Amount {
    /// A decimal number.
    pub(super) gross: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub(super) id: u64,
    pub(super) name: Option<String>,
    pub(super) status: String,
    pub(super) os_flavor: String,
    pub(super) os_version: Option<String>,
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) deprecated: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneImage {
    pub(super) image: Image,
}

/// Something of the project's, of any kind; what a kind does not have is not there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Thing {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) location: Option<Location>,
    /// Whose a volume is.
    pub(super) server: Option<u64>,
    /// Whose an address is.
    pub(super) assignee_id: Option<u64>,
    pub(super) ip: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Location {
    pub(super) name: String,
}

/// The code for a type that a location has none of just now.
pub(super) const SOLD_OUT: &str = "resource_unavailable";

/// `{"error":{"code","message"}}`.
pub(super) fn refusal(status: u16, body: &Value) -> Refusal {
    let text = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
    let (code, message) = (text("code"), text("message"));
    let message = match code.as_str() {
        SOLD_OUT | "placement_error" => {
            format!("{message}; try another --hetzner-server-location or --hetzner-server-type")
        }
        "resource_limit_exceeded" => format!("{message}; the project's limit is reached"),
        _ => message,
    };
    let passing = matches!(code.as_str(), "locked" | "conflict" | "resource_locked");
    Refusal { status, code, message, passing }
}
