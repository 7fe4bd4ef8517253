//! The machine's two Ed25519 key pairs: ours (who may log in) and its own (who it is).
//!
//! Both are made on this host before the VM exists; the guest gets its host key with the seed. That is
//! why no connection ever has to trust a key on first use.

use crate::{file_error::FileError, store::files};
use russh::keys::ssh_key::{self, LineEnding, private::Ed25519Keypair};
use russh::keys::{PrivateKey, PublicKey};
use std::{
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// How keys in OpenSSH's own format begin.
const OPENSSH: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Keys cannot be made, read or understood.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file holds something else.
    #[error("{} is not a key in OpenSSH format", .path.display())]
    Format {
        path: PathBuf,
        #[source]
        source: ssh_key::Error,
    },
    /// A key file is neither in OpenSSH's format nor in another one that is known.
    #[error("{} is no private key", .path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: russh::keys::Error,
    },
    /// A private key needs a passphrase.
    #[error("{} has a passphrase, which nobody is there to type later", .path.display())]
    Encrypted { path: PathBuf },
    /// A host key was given as something that is none.
    #[error("{line:?} is neither an OpenSSH public key nor a fingerprint (SHA256:…)")]
    Pinned {
        line: String,
        #[source]
        source: ssh_key::Error,
    },
    /// The kernel gave no randomness.
    #[error("Could not read /dev/urandom")]
    Random(#[source] io::Error),
}

/// What the seed needs of the keys.
#[derive(Clone)]
pub struct MachineKeys {
    /// Who may log in: one `authorized_keys` line.
    pub client_public: String,
    /// The machine's host key, public half, OpenSSH format.
    pub host_public: String,
    /// The machine's host key, OpenSSH private key format. A secret.
    pub host_private: String,
}

impl fmt::Debug for MachineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineKeys")
            .field("client_public", &self.client_public)
            .field("host_public", &self.host_public)
            .finish_non_exhaustive()
    }
}

/// Makes the pairs that `directory` does not hold yet and returns all. Twice is harmless: a private key
/// that exists is kept, its public half is written again.
pub fn generate(directory: &Path) -> Result<MachineKeys, KeyError> {
    for (private_name, public_name, comment) in [
        (files::CLIENT_KEY, files::CLIENT_KEY_PUB, "machine"),
        (files::HOST_KEY, files::HOST_KEY_PUB, "machine-host"),
    ] {
        let path = directory.join(private_name);
        let key = if path.exists() {
            read_private(&path)?.0
        } else {
            let key = new_key(comment, &path)?;
            let text = key.to_openssh(LineEnding::LF).map_err(|source| format_error(&path, source))?;
            write_atomically(directory, private_name, text.as_bytes(), 0o600)?;
            key
        };
        let line = key.public_key().to_openssh().map_err(|source| format_error(&path, source))?;
        write_atomically(directory, public_name, format!("{line}\n").as_bytes(), 0o644)?;
    }
    load(directory)
}

/// Reads the pairs that [`generate`] made.
pub fn load(directory: &Path) -> Result<MachineKeys, KeyError> {
    let public = |name: &str| -> Result<String, KeyError> {
        let path = directory.join(name);
        let (_, text) = read_public(&path)?;
        Ok(text.trim().to_owned())
    };
    let (_, host_private) = read_private(&directory.join(files::HOST_KEY))?;
    Ok(MachineKeys {
        client_public: public(files::CLIENT_KEY_PUB)?,
        host_public: public(files::HOST_KEY_PUB)?,
        host_private,
    })
}

/// Our private key for the machine.
pub(super) fn client_key(directory: &Path) -> Result<PrivateKey, KeyError> {
    Ok(read_private(&directory.join(files::CLIENT_KEY))?.0)
}

/// The key the machine must show.
pub(super) fn host_key(directory: &Path) -> Result<PublicKey, KeyError> {
    Ok(read_public(&directory.join(files::HOST_KEY_PUB))?.0)
}

/// A private key of the user's at `path`, of any algorithm, in OpenSSH's format or in PEM.
pub(super) fn foreign_key(path: &Path) -> Result<PrivateKey, KeyError> {
    let text = read(path)?;
    if !text.contains(OPENSSH) {
        // docker-machine's plugins write them so.
        return russh::keys::decode_secret_key(&text, None).map_err(|source| match source {
            russh::keys::Error::KeyIsEncrypted => KeyError::Encrypted { path: path.to_owned() },
            source => KeyError::Pem { path: path.to_owned(), source },
        });
    }
    let key = PrivateKey::from_openssh(&text).map_err(|source| format_error(path, source))?;
    if key.is_encrypted() { Err(KeyError::Encrypted { path: path.to_owned() }) } else { Ok(key) }
}

/// The public key written as `line`.
pub(super) fn pinned_key(line: &str) -> Result<PublicKey, KeyError> {
    PublicKey::from_openssh(line.trim()).map_err(|source| KeyError::Pinned { line: line.to_owned(), source })
}

/// The host key that was pinned at the first contact; `None` when there was none yet.
pub(super) fn read_pinned(directory: &Path) -> Result<Option<PublicKey>, KeyError> {
    let path = directory.join(files::PINNED_HOST_KEY);
    match fs::read_to_string(&path) {
        Ok(line) => pinned_key(&line).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", &path, error).into()),
    }
}

/// Pins it, for good: whole or not at all.
pub(super) fn pin(directory: &Path, key: &PublicKey) -> Result<(), KeyError> {
    let line =
        key.to_openssh().map_err(|source| format_error(&directory.join(files::PINNED_HOST_KEY), source))?;
    write_atomically(directory, files::PINNED_HOST_KEY, line.as_bytes(), 0o600)
}

fn new_key(comment: &str, path: &Path) -> Result<PrivateKey, KeyError> {
    let mut seed = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut seed))
        .map_err(KeyError::Random)?;
    PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), comment)
        .map_err(|source| format_error(path, source))
}

fn read_private(path: &Path) -> Result<(PrivateKey, String), KeyError> {
    let text = read(path)?;
    let key = PrivateKey::from_openssh(&text).map_err(|source| format_error(path, source))?;
    Ok((key, text))
}

fn read_public(path: &Path) -> Result<(PublicKey, String), KeyError> {
    let text = read(path)?;
    let key = PublicKey::from_openssh(text.trim()).map_err(|source| format_error(path, source))?;
    Ok((key, text))
}

fn read(path: &Path) -> Result<String, KeyError> {
    Ok(fs::read_to_string(path).map_err(FileError::on("read", path))?)
}

fn format_error(path: &Path, source: ssh_key::Error) -> KeyError {
    KeyError::Format { path: path.to_owned(), source }
}

/// Whoever reads `name` sees all of `content` or none of it, even after a power cut.
fn write_atomically(directory: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), KeyError> {
    let path = directory.join(name);
    let partial = directory.join(format!("{}{name}", files::PARTIAL_PREFIX));
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
        // A leftover of a killed predecessor keeps its own mode.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(directory)?.sync_all()
    };
    Ok(write().map_err(FileError::on("write", &path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docker-machine's plugins write them; what `ssh-keygen -l` says of this one is known.
    #[test]
    fn a_key_in_pem_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id_rsa");
        fs::write(&path, include_str!("test_key.pem")).unwrap();
        let key = foreign_key(&path).unwrap();
        let fingerprint = key.public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
        assert_eq!(fingerprint, "SHA256:q7chtDb8fWKF8PYnFp/syXq6Y95xzxRbQh2v1uCNHGQ");
        fs::write(&path, "no key").unwrap();
        assert!(foreign_key(&path).is_err());
    }

    #[test]
    fn keys_are_made_once_and_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = generate(directory.path()).unwrap();
        let again = generate(directory.path()).unwrap();
        assert_eq!(first.host_private, again.host_private);
        assert_eq!(first.client_public, again.client_public);
        assert!(first.client_public.starts_with("ssh-ed25519 "));
        for name in [files::CLIENT_KEY, files::HOST_KEY] {
            let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let pinned = host_key(directory.path()).unwrap();
        let own = PrivateKey::from_openssh(&first.host_private).unwrap();
        assert_eq!(pinned.key_data(), own.public_key().key_data());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let keys = generate(directory.path()).unwrap();
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(files::HOST_KEY), "garbage").unwrap();
        let error = generate(directory.path()).unwrap_err();
        assert!(error.to_string().contains(files::HOST_KEY), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join(files::HOST_KEY)).unwrap(), "garbage");
    }
}
