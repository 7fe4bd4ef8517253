//! The certificates of the TLS endpoint, in docker-machine's files: one authority and one client certificate
//! for the store, and for each machine a server's, with copies of the rest beside it, where clients look.
//!
//! ```text
//!   certs/ca.pem ──signs──▶ certs/cert.pem (client) ──copied──▶ machines/NAME/{ca,cert,key}.pem
//!          └───────signs──▶ machines/NAME/server.pem, for 127.0.0.1, localhost, NAME and --tls-san
//! ```
//!
//! An address that could change stands in no certificate, so none goes wrong when one does. What is missing,
//! damaged, signed by somebody else or about to expire is made anew, one process at a time.

mod inspect;
mod issue;

use crate::{file_error::FileError, store::files};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Where the store's part is. docker-machine let users choose each file, and so do we.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateFiles {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// Its key.
    pub authority_key: PathBuf,
    /// The client's certificate.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

/// A certificate that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// The authority; every other certificate follows.
    Authority(PathBuf),
    /// The client's.
    Client(PathBuf),
    /// The machine's.
    Server(PathBuf),
}

/// What to make although it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// Nothing.
    Nothing,
    /// The machine's server certificate.
    Server,
    /// The authority, and so all.
    All,
}

/// Certificates cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Making one failed.
    #[error("Could not make the certificate {}", .path.display())]
    Issue {
        path: PathBuf,
        #[source]
        source: rcgen::Error,
    },
    /// A name that no certificate can bear.
    #[error("\"{name}\" is no host name and no address, so no certificate can be made for it")]
    Name { name: String },
}

impl CertificateFiles {
    /// docker-machine's default: `certs` in the store.
    pub fn in_store(root: &Path) -> Self {
        let folder = root.join(files::CERTS);
        Self {
            authority: folder.join(files::CA),
            authority_key: folder.join(files::CA_KEY),
            client: folder.join(files::CERT),
            client_key: folder.join(files::CERT_KEY),
        }
    }

    /// The certificates of the machine in `folder`, reached by any of `hosts` besides this host's loopback:
    /// makes what is not good, and tells what that was. Thirty at once from an empty store make one authority.
    pub fn ensure(
        &self,
        folder: &Path,
        hosts: &[String],
        renew: Renew,
    ) -> Result<Vec<Made>, CertificateError> {
        let hosts = all_hosts(hosts)?;
        let _lock = self.lock()?;
        let mut made = Vec::new();
        let authority = self.ensure_authority(renew == Renew::All, &mut made)?;
        self.ensure_client(&authority, &mut made)?;
        let server = folder.join(files::SERVER_CERT);
        let server_key = folder.join(files::SERVER_KEY);
        let good = renew == Renew::Nothing
            && inspect::is_good_leaf(&read(&server)?, &read(&server_key)?, &authority.certificate, &hosts);
        if !good {
            let (certificate, key) =
                issue::server(&authority, &hosts).map_err(|source| issue_error(&server, source))?;
            write(&server_key, &key, 0o600)?;
            write(&server, &certificate, 0o644)?;
            made.push(Made::Server(server));
        }
        for (from, to, mode) in [
            (&self.authority, files::CA, 0o644),
            (&self.client, files::CERT, 0o644),
            (&self.client_key, files::CERT_KEY, 0o600),
        ] {
            let (content, copy) = (read(from)?, folder.join(to));
            if read(&copy)? != content {
                write(&copy, &content, mode)?;
            }
        }
        Ok(made)
    }

    fn ensure_authority(
        &self,
        renew: bool,
        made: &mut Vec<Made>,
    ) -> Result<issue::Authority, CertificateError> {
        let (certificate, key) = (read(&self.authority)?, read(&self.authority_key)?);
        if !renew && inspect::is_good_authority(&certificate, &key) {
            return Ok(issue::Authority { certificate, key });
        }
        let authority = issue::authority().map_err(|source| issue_error(&self.authority, source))?;
        // The key first: a certificate whose key is another's is noticed, and made again.
        write(&self.authority_key, &authority.key, 0o600)?;
        write(&self.authority, &authority.certificate, 0o644)?;
        made.push(Made::Authority(self.authority.clone()));
        Ok(authority)
    }

    fn ensure_client(
        &self,
        authority: &issue::Authority,
        made: &mut Vec<Made>,
    ) -> Result<(), CertificateError> {
        let (certificate, key) = (read(&self.client)?, read(&self.client_key)?);
        if inspect::is_good_leaf(&certificate, &key, &authority.certificate, &[]) {
            return Ok(());
        }
        let (certificate, key) =
            issue::client(authority).map_err(|source| issue_error(&self.client, source))?;
        write(&self.client_key, &key, 0o600)?;
        write(&self.client, &certificate, 0o644)?;
        made.push(Made::Client(self.client.clone()));
        Ok(())
    }

    /// Held while certificates are looked at and made; ends with its holder.
    fn lock(&self) -> Result<File, CertificateError> {
        let folder = self.authority.parent().unwrap_or(Path::new("/"));
        private_folder(folder).map_err(FileError::on("create", folder))?;
        let path = folder.join(files::CERTS_LOCK);
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        Ok(lock().map_err(FileError::on("lock", &path))?)
    }
}

/// What every server certificate is for, and what is asked for besides.
fn all_hosts(hosts: &[String]) -> Result<Vec<String>, CertificateError> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    for host in hosts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._*:".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(CertificateError::Name { name: host.clone() });
        }
        // An address in its usual spelling, so that it can be found again.
        let host = host.parse::<IpAddr>().map_or_else(|_| host.clone(), |address| address.to_string());
        if !all.contains(&host) {
            all.push(host);
        }
    }
    Ok(all)
}

/// The file's text; none when it is not there or no text, which is as good as not there.
fn read(path: &Path) -> Result<String, CertificateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8(bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(FileError::new("read", path, error).into()),
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whoever reads meanwhile finds the old file or the new one, whole.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{}{name}", files::PARTIAL_PREFIX));
    let replace = || -> io::Result<()> {
        private_folder(path.parent().unwrap_or(Path::new("/")))?;
        _ = fs::remove_file(&partial);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&partial, path)
    };
    Ok(replace().map_err(FileError::on("write", path))?)
}

fn issue_error(path: &Path, source: rcgen::Error) -> CertificateError {
    CertificateError::Issue { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt, process::Command};

    struct Place {
        root: tempfile::TempDir,
        files: CertificateFiles,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let files = CertificateFiles::in_store(root.path());
        fs::create_dir(root.path().join("dev")).unwrap();
        Place { root, files }
    }

    impl Place {
        fn dev(&self) -> PathBuf {
            self.root.path().join("dev")
        }

        fn ensure(&self, renew: Renew) -> Vec<Made> {
            self.files.ensure(&self.dev(), &["dev".to_owned()], renew).unwrap()
        }
    }

    #[test]
    fn they_are_made_once_and_are_private() {
        let place = place();
        assert!(matches!(
            place.ensure(Renew::Nothing)[..],
            [Made::Authority(_), Made::Client(_), Made::Server(_)]
        ));
        assert_eq!(place.ensure(Renew::Nothing), []);
        assert!(matches!(place.ensure(Renew::Server)[..], [Made::Server(_)]));
        for key in [
            place.files.authority_key.clone(),
            place.files.client_key.clone(),
            place.dev().join("key.pem"),
            place.dev().join("server-key.pem"),
        ] {
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn what_is_damaged_lost_or_somebody_elses_is_made_again() {
        let place = place();
        place.ensure(Renew::Nothing);
        fs::write(place.dev().join("server.pem"), "x").unwrap();
        assert!(matches!(place.ensure(Renew::Nothing)[..], [Made::Server(_)]));
        fs::remove_file(&place.files.client_key).unwrap();
        assert!(matches!(place.ensure(Renew::Nothing)[..], [Made::Client(_)]));
        assert!(matches!(
            place.ensure(Renew::All)[..],
            [Made::Authority(_), Made::Client(_), Made::Server(_)]
        ));
        // A killed command wrote the key but not the certificate.
        fs::write(&place.files.authority_key, issue::authority().unwrap().key).unwrap();
        assert_eq!(place.ensure(Renew::Nothing).len(), 3);
        let more = ["dev".to_owned(), "build.example".to_owned(), "10.1.2.3".to_owned()];
        assert_eq!(place.files.ensure(&place.dev(), &more, Renew::Nothing).unwrap().len(), 1);
        assert_eq!(place.files.ensure(&place.dev(), &more, Renew::Nothing).unwrap().len(), 0);
        assert!(place.files.ensure(&place.dev(), &["a b".to_owned()], Renew::Nothing).is_err());
    }

    #[test]
    fn thirty_at_once_make_one_authority() {
        let place = place();
        let authorities = std::thread::scope(|scope| {
            let all: Vec<_> = (0..30)
                .map(|number| {
                    let (folder, files) = (place.root.path().join(format!("m{number}")), &place.files);
                    scope.spawn(move || {
                        fs::create_dir(&folder).unwrap();
                        files.ensure(&folder, &[], Renew::Nothing).unwrap()
                    })
                })
                .collect();
            let made = all.into_iter().flat_map(|one| one.join().unwrap());
            made.filter(|made| !matches!(made, Made::Server(_))).count()
        });
        assert_eq!(authorities, 2);
    }

    fn openssl(arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn text(path: &Path) -> String {
        path.display().to_string()
    }

    #[test]
    fn openssl_agrees() {
        let place = place();
        place.ensure(Renew::Nothing);
        let (ca, server) = (text(&place.files.authority), text(&place.dev().join("server.pem")));
        let verify = ["verify", "-x509_strict", "-CAfile", &ca];
        openssl(&[&verify[..], &["-purpose", "sslserver", "-verify_ip", "127.0.0.1", &server]].concat());
        openssl(&[&verify[..], &["-purpose", "sslserver", "-verify_hostname", "dev", &server]].concat());
        openssl(&[&verify[..], &["-purpose", "sslclient", &text(&place.files.client)]].concat());
    }

    #[test]
    fn docker_machines_rsa_authority_is_used_until_its_last_month() {
        let place = place();
        fs::create_dir(place.root.path().join("certs")).unwrap();
        let (ca, key) = (text(&place.files.authority), text(&place.files.authority_key));
        openssl(&["genrsa", "-traditional", "-out", &key, "2048"]);
        let sign = ["req", "-x509", "-new", "-key", &key, "-subj", "/O=me", "-out", &ca, "-days"];
        openssl(&[&sign[..], &["1080"]].concat());
        assert!(matches!(place.ensure(Renew::Nothing)[..], [Made::Client(_), Made::Server(_)]));
        openssl(&["verify", "-CAfile", &ca, &text(&place.dev().join("server.pem"))]);
        openssl(&[&sign[..], &["10"]].concat());
        assert_eq!(place.ensure(Renew::Nothing).len(), 3);
    }
}
