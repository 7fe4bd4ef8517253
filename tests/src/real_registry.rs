//! Debian's `docker-registry`, in a test's network: plain, or with TLS and passwords, certificates or tokens.

use crate::{
    Authority,
    authority::Identity,
    network::{ADDRESS, Network},
    run::{eventually, run},
    token_server::{ISSUER, SERVICE},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Ended when it is dropped.
#[derive(Debug)]
pub struct RealRegistry {
    /// Gone after the process.
    _folder: TempDir,
    process: Child,
    /// `host:port`.
    pub host: String,
}

impl RealRegistry {
    /// On the loopback, where nothing else is needed.
    pub fn plain(network: &Network) -> Result<Self> {
        let folder = TempDir::with_prefix("r-")?;
        Self::start(network, folder, "127.0.0.1:5000", "")
    }

    /// At another address than the loopback's, with more in its configuration.
    pub fn at(network: &Network, address: &str, more: &str) -> Result<Self> {
        Self::start(network, TempDir::with_prefix("r-")?, address, more)
    }

    /// At another address, for the user `me` with this password.
    pub fn with_tls_and_password(network: &Network, authority: &Authority, password: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("r-")?;
        let Identity { certificate, key } = authority.issue("registry", &format!("IP:{ADDRESS}"))?;
        let passwords = folder.path().join("passwords");
        fs::write(&passwords, run(Command::new("htpasswd").args(["-Bbn", "me", password]))?.ok()?)?;
        let (certificate, key, passwords) = (certificate.display(), key.display(), passwords.display());
        let more = format!(
            "  tls: {{certificate: {certificate}, key: {key}}}\n\
             auth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n"
        );
        Self::start(network, folder, &format!("{ADDRESS}:5001"), &more)
    }

    /// The same for whoever has a certificate of the authority.
    pub fn with_client_certificates(network: &Network, authority: &Authority) -> Result<Self> {
        let Identity { certificate, key } = authority.issue("registry", &format!("IP:{ADDRESS}"))?;
        let (certificate, key, known) = (certificate.display(), key.display(), authority.certificate());
        let more =
            format!("  tls: {{certificate: {certificate}, key: {key}, clientcas: [{}]}}\n", known.display());
        Self::at(network, &format!("{ADDRESS}:5002"), &more)
    }

    /// On the loopback, for who has tokens from `realm`.
    pub fn with_tokens(network: &Network, authority: &Authority, realm: &str) -> Result<Self> {
        let known = authority.certificate();
        let more = format!(
            "auth: {{token: {{realm: \"{realm}\", service: \"{SERVICE}\", issuer: \"{ISSUER}\", \
             rootcertbundle: {}}}}}\n",
            known.display()
        );
        Self::at(network, "127.0.0.1:5003", &more)
    }

    fn start(network: &Network, folder: TempDir, host: &str, more: &str) -> Result<Self> {
        let config = folder.path().join("config.yml");
        let store = folder.path().join("store");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http:\n  addr: {host}\n{more}",
                store.display()
            ),
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let process = network
            .command(Path::new("docker-registry"))
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("Could not start docker-registry")?;
        let registry = Self { _folder: folder, process, host: host.to_owned() };
        eventually("The registry listens", || network.answers(host))?;
        Ok(registry)
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
