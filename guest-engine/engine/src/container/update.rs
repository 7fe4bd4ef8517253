//! Changing limits and the restart policy of a container that exists.

use super::{
    Containers,
    actor::{Actor, Request, runtime_failed},
    limits::{self, Occasion},
    restart,
    spec::{devices, resources},
    validate,
};
use crate::error::{EngineError, Result};
use bollard_stubs::models::{HostConfig, RestartPolicy};

/// What is to change; unset fields stay.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    limits: HostConfig,
    policy: Option<RestartPolicy>,
}

impl Containers {
    /// Changes the limits that `limits` sets (memory, CPUs, processes, block IO weight) and the restart
    /// policy. Answers warnings.
    pub async fn update(
        &self,
        key: &str,
        limits: HostConfig,
        policy: Option<RestartPolicy>,
    ) -> Result<Vec<String>> {
        // Mistakes first, as dockerd tells them also of a container that is not there.
        limits::check(&mut limits.clone(), &mut Vec::new(), Occasion::Update)?;
        validate::restart_policy(policy.as_ref(), false)?;
        let handle = self.shared.index.find(key)?;
        let change = Box::new(Change { limits, policy });
        handle.ask(|reply| Request::Update { change, reply }).await
    }
}

impl Actor {
    pub(super) async fn update(&mut self, change: Change) -> Result<Vec<String>> {
        let id = &self.record.id;
        let refused = |error: EngineError| error.of(format_args!("Cannot update container {id}"));
        let mut host = self.record.host.clone();
        apply(&mut host, &change.limits).map_err(refused)?;
        // Clients that change limits alone send a policy without a name.
        if let Some(policy) = change.policy.filter(restart::is_named) {
            if self.record.auto_remove() {
                return Err(refused(EngineError::conflict(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container",
                )));
            }
            host.restart_policy = Some(policy);
        }
        let mut warnings = Vec::new();
        limits::check(&mut host, &mut warnings, Occasion::Update)?;
        if let Some(task) = &self.task {
            // The allow-list of devices does not change, and is not touched.
            let rules = devices::rules(true, &[]);
            let mut limits = resources::resources(&host, rules, &super::host_devices::block_numbers)?;
            limits.set_devices(None);
            task.update(&limits).await.map_err(runtime_failed).map_err(refused)?;
        }
        let before = std::mem::replace(&mut self.record.host, host);
        if let Err(error) = self.persist().await {
            self.record.host = before;
            return Err(error);
        }
        self.shared.announce(&self.record, "update", &[]);
        self.show();
        Ok(warnings)
    }
}

/// Zero and empty mean "leave it", as in the API, but for the number of processes.
fn apply(host: &mut HostConfig, limits: &HostConfig) -> Result<()> {
    fn number(own: &mut Option<i64>, new: Option<i64>) {
        if new.is_some_and(|value| value != 0) {
            *own = new;
        }
    }
    conflicts(host, limits)?;
    number(&mut host.memory, limits.memory);
    number(&mut host.memory_swap, limits.memory_swap);
    number(&mut host.memory_reservation, limits.memory_reservation);
    number(&mut host.cpu_shares, limits.cpu_shares);
    number(&mut host.cpu_period, limits.cpu_period);
    number(&mut host.cpu_quota, limits.cpu_quota);
    number(&mut host.nano_cpus, limits.nano_cpus);
    // Anything below one is "no limit", and shown as 0 from then on.
    if let Some(limit) = limits.pids_limit {
        host.pids_limit = Some(limit.max(0));
    }
    for (own, new) in
        [(&mut host.cpuset_cpus, &limits.cpuset_cpus), (&mut host.cpuset_mems, &limits.cpuset_mems)]
    {
        if new.as_deref().is_some_and(|text| !text.is_empty()) {
            own.clone_from(new);
        }
    }
    if limits.blkio_weight.is_some_and(|weight| weight != 0) {
        host.blkio_weight = limits.blkio_weight;
    }
    Ok(())
}

/// What cannot be changed beside what is set already, in moby's words.
fn conflicts(host: &HostConfig, limits: &HostConfig) -> Result<()> {
    let set = |value: Option<i64>| value.unwrap_or(0) > 0;
    let conflict = |what: &str| Err(EngineError::conflict(what));
    if set(limits.nano_cpus) && set(host.cpu_period) {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if set(limits.nano_cpus) && set(host.cpu_quota) {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if set(limits.cpu_period) && set(host.nano_cpus) {
        return conflict(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if set(limits.cpu_quota) && set(host.nano_cpus) {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    let memory = limits.memory.unwrap_or(0);
    if memory != 0 && limits.memory_swap.unwrap_or(0) == 0 && memory > host.memory_swap.unwrap_or(0) {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same \
             time",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited() -> HostConfig {
        HostConfig {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            cpu_shares: Some(5),
            nano_cpus: Some(500_000_000),
            ..HostConfig::default()
        }
    }

    #[test]
    fn only_what_is_set_changes() {
        let mut host = limited();
        let limits = HostConfig { memory: Some(32 << 20), cpu_shares: Some(0), ..HostConfig::default() };
        apply(&mut host, &limits).unwrap();
        assert_eq!(host, HostConfig { memory: Some(32 << 20), ..limited() });
    }

    #[test]
    fn a_limit_of_processes_can_be_lifted() {
        for unlimited in [0, -1, -7] {
            let mut host = HostConfig { pids_limit: Some(9), ..HostConfig::default() };
            let limits = HostConfig { pids_limit: Some(unlimited), ..HostConfig::default() };
            apply(&mut host, &limits).unwrap();
            assert_eq!(host.pids_limit, Some(0));
        }
    }

    #[test]
    fn what_contradicts_earlier_limits_is_refused() {
        for (limits, sentence) in [
            (
                HostConfig { memory: Some(256 << 20), ..HostConfig::default() },
                "Memory limit should be smaller",
            ),
            (HostConfig { cpu_quota: Some(5000), ..HostConfig::default() }, "Conflicting options: CPU Quota"),
        ] {
            let mut host = limited();
            assert!(apply(&mut host, &limits).unwrap_err().to_string().starts_with(sentence));
            assert_eq!(host, limited());
        }
        let both = HostConfig { memory: Some(256 << 20), memory_swap: Some(-1), ..HostConfig::default() };
        apply(&mut limited(), &both).unwrap();
    }
}
