//! Who may log in: `authorized_keys` as OpenSSH writes it, one public key a line.

use russh::keys::{PublicKey, PublicKeyBase64};
use std::io;
use std::path::Path;

/// The keys of one connection's time.
#[derive(Debug, Default)]
pub(super) struct AuthorizedKeys {
    keys: Vec<PublicKey>,
}

impl AuthorizedKeys {
    pub(super) async fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&tokio::fs::read_to_string(path).await?))
    }

    pub(super) fn contains(&self, key: &PublicKey) -> bool {
        let wanted = key.public_key_bytes();
        self.keys.iter().any(|known| known.public_key_bytes() == wanted)
    }

    /// A line with options (`from="…"`, `command="…"`) grants nothing: the options restrict the key,
    /// and this server does not know them.
    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { keys: lines.filter_map(|line| PublicKey::from_openssh(line).ok()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    #[test]
    fn a_key_is_known_whatever_its_comment() {
        let keys = AuthorizedKeys::parse(&format!("# people\n\n{ALICE}\nrubbish\n"));
        let other_comment = ALICE.replace("user@example.com", "laptop");
        assert!(keys.contains(&PublicKey::from_openssh(&other_comment).unwrap()));
        assert!(!keys.contains(&PublicKey::from_openssh(BOB).unwrap()));
    }

    #[test]
    fn a_restricted_key_grants_nothing() {
        let keys = AuthorizedKeys::parse(&format!("command=\"true\" {ALICE}\n"));
        assert!(!keys.contains(&PublicKey::from_openssh(ALICE).unwrap()));
    }
}
