//! `GET /info`: every field that docker CLI, compose and docker-py read.

use crate::{host_facts::ip_forwarding, http::state::AppState};
use axum::{Json, extract::State};
use engine::{Engine, container::Status, system::System};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(super) async fn info(State(state): State<AppState>) -> Json<Value> {
    let engine = &state.engine;
    let system = &engine.system;
    let host = &system.host;
    let counts = Counts::of(engine);
    let mut info = json!({
        "ID": system.id,
        "Containers": counts.running + counts.paused + counts.stopped,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": engine.images.count(),
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", "extfs"],
            ["Supports d_type", "true"],
            ["Using metacopy", "false"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
            "Authorization": null,
            "Log": engine::container::logs::driver::NAMES,
        },
        "SystemTime": Timestamp::now().to_string(),
        "OperatingSystem": host.operating_system,
        "OSVersion": host.os_version,
        "OSType": "linux",
        "Architecture": host.machine,
        "KernelVersion": host.kernel,
        "NCPU": host.cpus,
        "MemTotal": host.memory,
        "Name": host.hostname,
        "ServerVersion": super::RELEASE,
        "DockerRootDir": system.data_root,
        "Labels": system.labels,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(system),
        "Isolation": "",
        "ProductLicense": "",
        "Warnings": warnings(system),
    });
    extend(&mut info, limits(system));
    extend(&mut info, runtimes(system));
    extend(&mut info, environment());
    Json(info)
}

#[derive(Default)]
struct Counts {
    running: usize,
    paused: usize,
    stopped: usize,
}

impl Counts {
    fn of(engine: &Engine) -> Self {
        let mut counts = Self::default();
        for container in engine.containers.all() {
            match container.record.state.status {
                Status::Running | Status::Restarting => counts.running += 1,
                Status::Paused => counts.paused += 1,
                Status::Created | Status::Removing | Status::Exited | Status::Dead => counts.stopped += 1,
            }
        }
        counts
    }
}

/// What the kernel's controllers allow.
fn limits(system: &System) -> Value {
    let cgroup = system.host.cgroup;
    json!({
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": cgroup.version.to_string(),
        "MemoryLimit": cgroup.memory,
        "SwapLimit": cgroup.swap,
        "KernelMemoryTCP": false,
        "CpuCfsPeriod": cgroup.cpu,
        "CpuCfsQuota": cgroup.cpu,
        "CPUShares": cgroup.cpu,
        "CPUSet": cgroup.cpuset,
        "PidsLimit": cgroup.pids,
        "OomKillDisable": cgroup.version == 1 && cgroup.memory,
        "IPv4Forwarding": ip_forwarding(),
        "BridgeNfIptables": false,
        "BridgeNfIp6tables": false,
    })
}

fn runtimes(system: &System) -> Value {
    let mut security = Vec::new();
    if system.host.seccomp {
        security.push("name=seccomp,profile=builtin");
    }
    if system.host.cgroup.version == 2 {
        security.push("name=cgroupns");
    }
    let commit = json!({ "ID": super::RELEASE, "Expected": super::RELEASE });
    json!({
        "Runtimes": {
            "io.containerd.runc.v2": { "path": "machine-engine shim" },
            "runc": { "path": "machine-engine shim" },
        },
        "DefaultRuntime": "runc",
        "InitBinary": "docker-init",
        "ContainerdCommit": commit,
        "RuncCommit": commit,
        "InitCommit": commit,
        "SecurityOptions": security,
        "LiveRestoreEnabled": true,
        "LoggingDriver": "json-file",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
            "Error": "", "RemoteManagers": null,
        },
        "DefaultAddressPools": [],
        "CDISpecDirs": [],
    })
}

fn environment() -> Value {
    let variable = |upper: &str, lower: &str| {
        std::env::var(upper)
            .or_else(|_| std::env::var(lower))
            .map(|v| without_password(&v))
            .unwrap_or_default()
    };
    json!({
        "HttpProxy": variable("HTTP_PROXY", "http_proxy"),
        "HttpsProxy": variable("HTTPS_PROXY", "https_proxy"),
        "NoProxy": variable("NO_PROXY", "no_proxy"),
        "Debug": false,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "ExperimentalBuild": false,
        "GenericResources": null,
    })
}

fn registries(system: &System) -> Value {
    let mut indexes = Map::new();
    let entry = |name: &str, secure: bool, official: bool, mirrors: &[String]| json!({ "Name": name, "Mirrors": mirrors, "Secure": secure, "Official": official });
    indexes.insert("docker.io".to_owned(), entry("docker.io", true, true, &system.registry_mirrors));
    let mut ranges = vec!["127.0.0.0/8"];
    for registry in &system.insecure_registries {
        if registry.contains('/') {
            ranges.push(registry);
        } else {
            indexes.insert(registry.clone(), entry(registry, false, false, &[]));
        }
    }
    json!({
        "AllowNondistributableArtifactsCIDRs": null,
        "AllowNondistributableArtifactsHostnames": null,
        "InsecureRegistryCIDRs": ranges,
        "IndexConfigs": indexes,
        "Mirrors": system.registry_mirrors,
    })
}

fn warnings(system: &System) -> Vec<&'static str> {
    let host = &system.host;
    [
        (host.cgroup.memory, "WARNING: No memory limit support"),
        (host.cgroup.swap, "WARNING: No swap limit support"),
        (host.cgroup.cpu, "WARNING: No cpu cfs quota support"),
        (host.cgroup.pids, "WARNING: No pids limit support"),
        (ip_forwarding(), "WARNING: IPv4 forwarding is disabled"),
    ]
    .into_iter()
    .filter_map(|(there, warning)| (!there).then_some(warning))
    .collect()
}

/// `http://user:secret@proxy` → `http://xxxxx:xxxxx@proxy`, as dockerd shows it.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://xxxxx:xxxxx@{host}")
        }
        _ => url.to_owned(),
    }
}

fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_proxies_are_hidden() {
        assert_eq!(without_password("http://u:p@proxy:3128"), "http://xxxxx:xxxxx@proxy:3128");
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
    }
}
