//! Talking to registries: the distribution protocol as a client.
//!
//! ```text
//!   Registries ─endpoints of a host─▶ Endpoint ─connect (ping, challenge)─▶ Session ─▶ manifests, blobs
//! ```
//! A session belongs to one operation and holds what its client sent to authenticate with; nothing of that
//! outlives it. Everything that comes from a registry is checked against a digest or a limit.

mod backoff;
mod challenge;
mod credentials;
mod download;
mod endpoint;
mod failure;
mod inspect;
mod login;
mod manifest;
mod proxies;
mod search;
mod session;
mod token;
mod upload;

pub use credentials::Credentials;
pub use inspect::Distribution;
pub use login::Login;
pub use search::SearchResult;

pub(crate) use download::Download;
pub(crate) use endpoint::Endpoint;
pub(crate) use failure::Failure;
pub(crate) use manifest::{Document, Fetched, choose, media_types};
pub(crate) use session::{Access, Session, describe};
pub(crate) use upload::Upload;

use reqwest::Client;
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Spoken to without TLS verification, or without TLS: `host[:port]` or CIDR.
    pub insecure: Vec<String>,
    /// URLs of mirrors of Docker Hub.
    pub mirrors: Vec<String>,
    /// `HOST[:PORT]/*.crt` are that host's authorities, `*.cert` with `*.key` what we identify with.
    pub certificates: PathBuf,
    /// A connection on which nothing happens for so long is given up.
    pub patience: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certificates: PathBuf::from("/etc/docker/certs.d"),
            patience: Duration::from_secs(30),
        }
    }
}

/// The world of registries, seen from this engine.
#[derive(Debug, Default)]
pub struct Registries {
    options: RegistryOptions,
    /// For hosts without certificates of their own: reading the system's takes a while.
    plain: Mutex<Vec<(bool, Client)>>,
}

impl Registries {
    /// Nothing is contacted yet.
    pub fn new(options: RegistryOptions) -> Self {
        Self { options, plain: Mutex::default() }
    }

    fn known_client(&self, verified: bool) -> Option<Client> {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.iter().find(|(known, _)| *known == verified).map(|(_, client)| client.clone())
    }

    fn keep_client(&self, verified: bool, client: &Client) {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner).push((verified, client.clone()));
    }
}
