//! Which limits this kernel can enforce, read once. What it cannot is discarded with a warning.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// What the cgroup controllers offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KernelSupport {
    pub(super) memory: bool,
    pub(super) swap: bool,
    pub(super) swappiness: bool,
    pub(super) oom_kill_disable: bool,
    pub(super) pids: bool,
    pub(super) cpu: bool,
    pub(super) cpuset: bool,
    pub(super) block_weight: bool,
    pub(super) block_weight_device: bool,
    pub(super) block_throttle: bool,
    /// As the kernel writes lists: `0-3,5`.
    pub(super) cpus: String,
    pub(super) memory_nodes: String,
}

impl KernelSupport {
    /// Of this machine.
    pub(super) fn get() -> &'static Self {
        static SUPPORT: OnceLock<KernelSupport> = OnceLock::new();
        SUPPORT.get_or_init(|| Self::at(Path::new("/sys/fs/cgroup")))
    }

    fn at(root: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(root.join(file)).map(|text| text.trim().to_owned());
        if let Ok(controllers) = text("cgroup.controllers") {
            let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
            // Files of the root differ: what a group can do is seen at one of them.
            let groups = children(root);
            let somewhere = |file: &str| groups.iter().any(|group| group.join(file).exists());
            return Self {
                memory: has("memory"),
                swap: has("memory") && (groups.is_empty() || somewhere("memory.swap.max")),
                pids: has("pids"),
                cpu: has("cpu"),
                cpuset: has("cpuset"),
                block_weight: somewhere("io.weight") || somewhere("io.bfq.weight"),
                block_weight_device: somewhere("io.bfq.weight"),
                block_throttle: has("io"),
                cpus: text("cpuset.cpus.effective").unwrap_or_default(),
                memory_nodes: text("cpuset.mems.effective").unwrap_or_default(),
                ..Self::default()
            };
        }
        let has = |file: &str| root.join(file).exists();
        let groups = children(&root.join("blkio"));
        let weight = |file: &str| groups.iter().any(|group| group.join(file).exists());
        Self {
            memory: has("memory/memory.limit_in_bytes"),
            swap: has("memory/memory.memsw.limit_in_bytes"),
            swappiness: has("memory/memory.swappiness"),
            oom_kill_disable: has("memory/memory.oom_control"),
            pids: has("pids"),
            cpu: has("cpu/cpu.cfs_quota_us"),
            cpuset: has("cpuset/cpuset.cpus"),
            block_weight: weight("blkio.weight") || weight("blkio.bfq.weight"),
            // The runtime does not set it on version 1.
            block_weight_device: false,
            block_throttle: has("blkio/blkio.throttle.read_bps_device"),
            cpus: text("cpuset/cpuset.cpus").unwrap_or_default(),
            memory_nodes: text("cpuset/cpuset.mems").unwrap_or_default(),
        }
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// The numbers of a list like `0-2,7`; `None` when it is none.
pub(super) fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        // More than any kernel has: a list is not to fill memory.
        if to < from || to > 8192 {
            return None;
        }
        found.extend(from..=to);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        let list = |text| numbers(text).map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(list("0-2,7"), Some(vec![0, 1, 2, 7]));
        for bad in ["", "x", "1-", "3-1", "1,,2", "0-4294967295", "-1"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }

    #[test]
    fn both_versions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory/memory.oom_control", "");
        write("cpuset/cpuset.cpus", "0-1\n");
        let one = KernelSupport::at(root.path());
        assert!(one.oom_kill_disable && one.cpuset && !one.pids);
        assert_eq!(one.cpus, "0-1");
        write("cgroup.controllers", "cpuset cpu io memory pids");
        write("system.slice/io.bfq.weight", "");
        let two = KernelSupport::at(root.path());
        assert!(two.pids && two.block_weight_device && !two.oom_kill_disable && !two.swap);
    }
}
