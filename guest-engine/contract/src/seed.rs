//! Who an anonymous guest becomes. Given once per boot over the seed channel; see `channel.rs`.

use crate::folders::SharedFolder;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity and settings of one machine. Holds secrets: never log it, never put it in argv.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Seed {
    /// [`crate::version::PROTOCOL`] of the sender.
    pub protocol: u32,
    /// Identity of the machine: a guest that has been seeded accepts only seeds with the same id.
    pub machine_id: String,
    /// Host name (RFC 1123 label).
    pub hostname: String,
    /// The SSH host key, OpenSSH private key format (Ed25519).
    pub host_key: String,
    /// Who may log in, one `authorized_keys` line each.
    pub authorized_keys: Vec<String>,
    /// Wall clock at sending, nanoseconds since the Unix epoch.
    pub time_unix_nanos: u64,
    /// Fresh randomness for the guest's kernel, base64 of at least 32 bytes.
    pub entropy: String,
    /// Settings of the engine.
    #[serde(default)]
    pub engine: EngineSettings,
    /// Folders of the user's computer, mounted before the engine begins.
    #[serde(default)]
    pub folders: Vec<SharedFolder>,
}

/// What `machine create` can tell the engine.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct EngineSettings {
    /// `key=value` labels shown by `docker info`.
    pub labels: Vec<String>,
    /// Environment of the engine process (proxies, mostly), `KEY=value`.
    pub env: Vec<String>,
    /// Registries spoken to without TLS verification, `host[:port]` or CIDR.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, URLs.
    pub registry_mirrors: Vec<String>,
    /// Certificate authorities to trust besides the image's own, PEM.
    pub certificate_authorities: Vec<String>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed")
            .field("machine_id", &self.machine_id)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}
