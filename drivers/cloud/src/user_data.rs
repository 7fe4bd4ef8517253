//! What cloud-init is told at the first boot: which host key the machine has and who may log in. That is
//! why no key has to be trusted on first use.
//!
//! Whatever runs in the VM can read user-data from the provider's metadata service, containers included.

use machine_drivers::{DriverError, Identity, MachineSpec};
use std::{fmt::Write as _, fs};

/// Between the parts of a document of several; cannot occur in ours.
const BOUNDARY: &str = "==machine-user-data==";

/// The document for `spec`: who has one of `more_keys` may log in as well; `extra` is the user's own, in any
/// form that cloud-init knows.
pub(crate) fn document(spec: &MachineSpec, more_keys: &[String], extra: Option<&str>) -> String {
    let ours = cloud_config(&spec.identity, more_keys);
    let Some(extra) = extra.filter(|extra| !extra.trim().is_empty()) else { return ours };
    let mut document = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n");
    // Ours last, so that it wins.
    for (kind, part) in [(kind(extra), extra), ("text/cloud-config", &ours)] {
        // Writing to a string cannot fail.
        _ = write!(
            document,
            "\n--{BOUNDARY}\nContent-Type: {kind}; charset=\"utf-8\"\n\n{}\n",
            part.trim_end()
        );
    }
    _ = write!(document, "\n--{BOUNDARY}--\n");
    document
}

/// The text of `--…-userdata FILE`.
pub(crate) fn read(path: Option<&str>) -> Result<Option<String>, DriverError> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| DriverError::File {
            action: "read the user-data",
            path: path.to_owned(),
            source,
        })
    };
    path.map(read).transpose()
}

fn cloud_config(identity: &Identity, more_keys: &[String]) -> String {
    let authorized = [&identity.authorized_key].into_iter().chain(more_keys);
    let authorized: String = authorized.map(|key| format!("  - {}\n", key.trim())).collect();
    let key: String = identity.host_private.trim().lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "#cloud-config\n\
         disable_root: false\n\
         ssh_pwauth: false\n\
         ssh_deletekeys: true\n\
         ssh_keys:\n  ed25519_private: |\n{key}  ed25519_public: {}\n\
         ssh_authorized_keys:\n{authorized}",
        identity.host_public.trim(),
    )
}

/// The MIME type that cloud-init expects, by the first line.
fn kind(text: &str) -> &'static str {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("#!") {
        "text/x-shellscript"
    } else if first.starts_with("#include") {
        "text/x-include-url"
    } else if first.starts_with("## template: jinja") {
        "text/jinja2"
    } else {
        "text/cloud-config"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "dev".to_owned(),
            machine_id: "id".to_owned(),
            owner: "store".to_owned(),
            identity: Identity {
                authorized_key: "ssh-ed25519 AAAA machine\n".to_owned(),
                host_public: "ssh-ed25519 BBBB machine-host\n".to_owned(),
                host_private: "-----BEGIN-----\nsecret\n-----END-----\n".to_owned(),
            },
            directory: "/d".into(),
            cache: "/c".into(),
            image: None,
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            options: [].into(),
        }
    }

    #[test]
    fn the_keys_are_seeded() {
        let more = ["ssh-rsa CCCC me@home".to_owned()];
        assert!(document(&spec(), &more, None).ends_with(" machine\n  - ssh-rsa CCCC me@home\n"));
        let document = document(&spec(), &[], None);
        assert_eq!(
            document,
            "#cloud-config\ndisable_root: false\nssh_pwauth: false\nssh_deletekeys: true\nssh_keys:\n  \
             ed25519_private: |\n    -----BEGIN-----\n    secret\n    -----END-----\n  ed25519_public: \
             ssh-ed25519 BBBB machine-host\nssh_authorized_keys:\n  - ssh-ed25519 AAAA machine\n"
        );
        assert!(!format!("{:?}", spec()).contains("secret"));
    }

    #[test]
    fn the_users_own_stands_beside_ours() {
        let document = document(&spec(), &[], Some("#!/bin/sh\necho hi\n"));
        assert!(document.starts_with("MIME-Version: 1.0\n"), "{document}");
        assert!(
            document.contains("Content-Type: text/x-shellscript; charset=\"utf-8\"\n\n#!/bin/sh\necho hi\n")
        );
        assert!(document.contains("Content-Type: text/cloud-config; charset=\"utf-8\"\n\n#cloud-config\n"));
        assert!(document.ends_with("--==machine-user-data==--\n"));
    }
}
