//! Kernel parameters of a container: those of its own namespaces, and no others.

use super::Namespace;
use bollard_stubs::models::HostConfig;
use std::collections::HashMap;

/// What belongs to an IPC namespace, besides `fs.mqueue.`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// What the user sets over Docker's two defaults, which make sense only in a network namespace of its
/// own. Or the OCI runtime's sentence for one that would reach beyond the container.
pub(super) fn of(
    host: &HostConfig,
    network: &Namespace,
    ipc: &Namespace,
) -> Result<HashMap<String, String>, String> {
    let mut sysctls = HashMap::new();
    if *network != Namespace::Host {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in host.sysctls.iter().flatten() {
        check(name, host, network, ipc)?;
        sysctls.insert(name.clone(), value.clone());
    }
    Ok(sysctls)
}

fn check(name: &str, host: &HostConfig, network: &Namespace, ipc: &Namespace) -> Result<(), String> {
    let dotted = dotted(name);
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return match ipc {
            Namespace::Host => Err(format!("sysctl {dotted:?} is not allowed in the hosts ipc namespace")),
            _ => Ok(()),
        };
    }
    if dotted.starts_with("net.") {
        return match network {
            Namespace::Host => Err(format!("sysctl {dotted:?} not allowed in host network namespace")),
            _ => Ok(()),
        };
    }
    match (host.uts_mode.as_deref() == Some("host"), dotted.as_str()) {
        (false, "kernel.domainname") => Ok(()),
        (false, "kernel.hostname") => {
            Err(format!("sysctl {dotted:?} is not allowed as it conflicts with the OCI \"hostname\" field"))
        }
        _ => Err(format!("sysctl {dotted:?} is not in a separate kernel namespace")),
    }
}

/// Names are written with dots or with slashes; the first separator says which.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, uts: &str, namespace: &Namespace) -> Option<String> {
        let host = HostConfig {
            sysctls: Some([(name.to_owned(), "1".to_owned())].into()),
            uts_mode: Some(uts.to_owned()),
            ..HostConfig::default()
        };
        of(&host, namespace, namespace).err()
    }

    #[test]
    fn only_the_containers_own_are_set() {
        let own = &Namespace::Private;
        for name in ["net.core.somaxconn", "net/ipv4/conf/eth0.1/x", "kernel.sem", "fs.mqueue.msg_max"] {
            assert_eq!(refusal(name, "", own), None, "{name}");
            assert!(refusal(name, "", &Namespace::Host).is_some(), "{name}");
        }
        assert_eq!(refusal("kernel.domainname", "", own), None);
        assert_eq!(
            refusal("vm/swappiness", "", own).unwrap(),
            "sysctl \"vm.swappiness\" is not in a separate kernel namespace"
        );
        assert_eq!(
            refusal("kernel.hostname", "", own).unwrap(),
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field"
        );
        assert!(refusal("kernel.domainname", "host", own).is_some());
    }
}
