//! Containers as dockerd writes them: every key that its answers have is there, empty where there is
//! nothing, because clients in dynamic languages index without asking.

use engine::{
    container::{Health, ProbeResult, Record, Status, mounts::MountKind},
    network::{Endpoint, NetworkMode},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// Go's zero time.
pub(super) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits as it takes; Go's zero time for none.
pub(in crate::http) fn time(moment: Option<SystemTime>) -> String {
    moment.and_then(|m| Timestamp::try_from(m).ok()).map_or_else(|| ZERO_TIME.to_owned(), |t| t.to_string())
}

/// Seconds since the epoch.
pub(super) fn unix(moment: SystemTime) -> i64 {
    Timestamp::try_from(moment).map_or(0, Timestamp::as_second)
}

/// `HostConfig`, complete.
pub(super) fn host_config(record: &Record) -> Value {
    let absent = json!({
        "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": "bridge", "PortBindings": {}, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [],
        "ExtraHosts": null, "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null,
        "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "", "ShmSize": 67_108_864,
        "Runtime": "runc", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
        "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": null, "PidsLimit": null, "Ulimits": null, "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null,
    });
    completed(&record.host, absent)
}

/// `Config`, complete.
pub(super) fn config(record: &Record) -> Value {
    let absent = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": [], "Cmd": null,
        "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
    });
    let mut config = completed(&record.config, absent);
    config["Hostname"] = json!(record.hostname());
    // Go leaves an empty set out, or null.
    if config["ExposedPorts"] == json!({})
        && let Some(config) = config.as_object_mut()
    {
        config.remove("ExposedPorts");
    }
    if config["Volumes"] == json!({}) {
        config["Volumes"] = Value::Null;
    }
    config
}

fn completed(value: &impl Serialize, mut absent: Value) -> Value {
    // Our own records: encoding cannot fail, and nothing set is the honest fallback.
    if let (Ok(Value::Object(set)), Value::Object(all)) = (serde_json::to_value(value), &mut absent) {
        all.extend(set);
    }
    absent
}

/// `NetworkSettings.Networks`: the container's networks by name.
pub(super) fn networks(record: &Record) -> Value {
    let mode = NetworkMode::parse(record.host.network_mode.as_deref().unwrap_or_default());
    let Ok(mode) = mode else { return json!({}) };
    if matches!(mode, NetworkMode::Container(_)) {
        return json!({});
    }
    let name = mode.as_text();
    let asked = record.endpoints.get(&name).or_else(|| record.endpoints.get("default"));
    let mut networks = Map::new();
    networks.insert(name, endpoint(record.endpoint.as_ref(), asked));
    Value::Object(networks)
}

fn endpoint(endpoint: Option<&Endpoint>, asked: Option<&bollard_stubs::models::EndpointSettings>) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    json!({
        "IPAMConfig": asked.and_then(|a| a.ipam_config.as_ref()),
        "Links": asked.and_then(|a| a.links.as_ref()),
        "Aliases": asked.and_then(|a| a.aliases.as_ref()),
        "DriverOpts": asked.and_then(|a| a.driver_opts.as_ref()),
        "MacAddress": text(endpoint.map(|e| e.mac.clone())),
        "NetworkID": text(endpoint.map(|e| e.network_id.clone())),
        "EndpointID": text(endpoint.map(|e| e.endpoint_id.clone())),
        "Gateway": text(endpoint.and_then(|e| e.gateway).map(|a| a.to_string())),
        "IPAddress": text(endpoint.and_then(|e| e.address).map(|a| a.to_string())),
        "IPPrefixLen": endpoint.map_or(0, |e| e.prefix),
        "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
    })
}

/// `NetworkSettings` of inspect, with the fields of the default bridge at its top as before API 1.52.
pub(super) fn network_settings(record: &Record) -> Value {
    let networks = networks(record);
    let on_bridge = networks.get("bridge").cloned().unwrap_or_else(|| endpoint(None, None));
    let mut ports = Map::new();
    if record.state.status.has_process() {
        for port in record.config.exposed_ports.iter().flatten() {
            ports.insert(port.clone(), Value::Null);
        }
    }
    let sandboxed = record.state.status.has_process() && record.endpoint.is_some();
    let mut settings = json!({
        "Bridge": "",
        "SandboxID": if sandboxed { record.id.as_str() } else { "" },
        "SandboxKey": "",
        "Ports": ports, "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "Networks": networks,
    });
    for key in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ] {
        settings[key] = on_bridge[key].clone();
    }
    settings
}

/// `State` of inspect.
pub(super) fn state(record: &Record) -> Value {
    let state = &record.state;
    let mut shown = json!({
        "Status": state.status.as_str(),
        "Running": state.status.counts_as_running(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    });
    if let Some(health) = &state.health {
        shown["Health"] = health_state(health);
    }
    shown
}

fn health_state(health: &Health) -> Value {
    let result = |result: &ProbeResult| {
        json!({
            "Start": time(Some(result.start)), "End": time(Some(result.end)),
            "ExitCode": result.exit_code, "Output": result.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

/// `Mounts`: binds and what `--mount` asked for; plain `--tmpfs` is only in `HostConfig`.
pub(super) fn mounts(record: &Record) -> Value {
    record
        .mounts()
        .iter()
        .filter_map(|mount| {
            let (kind, source, propagation) = match &mount.kind {
                MountKind::Bind { source, propagation, .. } => {
                    ("bind", source.as_str(), propagation.as_str())
                }
                MountKind::Tmpfs { listed: true, .. } => ("tmpfs", "", ""),
                MountKind::Tmpfs { .. } => return None,
            };
            Some(json!({
                "Type": kind, "Source": source, "Destination": mount.destination, "Mode": mount.mode,
                "RW": !mount.read_only, "Propagation": propagation,
            }))
        })
        .collect()
}
