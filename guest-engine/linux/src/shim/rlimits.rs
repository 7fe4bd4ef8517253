//! Resource limits of a process, set from outside once it is created, as runc does. libcontainer would set
//! them in the process at its very beginning, where a handful of descriptors is not enough to become a
//! container.

use nix::unistd::Pid;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};
use rustix::process::{Resource, Rlimit, prlimit};

/// Takes the limits out of what libcontainer is going to read.
pub(crate) fn take(process: &mut Process) -> Vec<PosixRlimit> {
    let limits = process.rlimits().clone().unwrap_or_default();
    process.set_rlimits(None);
    limits
}

/// The limits count for the process from now on; an error in runc's words.
pub(super) fn apply(pid: Pid, limits: &[PosixRlimit]) -> Result<(), String> {
    let process = rustix::process::Pid::from_raw(pid.as_raw());
    for limit in limits {
        let resource = resource(limit.typ());
        let unlimited = |value: u64| (value != u64::MAX).then_some(value);
        let new = Rlimit { current: unlimited(limit.soft()), maximum: unlimited(limit.hard()) };
        prlimit(process, resource, new).map_err(|error| {
            let error = nix::errno::Errno::from_raw(error.raw_os_error()).desc().to_lowercase();
            format!(
                "error setting rlimits for ready process: error setting rlimit type {}: {error}",
                resource as u32
            )
        })?;
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}
