//! Debian's `docker-registry`, in a test's network: plain, or with TLS from an authority of its own and a
//! password file.

use crate::{
    network::{ADDRESS, Network},
    run::{eventually, run},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Ended when it is dropped.
#[derive(Debug)]
pub struct RealRegistry {
    folder: TempDir,
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

    /// At another address, for the user `me` with this password.
    pub fn with_tls_and_password(network: &Network, password: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("r-")?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let openssl = |args: &[&str]| run(Command::new("openssl").args(args))?.ok();
        let (authority, authority_key, request) = (path("ca.crt"), path("ca.key"), path("server.csr"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let mut args = vec!["req", "-x509", "-days", "2", "-subj", "/CN=a test's authority"];
        args.extend(curve);
        args.extend([
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            &authority_key,
            "-out",
            &authority,
        ]);
        openssl(&args)?;
        let (key, certificate, names) = (path("server.key"), path("server.crt"), path("names"));
        let mut args = vec!["req", "-subj", "/CN=registry", "-keyout", &key, "-out", &request];
        args.extend(curve);
        openssl(&args)?;
        fs::write(&names, format!("subjectAltName=IP:{ADDRESS}\nbasicConstraints=CA:FALSE\n"))?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &authority_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &names,
            "-out",
            &certificate,
        ])?;
        let passwords = run(Command::new("htpasswd").args(["-Bbn", "me", password]))?.ok()?;
        fs::write(path("passwords"), passwords)?;
        let more = format!(
            "  tls: {{certificate: {certificate}, key: {key}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("passwords")
        );
        Self::start(network, folder, &format!("{ADDRESS}:5001"), &more)
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
        let registry = Self { folder, process, host: host.to_owned() };
        eventually("The registry listens", || network.answers(host))?;
        Ok(registry)
    }

    /// The authority that its clients have to know.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
