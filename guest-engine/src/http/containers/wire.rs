//! Containers as dockerd writes them: every key that its answers have is there, empty where there is
//! nothing, because clients in dynamic languages index without asking.

use engine::{
    container::{
        Health, ProbeResult, Record, Status,
        mounts::{MountKind, MountSpec},
    },
    volume::LOCAL,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
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
        "NetworkMode": "bridge", "PortBindings": null, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "private", "Dns": null, "DnsOptions": null, "DnsSearch": null,
        "ExtraHosts": null, "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null,
        "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "", "ShmSize": 67_108_864,
        "Runtime": "runc", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "BlkioWeightDevice": null, "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null,
        "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null, "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": null,
        "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": null, "PidsLimit": null, "Ulimits": null, "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null,
    });
    let mut host = completed(&record.host, absent);
    for bindings in host["PortBindings"].as_object_mut().into_iter().flat_map(|ports| ports.values_mut()) {
        for binding in bindings.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            for key in ["HostIp", "HostPort"] {
                binding.entry(key).or_insert_with(|| json!(""));
            }
        }
    }
    let own = &record.host;
    let of_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    if host["SecurityOpt"].is_null()
        && (own.privileged.unwrap_or(false) || of_host(&own.pid_mode) || of_host(&own.ipc_mode))
    {
        host["SecurityOpt"] = json!(["label=disable"]);
    }
    let link = |link: &String| match link.split_once(':') {
        _ if link.starts_with('/') => link.clone(),
        Some((name, alias)) => format!("/{name}:/{}/{alias}", record.name),
        None => format!("/{link}:/{}/{link}", record.name),
    };
    if let Some(links) = own.links.as_ref().filter(|links| !links.is_empty()) {
        host["Links"] = links.iter().map(link).collect();
    }
    if let Some(host) = host.as_object_mut() {
        host.retain(|key, value| key != "StorageOpt" || *value != json!({}));
    }
    if let Some(mounts) = host.get_mut("Mounts") {
        without_empty(mounts);
    }
    host
}

/// Go leaves out of `Mounts` what has not been said; the structures that hold it stay.
fn without_empty(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        Value::Object(fields) => {
            fields.retain(|key, value| match value {
                Value::Object(map) => !map.is_empty() || !matches!(key.as_str(), "Options" | "Labels"),
                other => {
                    *other != json!("") && *other != json!(0) && *other != json!(false) && !other.is_null()
                }
            });
            fields.values_mut().for_each(without_empty);
        }
        _ => {}
    }
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
    if let Some(config) = config.as_object_mut() {
        config.retain(|key, value| match key.as_str() {
            "ExposedPorts" => *value != json!({}),
            "NetworkDisabled" => *value == json!(true),
            _ => true,
        });
    }
    if let Some(check) = config.get_mut("Healthcheck").and_then(Value::as_object_mut) {
        check.retain(|key, value| key != "Test" || *value != json!([]));
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

/// `Mounts`: what `-v`, `--mount` and images ask for; plain `--tmpfs` is only in `HostConfig`.
pub(super) fn mounts(record: &Record, volume_path: impl Fn(&str) -> String) -> Value {
    let to_json = |mount: &MountSpec| {
        let mut shown =
            json!({ "Destination": mount.destination, "Mode": mount.mode, "RW": !mount.read_only });
        let (kind, source, propagation) = match &mount.kind {
            MountKind::Bind(bind) => ("bind", bind.source.clone(), bind.propagation.as_str()),
            MountKind::Volume(volume) => {
                shown["Name"] = json!(volume.name);
                shown["Driver"] = json!(LOCAL);
                ("volume", volume_path(&volume.name), "")
            }
            MountKind::Tmpfs { listed: true, .. } => ("tmpfs", String::new(), ""),
            MountKind::Tmpfs { .. } => return None,
        };
        shown["Type"] = json!(kind);
        shown["Source"] = json!(source);
        shown["Propagation"] = json!(propagation);
        Some(shown)
    };
    record.mounts.iter().filter_map(to_json).collect()
}
