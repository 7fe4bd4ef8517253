//! Which host key a machine's SSH server must show, and which key of ours it is to accept.

use super::{SshError, keys};
use machine_drivers::{Access, SshEndpoint, SshKeys};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, PublicKeyBase64};
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What a server may show. "Whatever comes first" only at a first contact that is one by intent.
#[derive(Debug)]
pub(super) struct HostTrust {
    keys: Vec<PublicKey>,
    /// `SHA256:…`
    fingerprints: Vec<String>,
    /// This is the first contact, and whatever comes is kept here.
    first: Option<Mutex<Option<PublicKey>>>,
}

impl HostTrust {
    /// The keys that the driver names, else the machine's own.
    pub(super) fn of(keys: &SshKeys, directory: &Path) -> Result<Self, SshError> {
        let mut trust = Self { keys: Vec::new(), fingerprints: Vec::new(), first: None };
        if keys.host.is_empty() && keys.first_contact {
            trust.keys.push(keys::read_pinned(directory)?.ok_or(SshError::Unpinned)?);
        } else if keys.host.is_empty() {
            trust.keys.push(keys::host_key(directory)?);
        }
        for entry in &keys.host {
            if entry.starts_with("SHA256:") {
                trust.fingerprints.push(entry.clone());
            } else {
                trust.keys.push(keys::pinned_key(entry)?);
            }
        }
        Ok(trust)
    }

    /// For the one connection that finds out.
    pub(super) fn first_contact() -> Self {
        Self { keys: Vec::new(), fingerprints: Vec::new(), first: Some(Mutex::default()) }
    }

    /// What came at the first contact.
    pub(super) fn found(&self) -> Option<PublicKey> {
        self.first.as_ref().and_then(|first| first.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    pub(super) fn accepts(&self, offered: &PublicKey) -> bool {
        if let Some(first) = &self.first {
            *first.lock().unwrap_or_else(PoisonError::into_inner) = Some(offered.clone());
            return true;
        }
        self.keys.iter().any(|key| key.key_data() == offered.key_data())
            || self.fingerprints.contains(&offered.fingerprint(HashAlg::Sha256).to_string())
    }

    /// Every accepted fingerprint, for messages.
    pub(super) fn expected(&self) -> String {
        let keys = self.keys.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string());
        keys.chain(self.fingerprints.iter().cloned()).collect::<Vec<_>>().join(" or ")
    }

    /// The algorithms to ask the server for: a key of another one could only be another host's. `None`
    /// when a fingerprint leaves that open.
    pub(super) fn algorithms(&self) -> Option<Vec<Algorithm>> {
        (self.fingerprints.is_empty() && self.first.is_none()).then(|| {
            let mut algorithms: Vec<Algorithm> = Vec::new();
            for key in &self.keys {
                match key.algorithm() {
                    // The key is one thing, the hash it signs with another.
                    Algorithm::Rsa { .. } => algorithms.extend([
                        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
                        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
                    ]),
                    algorithm => algorithms.push(algorithm),
                }
            }
            algorithms
        })
    }
}

/// What a `known_hosts` file says of a machine, for `ssh` itself; nothing of a key that only its fingerprint is known of.
pub fn known_hosts(access: &Access, directory: &Path) -> Result<String, SshError> {
    let SshEndpoint { host, port, .. } = &access.ssh;
    let name = if *port == 22 { host.clone() } else { format!("[{host}]:{port}") };
    let keys = HostTrust::of(&access.keys, directory)?.keys;
    Ok(keys.iter().map(|key| format!("{name} {} {}\n", key.algorithm(), key.public_key_base64())).collect())
}

/// Our private key: the file that the driver names, else the machine's own.
pub(super) fn client_key(keys: &SshKeys, directory: &Path) -> Result<PrivateKey, SshError> {
    Ok(match &keys.client {
        Some(path) => keys::foreign_key(path)?,
        None => keys::client_key(directory)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files;
    use machine_drivers::EngineHome;
    use std::fs;

    #[test]
    fn ssh_is_told_the_same() {
        let own = tempfile::tempdir().unwrap();
        keys::generate(own.path()).unwrap();
        let told = |host: &str, port, named: &[&str]| {
            let ssh = SshEndpoint { host: host.to_owned(), port, user: "root".to_owned() };
            let host = named.iter().map(|key| (*key).to_owned()).collect();
            let keys = SshKeys { host, ..SshKeys::default() };
            let engine = EngineHome::Host;
            let access = Access { ip: String::new(), ssh, seed_socket: None, keys, engine };
            known_hosts(&access, own.path()).unwrap()
        };
        let line = fs::read_to_string(own.path().join(files::HOST_KEY_PUB)).unwrap();
        let key = line.rsplit_once(' ').unwrap().0;
        assert_eq!(told("fd00::2", 22, &[]), format!("fd00::2 {key}\n"));
        assert_eq!(told("fd00::2", 2222, &[key]), format!("[fd00::2]:2222 {key}\n"));
        assert_eq!(told("fd00::2", 22, &["SHA256:x"]), "");
    }

    #[test]
    fn the_machines_own_key_or_exactly_those_that_are_named() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        keys::generate(own.path()).unwrap();
        keys::generate(other.path()).unwrap();
        let (own_key, other_key) =
            (keys::host_key(own.path()).unwrap(), keys::host_key(other.path()).unwrap());
        let trust = HostTrust::of(&SshKeys::default(), own.path()).unwrap();
        assert!(trust.accepts(&own_key) && !trust.accepts(&other_key));
        assert_eq!(trust.algorithms(), Some(vec![Algorithm::Ed25519]));

        let line = fs::read_to_string(other.path().join(files::HOST_KEY_PUB)).unwrap();
        let named = SshKeys { host: vec![line.trim().to_owned()], ..SshKeys::default() };
        let trust = HostTrust::of(&named, own.path()).unwrap();
        assert!(trust.accepts(&other_key) && !trust.accepts(&own_key));

        let fingerprint = other_key.fingerprint(HashAlg::Sha256).to_string();
        let named = SshKeys { host: vec![fingerprint.clone()], ..SshKeys::default() };
        let trust = HostTrust::of(&named, own.path()).unwrap();
        assert!(trust.accepts(&other_key) && !trust.accepts(&own_key));
        assert_eq!((trust.expected(), trust.algorithms()), (fingerprint, None));

        let first = SshKeys { first_contact: true, ..SshKeys::default() };
        assert!(matches!(HostTrust::of(&first, own.path()), Err(SshError::Unpinned)));
        let contact = HostTrust::first_contact();
        assert!(contact.accepts(&other_key) && contact.algorithms().is_none());
        keys::pin(own.path(), &contact.found().unwrap()).unwrap();
        let trust = HostTrust::of(&first, own.path()).unwrap();
        assert!(trust.accepts(&other_key) && !trust.accepts(&own_key), "and never another one");

        let nonsense = SshKeys { host: vec!["ssh-ed25519 xx".to_owned()], ..SshKeys::default() };
        assert!(HostTrust::of(&nonsense, own.path()).is_err());
    }
}
