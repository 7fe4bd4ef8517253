//! Makes the anonymous guest one machine: what the seed says, put where programs look for it. The
//! secrets stay on the tmpfs of `/run` and are readable by root alone.

use super::log;
use base64::Engine as _;
use guest_contract::{Seed, paths::AUTHORITIES};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The SSH server's private key.
pub(super) const HOST_KEY: &str = "/run/machine/ssh/host_key";
/// Who may log in.
pub(super) const AUTHORIZED_KEYS: &str = "/run/machine/ssh/authorized_keys";

/// Less would not make the kernel's generator ready.
const MIN_ENTROPY: usize = 32;

#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("The seed's host name is not a valid one")]
    HostName,
    #[error("The seed's entropy is not base64 of at least {MIN_ENTROPY} bytes")]
    Entropy,
    #[error("Could not set the host name")]
    SetHostName(#[source] nix::Error),
    #[error("Could not write {0}")]
    Write(&'static str, #[source] io::Error),
}

/// Applies everything of the seed but the clock and the engine's settings.
pub(super) fn apply(seed: &Seed) -> Result<(), IdentityError> {
    if !is_host_name(&seed.hostname) {
        return Err(IdentityError::HostName);
    }
    add_entropy(&seed.entropy)?;
    nix::unistd::sethostname(&seed.hostname).map_err(IdentityError::SetHostName)?;
    write("/etc/hostname", &format!("{}\n", seed.hostname), 0o644)?;
    write("/etc/hosts", &hosts(&seed.hostname), 0o644)?;
    write(HOST_KEY, &seed.host_key, 0o600)?;
    let mut keys = seed.authorized_keys.join("\n");
    keys.push('\n');
    write(AUTHORIZED_KEYS, &keys, 0o600)?;
    trust(&seed.engine.certificate_authorities, AUTHORITIES)
}

/// Adds authorities to those of the image, which stands in memory and is fresh with every boot.
fn trust(authorities: &[String], bundle: &'static str) -> Result<(), IdentityError> {
    if authorities.is_empty() {
        return Ok(());
    }
    let append = || -> io::Result<()> {
        let mut bundle = OpenOptions::new().append(true).create(true).open(bundle)?;
        authorities.iter().try_for_each(|authority| bundle.write_all(format!("\n{authority}\n").as_bytes()))
    };
    append().map_err(|error| IdentityError::Write(bundle, error))
}

fn add_entropy(base64: &str) -> Result<(), IdentityError> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64.trim())
        .map_err(|_| IdentityError::Entropy)?;
    if bytes.len() < MIN_ENTROPY {
        return Err(IdentityError::Entropy);
    }
    // The kernel seeds itself from other sources as well: without this it is late, not wrong.
    if let Err(error) = engine_linux::entropy::add(&bytes) {
        log::line(format_args!("Could not add the seed's entropy: {error}"));
    }
    Ok(())
}

fn hosts(hostname: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    )
}

/// An RFC 1123 label.
fn is_host_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Replaces a file; its mode is right from the first byte on.
fn write(path: &'static str, content: &str, mode: u32) -> Result<(), IdentityError> {
    let replace = || -> io::Result<()> {
        let new = Path::new(path).with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&new, path)
    };
    replace().map_err(|error| IdentityError::Write(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_rfc_1123_labels() {
        for good in ["dev", "a", "web-1", "3com", &"x".repeat(63)] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a b", "a\nb", &"x".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn authorities_stand_behind_the_images_own() {
        let path = std::env::temp_dir().join(format!("authorities-{}", std::process::id()));
        fs::write(&path, "image's").unwrap();
        let bundle: &'static str = path.display().to_string().leak();
        trust(&[], bundle).unwrap();
        trust(&["one".to_owned(), "two".to_owned()], bundle).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "image's\none\n\ntwo\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn short_or_garbled_entropy_is_refused() {
        assert!(matches!(add_entropy("not base64!"), Err(IdentityError::Entropy)));
        assert!(matches!(add_entropy("c2hvcnQ="), Err(IdentityError::Entropy)));
    }
}
