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
