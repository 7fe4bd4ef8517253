//! The user's `known_hosts`: which keys a host was seen to have, so that a host the user has talked to
//! before needs no introduction.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Every public key that `text` lists for the host, as `ALGORITHM BASE64`; revoked keys and keys of
/// certificate authorities are none.
pub(crate) fn keys(text: &str, host: &str, port: u16) -> Vec<String> {
    let name = if port == 22 { host.to_lowercase() } else { format!("[{}]:{port}", host.to_lowercase()) };
    let entries = text.lines().map(str::split_whitespace).map(Iterator::collect::<Vec<_>>);
    let mut known = Vec::new();
    let mut revoked = Vec::new();
    for entry in entries {
        match entry.as_slice() {
            ["@revoked", names, algorithm, key, ..] if matches(names, &name) => {
                revoked.push(format!("{algorithm} {key}"));
            }
            [names, algorithm, key, ..] if !names.starts_with(['@', '#']) && matches(names, &name) => {
                known.push(format!("{algorithm} {key}"));
            }
            _ => {}
        }
    }
    known.retain(|key| !revoked.contains(key));
    known
}

fn matches(names: &str, host: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return is_hash_of(hashed, host);
    }
    let mut found = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern.as_bytes(), host.as_bytes()) => return false,
            Some(_) => {}
            None => found |= glob(pattern.to_lowercase().as_bytes(), host.as_bytes()),
        }
    }
    found
}

/// `SALT|HASH`, both base64: HMAC-SHA1 of the name.
fn is_hash_of(hashed: &str, host: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    hmac::verify(&key, host.as_bytes(), &hash).is_ok()
}

/// `*` and `?`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, text) || text.split_first().is_some_and(|(_, t)| glob(pattern, t))
        }
        (Some((b'?', rest)), Some((_, text))) => glob(rest, text),
        (Some((p, rest)), Some((t, text))) if p == t => glob(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_hashed_and_patterns() {
        // Hashed by `ssh-keygen -H` from "10.0.0.7" and "[ci.example]:2222".
        let hashed = |host: &str| {
            let salt = b"0123456789abcdefghij";
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt), host.as_bytes());
            format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(tag))
        };
        let text = format!(
            "# comment\n{} ssh-ed25519 AAA1 me\n{} ssh-rsa AAA2\nci.example,10.0.0.8 ssh-ed25519 AAA3\n\
             *.lan,!bad.lan ecdsa-sha2-nistp256 AAA4\n@cert-authority *.lan ssh-ed25519 AAA5\n\
             old.lan ssh-ed25519 AAA6\n@revoked old.lan ssh-ed25519 AAA6\n",
            hashed("10.0.0.7"),
            hashed("[ci.example]:2222"),
        );
        let of = |host, port| keys(&text, host, port);
        assert_eq!(of("10.0.0.7", 22), ["ssh-ed25519 AAA1"]);
        assert_eq!(of("ci.example", 2222), ["ssh-rsa AAA2"]);
        assert_eq!(of("CI.example", 22), ["ssh-ed25519 AAA3"]);
        assert_eq!(of("good.lan", 22), ["ecdsa-sha2-nistp256 AAA4"]);
        assert!(of("bad.lan", 22).is_empty() && of("10.0.0.7", 2222).is_empty());
        assert_eq!(of("old.lan", 22), ["ecdsa-sha2-nistp256 AAA4"], "a revoked key is no key");
    }

    #[test]
    fn a_line_hashed_by_openssh_is_understood() {
        // `ssh-keygen -H` of "localhost".
        let Ok(made) = std::process::Command::new("ssh-keygen").arg("-V").output() else { return };
        drop(made);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0tnLFLMfYvAmLBTsYrHHYyKc5pHBQ5YhBKlQr8Vw1C";
        std::fs::write(&file, format!("localhost {key}\n")).unwrap();
        let run = std::process::Command::new("ssh-keygen").arg("-H").arg("-f").arg(&file).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("|1|"), "{text}");
        assert_eq!(keys(&text, "localhost", 22), [key]);
    }
}
