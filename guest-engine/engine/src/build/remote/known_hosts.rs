//! Which keys SSH servers are known to have: what OpenSSH's `known_hosts` says.

use crate::build::ignore::glob;
use aws_lc_rs::hmac;
use russh::keys::{
    PublicKey,
    ssh_key::known_hosts::{Entry, HostPatterns, Marker},
};

/// The keys that `text` lists for the host, without those that are revoked. Keys of authorities are none.
pub(super) fn keys(text: &str, host: &str, port: u16) -> Vec<PublicKey> {
    let host = host.to_lowercase();
    let name = if port == 22 { host } else { format!("[{host}]:{port}") };
    let (mut known, mut revoked) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        // Lines of kinds that are not known here name nobody.
        let Ok(entry) = line.parse::<Entry>() else { continue };
        if names(entry.host_patterns(), &name) {
            match entry.marker() {
                None => known.push(entry.public_key().clone()),
                Some(Marker::Revoked) => revoked.push(entry.public_key().key_data().clone()),
                Some(Marker::CertAuthority) => {}
            }
        }
    }
    known.retain(|key| !revoked.contains(key.key_data()));
    known
}

fn names(patterns: &HostPatterns, host: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, host.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let matches = |pattern: &str| {
                // Brackets stand around a host that has a port.
                glob(&pattern.to_lowercase().replace('\\', "\\\\").replace('[', "\\["), host)
            };
            let mut found = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(not) if matches(not) => return false,
                    Some(_) => {}
                    None => found |= matches(pattern),
                }
            }
            found
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0tnLFLMfYvAmLBTsYrHHYyKc5pHBQ5YhBKlQr8Vw1C";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn hosts_are_named_plainly_hashed_and_by_patterns() {
        let hashed = |host: &str| {
            let salt = b"0123456789abcdefghij";
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt), host.as_bytes());
            format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(tag))
        };
        let text = format!(
            "# a comment\n\n{} {ONE} me\n{} {TWO}\nci.example,10.0.0.8\t{ONE}\n*.lan,!bad.lan {TWO}\n\
             @cert-authority *.ca {ONE}\nold {ONE}\n@revoked  old {ONE}\n[a.example]:2222 {TWO}\nbroken line\n",
            hashed("10.0.0.7"),
            hashed("[ci.example]:2222"),
        );
        let of = |host, port| {
            keys(&text, host, port).iter().map(|key| key.to_openssh().unwrap()).collect::<Vec<_>>()
        };
        let one = |line: &str| vec![line.parse::<PublicKey>().unwrap().to_openssh().unwrap()];
        assert_eq!(of("10.0.0.7", 22), one(&format!("{ONE} me")));
        assert_eq!(of("ci.example", 2222), one(TWO));
        assert_eq!(of("CI.example", 22), one(ONE));
        assert_eq!(of("good.lan", 22), one(TWO));
        assert_eq!(of("a.example", 2222), one(TWO));
        for (host, port) in [
            ("bad.lan", 22),
            ("10.0.0.7", 2222),
            ("a.example", 22),
            ("x.ca", 22),
            ("old", 22),
            ("e", 22),
            ("nobody", 22),
        ] {
            assert!(of(host, port).is_empty(), "{host} {port}");
        }
    }
}
