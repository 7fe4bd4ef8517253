//! What `docker info` says about the machine, from `/proc`, `/sys` and os-release. What cannot be read
//! stays empty: it must not keep the engine from serving.

use engine::system::{CgroupFacts, HostFacts};
use std::{fs, path::Path};

/// Looks around, once.
pub fn read() -> HostFacts {
    let uname = nix::sys::utsname::uname().ok();
    let text =
        |field: Option<&std::ffi::OsStr>| field.map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = field(&os_release, "PRETTY_NAME");
    HostFacts {
        hostname: text(uname.as_ref().map(nix::sys::utsname::UtsName::nodename)),
        kernel: text(uname.as_ref().map(nix::sys::utsname::UtsName::release)),
        machine: text(uname.as_ref().map(nix::sys::utsname::UtsName::machine)),
        operating_system: if pretty.is_empty() { "machine".to_owned() } else { pretty },
        os_version: field(&os_release, "VERSION_ID"),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        cgroup: cgroup(),
        seccomp: Path::new("/proc/sys/kernel/seccomp").exists(),
    }
}

/// Whether the machine routes; the default bridge turns it on.
pub(crate) fn ip_forwarding() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|v| v.trim() == "1")
}

fn cgroup() -> CgroupFacts {
    let root = Path::new("/sys/fs/cgroup");
    if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
        let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
        return CgroupFacts {
            version: 2,
            memory: has("memory"),
            swap: has("memory") && Path::new("/proc/swaps").exists(),
            cpu: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
        };
    }
    let has = |name: &str| root.join(name).is_dir();
    CgroupFacts {
        version: 1,
        memory: has("memory"),
        swap: root.join("memory/memory.memsw.limit_in_bytes").exists(),
        cpu: has("cpu") || has("cpu,cpuacct"),
        cpuset: has("cpuset"),
        pids: has("pids"),
    }
}

fn field(os_release: &str, key: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

fn memory(meminfo: &str) -> u64 {
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are_written() {
        assert_eq!(memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16384);
        assert_eq!(memory("nonsense"), 0);
        assert_eq!(field("NAME=\"x\"\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME"), "Debian 12");
        assert_eq!(field("", "PRETTY_NAME"), "");
    }
}
