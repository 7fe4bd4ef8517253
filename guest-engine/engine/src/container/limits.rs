//! Limits of a container as a client states them: mistakes are refused, what this kernel cannot enforce
//! is discarded with a warning, and Docker's derived limits are filled in.

use super::kernel_support::{KernelSupport, numbers};
use crate::error::{EngineError, Result};
use bollard_stubs::models::HostConfig;

/// Docker's floor for a memory limit.
const LEAST_MEMORY: i64 = 6 << 20;

/// When limits are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    Create,
    Update,
}

/// Checks and completes `host`'s limits for this machine.
pub(super) fn check(host: &mut HostConfig, warnings: &mut Vec<String>, occasion: Occasion) -> Result<()> {
    check_for(KernelSupport::get(), host, warnings, occasion)
}

fn check_for(
    kernel: &KernelSupport,
    host: &mut HostConfig,
    warnings: &mut Vec<String>,
    occasion: Occasion,
) -> Result<()> {
    memory(kernel, host, warnings, occasion)?;
    oom(kernel, host, warnings)?;
    if host.pids_limit.is_some() && !kernel.pids {
        if host.pids_limit > Some(0) {
            warnings.push(unsupported("PIDs limit capabilities", "PIDs limit"));
        }
        host.pids_limit = None;
    }
    cpu(kernel, host, warnings)?;
    cpuset(kernel, host, warnings)?;
    block_io(kernel, host, warnings)
}

fn unsupported(what: &str, discarded: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {discarded} discarded.")
}

fn memory(
    kernel: &KernelSupport,
    host: &mut HostConfig,
    warnings: &mut Vec<String>,
    occasion: Occasion,
) -> Result<()> {
    let invalid = |text: &str| Err(EngineError::invalid(text));
    if host.memory.is_some_and(|memory| memory != 0 && memory < LEAST_MEMORY) {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if host.memory.is_some_and(|memory| memory > 0) && !kernel.memory {
        warnings.push(unsupported("memory limit capabilities", "Limitation"));
        (host.memory, host.memory_swap) = (None, None);
    }
    let memory = host.memory.unwrap_or(0);
    if memory > 0 && host.memory_swap != Some(-1) && !kernel.swap {
        warnings.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited \
             without swap."
                .to_owned(),
        );
        host.memory_swap = Some(-1);
    }
    let swap = host.memory_swap.unwrap_or(0);
    if memory > 0 && swap > 0 && swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 && occasion == Occasion::Create {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(reservation) = host.memory_reservation.filter(|r| *r > 0) {
        if reservation < LEAST_MEMORY {
            return invalid("Minimum memory reservation allowed is 6MB");
        }
        if memory > 0 && memory < reservation {
            return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
        }
        if !kernel.memory {
            warnings.push(unsupported("memory soft limit capabilities", "Limitation"));
            host.memory_reservation = None;
        }
    }
    // As much swap again as memory.
    if memory > 0 && swap == 0 {
        host.memory_swap = Some(memory.saturating_mul(2));
    }
    if let Some(swappiness) = host.memory_swappiness.filter(|swappiness| *swappiness != -1) {
        if !kernel.swappiness {
            warnings.push(unsupported("memory swappiness capabilities", "Memory swappiness"));
            host.memory_swappiness = None;
        } else if !(0..=100).contains(&swappiness) {
            return Err(EngineError::invalid(format!(
                "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
            )));
        }
    }
    Ok(())
}

fn oom(kernel: &KernelSupport, host: &mut HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    if let Some(score) = host.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(EngineError::invalid(format!(
            "Invalid value {score}, range for oom score adj is [-1000, 1000]"
        )));
    }
    if !host.oom_kill_disable.unwrap_or(false) {
        return Ok(());
    }
    if !kernel.oom_kill_disable {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        host.oom_kill_disable = None;
    } else if host.memory.unwrap_or(0) == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn cpu(kernel: &KernelSupport, host: &mut HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    let invalid = |text: &str| Err(EngineError::invalid(text));
    let (nano, period) = (host.nano_cpus.unwrap_or(0), host.cpu_period.unwrap_or(0));
    let quota = host.cpu_quota.unwrap_or(0);
    if nano > 0 && period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if nano > 0 && quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if nano < 0 || nano > most {
        return Err(EngineError::invalid(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if nano > 0 && !kernel.cpu {
        return invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not \
             mounted",
        );
    }
    if period != 0 && !(1_000..=1_000_000).contains(&period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if quota > 0 && quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if !kernel.cpu {
        if host.cpu_shares.is_some_and(|shares| shares > 0) {
            warnings.push(unsupported("CPU shares", "Shares"));
            host.cpu_shares = None;
        }
        if period != 0 || quota != 0 {
            warnings.push(unsupported("CPU CFS scheduler", "CPU period/quota"));
            (host.cpu_period, host.cpu_quota) = (None, None);
        }
    }
    if host.cpu_shares.is_some_and(|shares| shares < 0) {
        return invalid("shares: invalid argument");
    }
    for (value, which) in [(host.cpu_realtime_period, "period"), (host.cpu_realtime_runtime, "runtime")] {
        if value.unwrap_or(0) != 0 {
            return Err(EngineError::invalid(format!(
                "Your kernel does not support cgroup cpu real-time {which}"
            )));
        }
    }
    if host.cpu_percent.unwrap_or(0) > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        host.cpu_percent = None;
    }
    if host.cpu_count.unwrap_or(0) > 0 {
        warnings.push("linux does not support CPU count. Count discarded.".to_owned());
        host.cpu_count = None;
    }
    Ok(())
}

fn cpuset(kernel: &KernelSupport, host: &mut HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    let empty = |list: &Option<String>| list.as_deref().is_none_or(str::is_empty);
    if empty(&host.cpuset_cpus) && empty(&host.cpuset_mems) {
        return Ok(());
    }
    if !kernel.cpuset {
        warnings.push(unsupported("cpuset", "CPUset"));
        (host.cpuset_cpus, host.cpuset_mems) = (None, None);
        return Ok(());
    }
    for (asked, there, kind, many) in [
        (&host.cpuset_cpus, &kernel.cpus, "cpus", "CPUs"),
        (&host.cpuset_mems, &kernel.memory_nodes, "mems", "memory nodes"),
    ] {
        let Some(asked) = asked.as_deref().filter(|list| !list.is_empty()) else { continue };
        let wanted = numbers(asked).ok_or_else(|| {
            EngineError::invalid(format!("Invalid value {asked} for cpuset {kind}: invalid format: {asked}"))
        })?;
        let available = numbers(there).unwrap_or_default();
        if !wanted.is_subset(&available) {
            return Err(EngineError::invalid(format!(
                "Requested {many} are not available - requested {asked}, available: {there}"
            )));
        }
    }
    Ok(())
}

fn block_io(kernel: &KernelSupport, host: &mut HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    if host.blkio_weight.is_some_and(|weight| weight > 0) && !kernel.block_weight {
        warnings.push(unsupported("Block I/O weight", "Weight"));
        host.blkio_weight = None;
    }
    if host.blkio_weight.is_some_and(|weight| weight > 0 && !(10..=1000).contains(&weight)) {
        return Err(EngineError::invalid("Range of blkio weight is from 10 to 1000"));
    }
    for (limit, what) in [(host.io_maximum_bandwidth, "bandwidth"), (host.io_maximum_iops, "IOPs")] {
        if limit.unwrap_or(0) != 0 {
            return Err(EngineError::invalid(format!(
                "Invalid QoS settings: linux does not support configuration of maximum {what}"
            )));
        }
    }
    if host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) && !kernel.block_weight_device {
        warnings.push(unsupported("Block I/O weight_device", "Weight-device"));
        host.blkio_weight_device = None;
    }
    for (list, unit, direction) in [
        (&mut host.blkio_device_read_bps, "BPS", "read"),
        (&mut host.blkio_device_write_bps, "BPS", "write"),
        (&mut host.blkio_device_read_iops, "IOPS", "read"),
        (&mut host.blkio_device_write_iops, "IOPS", "write"),
    ] {
        if list.as_ref().is_some_and(|list| !list.is_empty()) && !kernel.block_throttle {
            let what = format!("{unit} Block I/O {direction} limit");
            warnings.push(unsupported(&what, &format!("Block I/O {unit} {direction} limit")));
            *list = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_stubs::models::ThrottleDevice;

    fn able() -> KernelSupport {
        KernelSupport {
            memory: true,
            swap: true,
            swappiness: true,
            oom_kill_disable: true,
            pids: true,
            cpu: true,
            cpuset: true,
            block_weight: true,
            block_weight_device: true,
            block_throttle: true,
            cpus: "0-1".into(),
            memory_nodes: "0".into(),
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let with = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            let checked = check_for(&able(), &mut host, &mut Vec::new(), Occasion::Create);
            checked.unwrap_err().to_string()
        };
        for (sentence, refused) in [
            ("Minimum memory limit allowed is 6MB", with(|h| h.memory = Some(1024))),
            (
                "You should always set the Memory limit when using Memoryswap limit, see usage",
                with(|h| h.memory_swap = Some(1 << 30)),
            ),
            (
                "Invalid value: 101, valid memory swappiness range is 0-100",
                with(|h| h.memory_swappiness = Some(101)),
            ),
            (
                "Invalid value 2000, range for oom score adj is [-1000, 1000]",
                with(|h| h.oom_score_adj = Some(2000)),
            ),
            (
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
                with(|h| (h.nano_cpus, h.cpu_quota) = (Some(1), Some(5000))),
            ),
            ("CPU cfs quota can not be less than 1ms (i.e. 1000)", with(|h| h.cpu_quota = Some(10))),
            (
                "Your kernel does not support cgroup cpu real-time runtime",
                with(|h| h.cpu_realtime_runtime = Some(10)),
            ),
            (
                "Invalid value x for cpuset cpus: invalid format: x",
                with(|h| h.cpuset_cpus = Some("x".into())),
            ),
            (
                "Requested CPUs are not available - requested 0-9, available: 0-1",
                with(|h| h.cpuset_cpus = Some("0-9".into())),
            ),
            (
                "Requested memory nodes are not available - requested 3, available: 0",
                with(|h| h.cpuset_mems = Some("3".into())),
            ),
            ("Range of blkio weight is from 10 to 1000", with(|h| h.blkio_weight = Some(5))),
            (
                "Invalid QoS settings: linux does not support configuration of maximum IOPs",
                with(|h| h.io_maximum_iops = Some(5)),
            ),
        ] {
            assert_eq!(refused, sentence);
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_discarded_with_a_warning() {
        let mut host = HostConfig {
            memory: Some(64 << 20),
            memory_swappiness: Some(10),
            oom_kill_disable: Some(true),
            pids_limit: Some(9),
            cpu_shares: Some(9),
            cpuset_cpus: Some("0".into()),
            blkio_weight: Some(100),
            blkio_device_read_bps: Some(vec![ThrottleDevice::default()]),
            ..HostConfig::default()
        };
        let mut warnings = Vec::new();
        check_for(&KernelSupport::default(), &mut host, &mut warnings, Occasion::Create).unwrap();
        assert_eq!(warnings.len(), 8, "{warnings:#?}");
        assert_eq!(host, HostConfig::default());
    }

    #[test]
    fn swap_follows_memory() {
        let mut host = HostConfig { memory: Some(64 << 20), ..HostConfig::default() };
        check_for(&able(), &mut host, &mut Vec::new(), Occasion::Create).unwrap();
        assert_eq!(host.memory_swap, Some(128 << 20));
        // An update may raise the swap alone.
        let mut host = HostConfig { memory_swap: Some(64 << 20), ..HostConfig::default() };
        check_for(&able(), &mut host, &mut Vec::new(), Occasion::Update).unwrap();
    }
}
