//! A certificate authority of a test's own, made with `openssl`.

use crate::run::run;
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Its files are gone when it is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// What somebody proves himself with.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let authority = Self { folder: TempDir::with_prefix("ca-")? };
        let (certificate, key) = (authority.path("ca.crt"), authority.path("ca.key"));
        let mut args = vec!["req", "-x509", "-days", "2", "-subj", "/CN=a test's authority"];
        args.extend(CURVE);
        args.extend(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout", &key, "-out", &certificate]);
        openssl(&args)?;
        Ok(authority)
    }

    /// What has to be known to trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A certificate for these names (`DNS:a.example,IP:192.0.2.1`), or for a client that has none.
    pub fn issue(&self, file: &str, names: &str) -> Result<Identity> {
        let path = |ending: &str| self.path(&format!("{file}.{ending}"));
        let (key, request, certificate, extensions) = (path("key"), path("csr"), path("crt"), path("ext"));
        let mut args = vec!["req", "-subj", "/CN=somebody", "-keyout", &key, "-out", &request];
        args.extend(CURVE);
        openssl(&args)?;
        let names = if names.is_empty() { String::new() } else { format!("subjectAltName={names}\n") };
        fs::write(&extensions, format!("{names}basicConstraints=CA:FALSE\n"))?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &self.path("ca.crt"),
            "-CAkey",
            &self.path("ca.key"),
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ])?;
        Ok(Identity { certificate: certificate.into(), key: key.into() })
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_string_lossy().into_owned()
    }
}

fn openssl(args: &[&str]) -> Result<()> {
    run(Command::new("openssl").args(args))?.ok().map(drop)
}

/// Puts an authority, and perhaps a client's identity, where an engine looks for a registry's.
pub fn trust(
    certificates: &Path,
    host: &str,
    authority: &Authority,
    client: Option<&Identity>,
) -> Result<()> {
    let folder = certificates.join(host);
    fs::create_dir_all(&folder)?;
    fs::copy(authority.certificate(), folder.join("ca.crt"))?;
    if let Some(client) = client {
        fs::copy(&client.certificate, folder.join("client.cert"))?;
        fs::copy(&client.key, folder.join("client.key"))?;
    }
    Ok(())
}
