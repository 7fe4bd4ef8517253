//! What of DigitalOcean's answers is read. Everything else may come and go.

use crate::http::{CloudError, Refusal};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Droplet {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) networks: Networks,
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Networks {
    pub(super) v4: Vec<Net>,
    pub(super) v6: Vec<Net>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Net {
    pub(super) ip_address: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub(super) droplet: Droplet,
}

#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    pub(super) action: Action,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    pub(super) id: u64,
    pub(super) status: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

impl Action {
    pub(super) fn is_under_way(&self) -> Result<bool, CloudError> {
        if self.status == "errored" {
            let message = "the action errored".to_owned();
            return Err(CloudError::Action { what: self.kind.clone(), message });
        }
        Ok(self.status == "in-progress")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) fingerprint: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct KeyCreated {
    pub(super) ssh_key: Key,
}

#[derive(Debug, Deserialize)]
pub(super) struct Firewall {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) tags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Region {
    pub(super) slug: String,
    pub(super) available: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Size {
    pub(super) slug: String,
    /// MB.
    pub(super) memory: u64,
    pub(super) vcpus: u32,
    pub(super) price_monthly: f64,
    pub(super) available: bool,
    #[serde(default)]
    pub(super) regions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Image {
    pub(super) id: u64,
    pub(super) slug: Option<String>,
    pub(super) distribution: String,
    #[serde(default)]
    pub(super) regions: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneImage {
    pub(super) image: Image,
}

/// `{"id","message"}`.
pub(super) fn refusal(status: u16, body: &Value) -> Refusal {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    // Two actions of one droplet at the same time.
    let passing = status == 422 && message.contains("pending event");
    Refusal { status, code: text("id"), message, passing }
}
