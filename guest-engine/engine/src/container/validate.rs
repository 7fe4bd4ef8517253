//! What of a request can be honoured, what is refused and what only earns a warning. Nothing is dropped
//! in silence.

use super::{
    health,
    limits::{self, Occasion},
    mounts, restart, seccomp, security_opt, signal, spec,
};
use crate::{
    error::{EngineError, Result},
    network::{self, NetworkMode},
};
use bollard_stubs::models::{
    ContainerConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigIsolationEnum, RestartPolicy,
    RestartPolicyNameEnum,
};

const DEFAULT_SHM: i64 = 64 << 20;

/// Checks a create request after the merge with its image, fills in Docker's defaults and answers the
/// warnings.
pub(crate) fn normalise(config: &ContainerConfig, host: &mut HostConfig) -> Result<Vec<String>> {
    refuse_what_is_missing(host)?;
    let mut warnings = security_opt::check(host.security_opt.as_deref().unwrap_or_default())?;

    let mode = NetworkMode::parse(host.network_mode.as_deref().unwrap_or_default())?;
    conflicts(config, host, &mode)?;
    let ports = network::port_requests(host, config.exposed_ports.as_deref().unwrap_or_default())?;
    if mode == NetworkMode::Host && !ports.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
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
    limits::check(host, &mut warnings, Occasion::Create)?;
    log_options(config, host)?;

    match host.shm_size.unwrap_or(0) {
        size if size < 0 => return Err(EngineError::invalid("SHM size can not be less than 0")),
        0 => host.shm_size = Some(DEFAULT_SHM),
        _ => {}
    }
    if !host.privileged.unwrap_or(false) {
        host.masked_paths.get_or_insert_with(spec::masked_paths);
        host.readonly_paths.get_or_insert_with(spec::readonly_paths);
    }
    if !matches!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::HOST)) {
        host.cgroupns_mode = Some(HostConfigCgroupnsModeEnum::PRIVATE);
    }
    let policy = host.restart_policy.get_or_insert_default();
    if matches!(policy.name, None | Some(RestartPolicyNameEnum::EMPTY)) {
        policy.name = Some(RestartPolicyNameEnum::NO);
    }
    policy.maximum_retry_count.get_or_insert(0);
    // What means "no limit" is none.
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
    host.memory_swappiness = host.memory_swappiness.filter(|swappiness| *swappiness != -1);
    for (field, value) in [(&mut host.ipc_mode, "private"), (&mut host.runtime, "runc")] {
        if field.as_deref().is_none_or(str::is_empty) {
            *field = Some(value.to_owned());
        }
    }
    Ok(warnings)
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
    let text = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    if host.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(EngineError::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    if let Some(runtime) =
        host.runtime.as_deref().filter(|r| !matches!(*r, "" | "runc" | "io.containerd.runc.v2"))
    {
        return Err(EngineError::invalid(format!("unknown or invalid runtime name: {runtime}")));
    }
    if let Some(request) = host.device_requests.iter().flatten().next() {
        let sets: Vec<String> =
            (request.capabilities.iter().flatten()).map(|set| format!("[{}]", set.join(" "))).collect();
        return Err(EngineError::invalid(format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver.as_deref().unwrap_or_default(),
            sets.join(" ")
        )));
    }
    if text(&host.cgroup) {
        return Err(EngineError::invalid(
            "Joining another container's cgroup is not supported by this engine",
        ));
    }
    if let Some(isolation) = &host.isolation
        && !matches!(isolation, HostConfigIsolationEnum::EMPTY | HostConfigIsolationEnum::DEFAULT)
    {
        return Err(EngineError::invalid(format!(
            "Invalid isolation: \"{isolation}\" - linux only supports 'default'"
        )));
    }
    if host.annotations.iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(EngineError::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    spec::devices::custom_rules(host.device_cgroup_rules.as_deref().unwrap_or_default())?;
    seccomp::check(host)?;
    for (field, value) in [("UTS", &host.uts_mode), ("user namespace", &host.userns_mode)] {
        if let Some(mode) = value.as_deref().filter(|v| !v.is_empty() && *v != "host") {
            return Err(EngineError::invalid(format!("invalid {field} mode: {mode}")));
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
        let bound = host.port_bindings.as_ref().is_some_and(|bindings| !bindings.is_empty());
        for (asked, what) in [
            (bound || host.publish_all_ports.unwrap_or(false), "port publishing"),
            (config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty()), "port exposing"),
        ] {
            if asked {
                return Err(EngineError::invalid(format!(
                    "conflicting options: {what} and the container type network mode"
                )));
            }
        }
    }
    if host.uts_mode.as_deref() == Some("host") && some(&config.hostname) {
        return Err(EngineError::invalid("conflicting options: hostname and the UTS mode"));
    }
    if host.links.as_ref().is_some_and(|links| !links.is_empty()) {
        match mode {
            NetworkMode::Container(_) => {
                return Err(EngineError::invalid(
                    "conflicting options: container type network can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
            NetworkMode::Host => {
                return Err(EngineError::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
            _ => {}
        }
    }
    for entry in host.extra_hosts.iter().flatten() {
        match entry.split_once(['=', ':']) {
            Some((name, address)) if !name.is_empty() => {
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
                if address != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
                    return Err(EngineError::invalid(format!("invalid IP address in add-host: {address:?}")));
                }
            }
            _ => return Err(EngineError::invalid(format!("bad format for add-host: {entry:?}"))),
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
                HostConfig {
                    links: words(&["a:b"]),
                    network_mode: Some("host".into()),
                    ..HostConfig::default()
                },
                "conflicting options: host type networking can't be used with links. This would result in undefined \
                 behavior",
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
                HostConfig { cap_add: words(&["fly"]), ..HostConfig::default() },
                "invalid CapAdd: unknown capability: \"CAP_FLY\"",
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
