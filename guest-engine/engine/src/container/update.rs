//! Changing limits and the restart policy of a container that exists.

use super::{
    Containers,
    actor::{Actor, Request, runtime_failed},
    limits::{self, Occasion},
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
        let mut host = self.record.host.clone();
        apply(&mut host, &change.limits);
        if let Some(policy) = change.policy.filter(|policy| policy.name.is_some()) {
            if self.record.auto_remove() {
                return Err(EngineError::invalid(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container",
                ));
            }
            validate::restart_policy(Some(&policy), false)?;
            host.restart_policy = Some(policy);
        }
        let mut warnings = Vec::new();
        limits::check(&mut host, &mut warnings, Occasion::Update)?;
        if let Some(task) = &self.task {
            // The allow-list of devices does not change, and is not touched.
            let rules = devices::rules(true, &[]);
            let mut limits = resources::resources(&host, rules, &super::host_devices::block_numbers)?;
            limits.set_devices(None);
            task.update(&limits).await.map_err(runtime_failed)?;
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

/// Zero and empty mean "leave it", as in the API.
fn apply(host: &mut HostConfig, limits: &HostConfig) {
    fn number(own: &mut Option<i64>, new: Option<i64>) {
        if new.is_some_and(|value| value != 0) {
            *own = new;
        }
    }
    let memory_changes = limits.memory.is_some_and(|m| m != 0);
    if memory_changes && limits.memory_swap.unwrap_or(0) == 0 && host.memory_swap.is_some_and(|s| s > 0) {
        // The derived swap limit follows the memory limit, unless the user had set it apart.
        if host.memory_swap == host.memory.map(|m| m.saturating_mul(2)) {
            host.memory_swap = None;
        }
    }
    number(&mut host.memory, limits.memory);
    number(&mut host.memory_swap, limits.memory_swap);
    number(&mut host.memory_reservation, limits.memory_reservation);
    number(&mut host.cpu_shares, limits.cpu_shares);
    number(&mut host.cpu_period, limits.cpu_period);
    number(&mut host.cpu_quota, limits.cpu_quota);
    number(&mut host.nano_cpus, limits.nano_cpus);
    number(&mut host.pids_limit, limits.pids_limit);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let mut host = HostConfig {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            cpu_shares: Some(5),
            ..HostConfig::default()
        };
        apply(
            &mut host,
            &HostConfig { memory: Some(32 << 20), cpu_shares: Some(0), ..HostConfig::default() },
        );
        assert_eq!((host.memory, host.memory_swap, host.cpu_shares), (Some(32 << 20), None, Some(5)));
    }
}
