//! Limits of a container as the OCI specification states them.

use crate::error::{EngineError, Result};
use bollard_stubs::models::{HostConfig, ResourcesUlimits, ThrottleDevice};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

/// Docker's scheduling period for `--cpus`, microseconds.
const PERIOD: i64 = 100_000;

/// Numbers of the block devices that throttling names, by path.
pub(crate) type DeviceNumbers<'a> = &'a dyn Fn(&str) -> Option<(i64, i64)>;

/// Every limit that `host` sets; `devices` are the rules of the device allow-list.
pub(crate) fn resources(
    host: &HostConfig,
    devices: Vec<LinuxDeviceCgroup>,
    numbers: DeviceNumbers<'_>,
) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources
        .set_devices(Some(devices))
        .set_memory(memory(host))
        .set_cpu(cpu(host))
        .set_pids(pids(host))
        .set_block_io(block_io(host, numbers)?);
    Ok(resources)
}

fn memory(host: &HostConfig) -> Option<LinuxMemory> {
    let set = |value: Option<i64>| value.filter(|v| *v != 0);
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(set(host.memory))
        .set_reservation(set(host.memory_reservation))
        .set_swap(set(host.memory_swap))
        .set_swappiness(host.memory_swappiness.and_then(|value| u64::try_from(value).ok()))
        .set_disable_oom_killer(host.oom_kill_disable.filter(|disable| *disable));
    (memory != LinuxMemory::default()).then_some(memory)
}

fn cpu(host: &HostConfig) -> Option<LinuxCpu> {
    let positive = |value: Option<i64>| value.filter(|v| *v > 0);
    let unsigned = |value: Option<i64>| positive(value).and_then(|v| u64::try_from(v).ok());
    let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let (quota, period) = match positive(host.nano_cpus) {
        Some(nano) => (Some(nano.saturating_mul(PERIOD) / 1_000_000_000), Some(PERIOD)),
        None => (host.cpu_quota.filter(|v| *v != 0), positive(host.cpu_period)),
    };
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unsigned(host.cpu_shares))
        .set_quota(quota)
        .set_period(unsigned(period))
        .set_cpus(text(&host.cpuset_cpus))
        .set_mems(text(&host.cpuset_mems));
    (cpu != LinuxCpu::default()).then_some(cpu)
}

fn pids(host: &HostConfig) -> Option<LinuxPids> {
    let limit = host.pids_limit?;
    let mut pids = LinuxPids::default();
    // Said also where there is none: an update lifts a limit.
    pids.set_limit(if limit > 0 { limit } else { -1 });
    Some(pids)
}

fn block_io(host: &HostConfig, numbers: DeviceNumbers<'_>) -> Result<Option<LinuxBlockIo>> {
    let missing = |path: &str| EngineError::invalid(format!("{path}: no such block device"));
    let throttle = |list: &Option<Vec<ThrottleDevice>>| {
        list.iter()
            .flatten()
            .map(|device| {
                let path = device.path.as_deref().unwrap_or_default();
                let (major, minor) = numbers(path).ok_or_else(|| missing(path))?;
                LinuxThrottleDeviceBuilder::default()
                    .major(major)
                    .minor(minor)
                    .rate(device.rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0))
                    .build()
                    .map_err(|e| EngineError::invalid(format!("{path}: invalid throttling")).because(e))
            })
            .collect::<Result<Vec<LinuxThrottleDevice>>>()
            .map(|list| (!list.is_empty()).then_some(list))
    };
    let weights = (host.blkio_weight_device.iter().flatten())
        .map(|device| {
            let path = device.path.as_deref().unwrap_or_default();
            let (major, minor) = numbers(path).ok_or_else(|| missing(path))?;
            LinuxWeightDeviceBuilder::default()
                .major(major)
                .minor(minor)
                .weight(device.weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(0))
                .build()
                .map_err(|e| EngineError::invalid(format!("{path}: invalid weight")).because(e))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut io = LinuxBlockIo::default();
    io.set_weight_device((!weights.is_empty()).then_some(weights));
    io.set_weight(host.blkio_weight.filter(|weight| *weight != 0))
        .set_throttle_read_bps_device(throttle(&host.blkio_device_read_bps)?)
        .set_throttle_write_bps_device(throttle(&host.blkio_device_write_bps)?)
        .set_throttle_read_iops_device(throttle(&host.blkio_device_read_iops)?)
        .set_throttle_write_iops_device(throttle(&host.blkio_device_write_iops)?);
    Ok((io != LinuxBlockIo::default()).then_some(io))
}

/// `--ulimit` as resource limits; -1 is unlimited.
pub(crate) fn rlimits(ulimits: &[ResourcesUlimits]) -> Result<Vec<PosixRlimit>> {
    let amount = |value: Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .map(|ulimit| {
            let name = ulimit.name.as_deref().unwrap_or_default();
            let invalid = || EngineError::invalid(format!("invalid ulimit type: {name}"));
            let kind: PosixRlimitType =
                format!("RLIMIT_{}", name.to_ascii_uppercase()).parse().map_err(|_| invalid())?;
            PosixRlimitBuilder::default()
                .typ(kind)
                .soft(amount(ulimit.soft))
                .hard(amount(ulimit.hard))
                .build()
                .map_err(|e| invalid().because(e))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_what_the_runtime_reads() {
        let host = HostConfig {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(512),
            pids_limit: Some(64),
            cpuset_cpus: Some(String::new()),
            ..HostConfig::default()
        };
        let resources = resources(&host, Vec::new(), &|_| None).unwrap();
        let memory = resources.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)));
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.period(), cpu.shares()), (Some(50_000), Some(100_000), Some(512)));
        assert_eq!(cpu.cpus(), &None);
        assert_eq!(resources.pids().unwrap().limit(), 64);
        assert_eq!(pids(&HostConfig { pids_limit: Some(0), ..host }).unwrap().limit(), -1);
        assert!(resources.block_io().is_none());
    }

    #[test]
    fn nothing_set_is_nothing_limited() {
        let host = HostConfig { memory: Some(0), ..HostConfig::default() };
        let resources = resources(&host, Vec::new(), &|_| None).unwrap();
        assert!(resources.memory().is_none() && resources.cpu().is_none() && resources.pids().is_none());
    }

    #[test]
    fn ulimits_and_their_mistakes() {
        let ulimit =
            |name: &str| ResourcesUlimits { name: Some(name.into()), soft: Some(10), hard: Some(-1) };
        let limits = rlimits(&[ulimit("nofile")]).unwrap();
        assert_eq!((limits[0].soft(), limits[0].hard()), (10, u64::MAX));
        assert_eq!(rlimits(&[ulimit("nope")]).unwrap_err().to_string(), "invalid ulimit type: nope");
    }
}
