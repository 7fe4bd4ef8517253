//! What of Linode's answers is read. Everything else may come and go.

use crate::http::Refusal;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Linode {
    pub(super) id: u64,
    pub(super) label: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) ipv4: Vec<String>,
    #[serde(default)]
    pub(super) ipv6: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Firewall {
    pub(super) id: u64,
    pub(super) label: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Region {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Type {
    pub(super) id: String,
    /// MB.
    pub(super) memory: u64,
    pub(super) vcpus: u32,
    pub(super) price: Price,
    #[serde(default)]
    pub(super) gpus: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Price {
    pub(super) monthly: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) vendor: Option<String>,
    #[serde(default)]
    pub(super) deprecated: bool,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StackScript {
    pub(super) id: u64,
    pub(super) label: String,
    /// For which images it is.
    #[serde(default)]
    pub(super) images: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AccountSettings {
    /// How new Linodes are connected; older API versions do not say.
    #[serde(default)]
    pub(super) interfaces_for_new_linodes: String,
}

/// `{"errors":[{"field","reason"}]}`.
pub(super) fn refusal(status: u16, body: &Value) -> Refusal {
    let sentence = |error: &Value| {
        let reason = error["reason"].as_str().unwrap_or_default();
        match error["field"].as_str() {
            Some(field) => format!("{field}: {reason}"),
            None => reason.to_owned(),
        }
    };
    let sentences: Vec<String> = body["errors"].as_array().into_iter().flatten().map(sentence).collect();
    let message = sentences.join("; ");
    // The token is good, but not for this.
    let status = if status == 401 && message.contains("not authorized") { 403 } else { status };
    Refusal {
        status,
        code: String::new(),
        passing: status == 400 && message.contains("Linode busy"),
        message,
    }
}
