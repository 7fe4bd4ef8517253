//! What of a request can be honoured, what is refused and what only earns a warning. Nothing is dropped
//! in silence.

use super::{health, mounts, restart, seccomp, signal, spec};
use crate::{
    error::{EngineError, Result},
    network::NetworkMode,
};
use bollard_stubs::models::{ContainerConfig, HostConfig, RestartPolicy, RestartPolicyNameEnum};

/// Docker's floor for a memory limit.
const LEAST_MEMORY: i64 = 6 << 20;
const DEFAULT_SHM: i64 = 64 << 20;

/// Checks a create request after the merge with its image, fills in Docker's defaults and answers the
/// warnings.
pub(crate) fn normalise(config: &ContainerConfig, host: &mut HostConfig) -> Result<Vec<String>> {
    refuse_what_is_missing(host)?;
    let mut warnings = warn_of_what_has_no_effect(host);

    let mode = NetworkMode::parse(host.network_mode.as_deref().unwrap_or_default())?;
    conflicts(config, host, &mode)?;
    host.network_mode = Some(mode.as_text());

    if let Some(dir) = config.working_dir.as_deref().filter(|d| !d.is_empty())
        && !dir.starts_with('/')
    {
        return Err(EngineError::invalid(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )));
    }
    if let Some(stop) = config.stop_signal.as_deref().filter(|s| !s.is_empty()) {
        signal::parse(stop)?;
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(EngineError::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    health::check(config.healthcheck.as_ref())?;
    mounts::requested(host)?;
    spec::capabilities::resolve(
        host.cap_add.as_deref().unwrap_or_default(),
        host.cap_drop.as_deref().unwrap_or_default(),
        u64::MAX,
    )?;
    spec::resources::rlimits(host.ulimits.as_deref().unwrap_or_default())?;
    restart_policy(host.restart_policy.as_ref(), host.auto_remove.unwrap_or(false))?;
    limits(host, &mut warnings)?;
    log_options(config, host)?;

    if host.shm_size.unwrap_or(0) == 0 {
        host.shm_size = Some(DEFAULT_SHM);
    }
    for (field, value) in [(&mut host.ipc_mode, "private"), (&mut host.runtime, "runc")] {
        if field.as_deref().is_none_or(str::is_empty) {
            *field = Some(value.to_owned());
        }
    }
    Ok(warnings)
}

/// Checks limits, at create and at update; sets Docker's derived ones.
pub(crate) fn limits(host: &mut HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    let (memory, swap) = (host.memory.unwrap_or(0), host.memory_swap.unwrap_or(0));
    if memory != 0 && memory < LEAST_MEMORY {
        return Err(EngineError::invalid("Minimum memory limit allowed is 6MB"));
    }
    if memory > 0 && swap > 0 && swap < memory {
        return Err(EngineError::invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if memory == 0 && swap > 0 {
        return Err(EngineError::invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if let Some(reservation) = host.memory_reservation.filter(|r| *r > 0) {
        if reservation < LEAST_MEMORY {
            return Err(EngineError::invalid("Minimum memory reservation allowed is 6MB"));
        }
        if memory > 0 && memory < reservation {
            return Err(EngineError::invalid(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ));
        }
    }
    // As much swap again as memory.
    if memory > 0 && swap == 0 {
        host.memory_swap = Some(memory.saturating_mul(2));
    }
    let nano = host.nano_cpus.unwrap_or(0);
    if nano != 0 && (host.cpu_period.unwrap_or(0) > 0 || host.cpu_quota.unwrap_or(0) > 0) {
        return Err(EngineError::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set"));
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if nano < 0 || nano > most {
        return Err(EngineError::invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if host.cpu_period.is_some_and(|p| p != 0 && !(1_000..=1_000_000).contains(&p)) {
        return Err(EngineError::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota.is_some_and(|q| q > 0 && q < 1_000) {
        return Err(EngineError::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    if host.blkio_weight.is_some_and(|w| w > 0 && !(10..=1000).contains(&w)) {
        return Err(EngineError::invalid("Range of blkio weight is from 10 to 1000"));
    }
    if host.memory_swappiness.is_some_and(|s| s > 0) {
        warnings.push(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory \
             swappiness discarded."
                .to_owned(),
        );
    }
    if host.oom_kill_disable.unwrap_or(false) {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        host.oom_kill_disable = None;
    }
    Ok(())
}

/// Checks a restart policy together with `--rm`.
pub(crate) fn restart_policy(policy: Option<&RestartPolicy>, auto_remove: bool) -> Result<()> {
    if auto_remove && restart::is_set(policy) {
        return Err(EngineError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    let Some(policy) = policy else { return Ok(()) };
    match (policy.name, policy.maximum_retry_count.unwrap_or(0)) {
        (_, count) if count < 0 => {
            Err(EngineError::invalid("invalid restart policy: maximum retry count cannot be negative"))
        }
        (
            Some(
                RestartPolicyNameEnum::ALWAYS
                | RestartPolicyNameEnum::UNLESS_STOPPED
                | RestartPolicyNameEnum::NO,
            ),
            count,
        ) if count != 0 => Err(EngineError::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        )),
        _ => Ok(()),
    }
}

fn refuse_what_is_missing(host: &HostConfig) -> Result<()> {
    let list = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let text = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    let missing = [
        (
            host.port_bindings.as_ref().is_some_and(|p| !p.is_empty())
                || host.publish_all_ports.unwrap_or(false),
            "Publishing ports",
        ),
        (list(&host.links), "Linking containers"),
        (list(&host.volumes_from), "Mounting volumes from another container"),
        (text(&host.volume_driver) && host.volume_driver.as_deref() != Some("local"), "Volume drivers"),
        (host.init.unwrap_or(false), "An init process inside the container (--init)"),
        (host.device_requests.as_ref().is_some_and(|d| !d.is_empty()), "Device requests (--gpus)"),
        (list(&host.device_cgroup_rules), "Device cgroup rules"),
        (text(&host.cgroup_parent), "A cgroup parent"),
        (host.blkio_weight_device.as_ref().is_some_and(|d| !d.is_empty()), "Per-device block IO weights"),
        (
            host.cpu_realtime_period.unwrap_or(0) != 0 || host.cpu_realtime_runtime.unwrap_or(0) != 0,
            "Real-time CPU scheduling",
        ),
        (host.storage_opt.as_ref().is_some_and(|s| !s.is_empty()), "Storage options"),
        (host.masked_paths.as_ref().is_some_and(|p| !p.is_empty()), "Choosing masked paths"),
        (host.readonly_paths.as_ref().is_some_and(|p| !p.is_empty()), "Choosing read-only paths"),
    ];
    if let Some((_, what)) = missing.iter().find(|(asked, _)| *asked) {
        return Err(EngineError::not_implemented(format!("{what} is not supported by this engine yet")));
    }
    if let Some(runtime) = host.runtime.as_deref().filter(|r| !r.is_empty() && *r != "runc") {
        return Err(EngineError::invalid(format!("unknown or invalid runtime name: {runtime}")));
    }
    for option in host.security_opt.iter().flatten() {
        let known = matches!(
            option.as_str(),
            "no-new-privileges"
                | "no-new-privileges:true"
                | "no-new-privileges=true"
                | "no-new-privileges:false"
                | "no-new-privileges=false"
                | "apparmor=unconfined"
                | "apparmor:unconfined"
                | "label=disable"
                | "label:disable"
        );
        let profile = option.starts_with("seccomp=") || option.starts_with("seccomp:");
        if !known && !profile {
            let parted = option.contains(['=', ':']);
            let kind = if parted { 2 } else { 1 };
            return Err(EngineError::invalid(format!("invalid --security-opt {kind}: {option:?}")));
        }
    }
    seccomp::check(host)?;
    for (field, value, name) in
        [("UTS", host.uts_mode.as_deref(), "uts"), ("user namespace", host.userns_mode.as_deref(), "userns")]
    {
        if let Some(mode) = value.filter(|v| !v.is_empty() && *v != "host") {
            return Err(EngineError::invalid(format!("invalid {field} mode: {mode} (--{name})")));
        }
    }
    match host.ipc_mode.as_deref().unwrap_or_default() {
        "" | "private" | "host" | "none" | "shareable" => {}
        mode if mode.strip_prefix("container:").is_some_and(|c| !c.is_empty()) => {}
        mode => return Err(EngineError::invalid(format!("invalid IPC mode: {mode}"))),
    }
    match host.pid_mode.as_deref().unwrap_or_default() {
        "" | "host" => Ok(()),
        mode if mode.strip_prefix("container:").is_some_and(|c| !c.is_empty()) => Ok(()),
        mode => Err(EngineError::invalid(format!("invalid PID mode: {mode}"))),
    }
}

fn warn_of_what_has_no_effect(host: &HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let windows = [host.cpu_count, host.cpu_percent, host.io_maximum_iops, host.io_maximum_bandwidth];
    if windows.iter().any(|value| value.unwrap_or(0) != 0) {
        warnings.push(
            "CpuCount, CpuPercent, IOMaximumIOps and IOMaximumBandwidth have no effect on Linux".into(),
        );
    }
    warnings
}

fn conflicts(config: &ContainerConfig, host: &HostConfig, mode: &NetworkMode) -> Result<()> {
    let some = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    let conflict =
        |with: &str| Err(EngineError::invalid(format!("conflicting options: {with} and the network mode")));
    if matches!(mode, NetworkMode::Container(_)) {
        if some(&config.hostname) {
            return conflict("hostname");
        }
        if host.dns.as_ref().is_some_and(|d| !d.is_empty()) {
            return conflict("dns");
        }
        if host.extra_hosts.as_ref().is_some_and(|h| !h.is_empty()) {
            return conflict("custom host-to-IP mapping");
        }
    }
    if host.uts_mode.as_deref() == Some("host") && some(&config.hostname) {
        return Err(EngineError::invalid("conflicting options: hostname and the UTS mode"));
    }
    for entry in host.extra_hosts.iter().flatten() {
        if !entry.contains([':', '=']) {
            return Err(EngineError::invalid(format!("bad format for add-host: {entry:?}")));
        }
    }
    Ok(())
}

fn log_options(config: &ContainerConfig, host: &mut HostConfig) -> Result<()> {
    let log = host.log_config.get_or_insert_default();
    if log.typ.as_deref().is_none_or(str::is_empty) {
        log.typ = Some("json-file".to_owned());
    }
    log.config.get_or_insert_default();
    super::logs::driver::check(config, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: HostConfig) -> String {
        let mut host = host;
        normalise(&ContainerConfig::default(), &mut host).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        let mut host = HostConfig { memory: Some(64 << 20), ..HostConfig::default() };
        assert!(normalise(&ContainerConfig::default(), &mut host).unwrap().is_empty());
        assert_eq!(host.memory_swap, Some(128 << 20));
        assert_eq!(host.network_mode.as_deref(), Some("bridge"));
        assert_eq!(host.log_config.and_then(|l| l.typ).as_deref(), Some("json-file"));
        assert_eq!(host.shm_size, Some(DEFAULT_SHM));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let words = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (host, sentence) in [
            (
                HostConfig { publish_all_ports: Some(true), ..HostConfig::default() },
                "Publishing ports is not supported by this engine yet",
            ),
            (
                HostConfig { links: words(&["a:b"]), ..HostConfig::default() },
                "Linking containers is not supported by this engine yet",
            ),
            (
                HostConfig { memory: Some(1024), ..HostConfig::default() },
                "Minimum memory limit allowed is 6MB",
            ),
            (
                HostConfig { security_opt: words(&["seccomp=/x.json"]), ..HostConfig::default() },
                "Decoding seccomp profile failed: expected value at line 1 column 1",
            ),
            (
                HostConfig { network_mode: Some("mine".into()), ..HostConfig::default() },
                "network mine not found",
            ),
            (
                HostConfig { cap_add: words(&["fly"]), ..HostConfig::default() },
                "invalid capability: unknown capability: \"CAP_FLY\"",
            ),
        ] {
            assert_eq!(refused(host), sentence);
        }
        let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None };
        assert_eq!(
            refused(HostConfig {
                auto_remove: Some(true),
                restart_policy: Some(policy),
                ..HostConfig::default()
            }),
            "can't create 'AutoRemove' container with restart policy"
        );
    }
}
