//! A container's cgroup, by the path in its specification, on version 2 and on version 1 with one tree
//! per controller. libcontainer makes it and puts processes in; everything else happens here.

#![expect(unsafe_code, reason = "nix cannot send real-time signals")]

use nix::{
    errno::Errno,
    libc,
    sys::statfs::{CGROUP2_SUPER_MAGIC, statfs},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// Pids of the processes that are in a cgroup itself.
const PROCESSES: &str = "cgroup.procs";
/// Controllers that the cgroups below have.
const DIVIDED: &str = "cgroup.subtree_control";
/// How long killed processes may take to leave.
const EMPTY: Duration = Duration::from_secs(10);

/// The cgroup of one container; it need not exist.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    /// The path inside the hierarchies, relative.
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// The cgroup at `path` (`/docker/ID`) of this machine's hierarchies.
    pub(crate) fn at(path: &Path) -> Self {
        let two = statfs(ROOT).is_ok_and(|root| root.filesystem_type() == CGROUP2_SUPER_MAGIC);
        let version = if two { Version::Two } else { Version::One };
        let path = path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        Self { path, version }
    }

    /// Its folder on version 2.
    pub(crate) fn unified(&self) -> Option<PathBuf> {
        (self.version == Version::Two).then(|| Path::new(ROOT).join(&self.path))
    }

    /// Its folder in the tree of a version 1 controller.
    pub(crate) fn controller(&self, name: &str) -> Option<PathBuf> {
        let folder = Path::new(ROOT).join(name).join(&self.path);
        (self.version == Version::One && folder.is_dir()).then_some(folder)
    }

    /// Where below it a new process can join `pid`, where it cannot join at the top: engines and init
    /// systems inside a container move everything out of its cgroup to be allowed to divide it further
    /// (`cgroups(7)`: no internal processes). As runc does.
    pub(crate) fn below(&self, pid: i32) -> Option<PathBuf> {
        let divided = fs::read_to_string(self.unified()?.join(DIVIDED)).ok()?;
        if divided.trim().is_empty() {
            return None;
        }
        path_below(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?, &self.path)
    }

    /// Makes the cgroups above it on version 2. libcontainer would, but fails where two containers that start at
    /// the same time, as those with a restart policy after a boot, make them for each other.
    pub(crate) fn make_parents(&self) -> io::Result<()> {
        match self.unified().as_deref().and_then(Path::parent) {
            Some(parents) => fs::create_dir_all(parents),
            None => Ok(()),
        }
    }

    /// Sends SIGKILL to every process in it, and to those they fork meanwhile.
    pub(crate) fn kill(&self) -> io::Result<()> {
        if let Some(folder) = self.unified() {
            match fs::write(folder.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                Err(error) if !folder.is_dir() => {
                    return if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
                }
                // Linux before 5.14.
                Err(_) => {}
            }
        }
        // Frozen they cannot fork; the signal reaches them when they thaw.
        let frozen = self.freeze(true);
        for pid in self.processes()? {
            match send_signal(pid, libc::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    drop(self.freeze(false));
                    return Err(error.into());
                }
            }
        }
        let thawed = self.freeze(false);
        if self.exists() { frozen.and(thawed) } else { Ok(()) }
    }

    /// Freezes or thaws every process in it; returns once they are.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let deadline = Instant::now() + EMPTY;
        if let Some(folder) = self.unified() {
            fs::write(folder.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
            let expected = if frozen { "frozen 1" } else { "frozen 0" };
            while !fs::read_to_string(folder.join("cgroup.events"))?.lines().any(|line| line == expected) {
                pause(deadline)?;
            }
            return Ok(());
        }
        let Some(folder) = self.controller("freezer") else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the freezer controller is not there"));
        };
        let state = folder.join("freezer.state");
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        loop {
            // Repeated: a process that is just being created can keep the group in FREEZING.
            fs::write(&state, wanted)?;
            if fs::read_to_string(&state)?.trim() == wanted {
                return Ok(());
            }
            pause(deadline)?;
        }
    }

    /// Pids of every process in it and below it.
    pub(crate) fn processes(&self) -> io::Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for folder in self.folders() {
            collect(&folder, &mut found)?;
        }
        Ok(found)
    }

    /// The kernel's OOM killer has struck in it.
    pub(crate) fn oom_killed(&self) -> bool {
        let file = match (self.unified(), self.controller("memory")) {
            (Some(folder), _) => folder.join("memory.events"),
            (None, Some(folder)) => folder.join("memory.oom_control"),
            (None, None) => return false,
        };
        fs::read_to_string(file).is_ok_and(|text| value(&text, "oom_kill").is_some_and(|count| count > 0))
    }

    /// Kills what is in it, waits until it is empty and removes it. `Ok` when there is none.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if !self.exists() {
            return Ok(());
        }
        if !self.processes()?.is_empty() {
            self.kill()?;
        }
        let deadline = Instant::now() + EMPTY;
        for folder in self.folders() {
            loop {
                match remove_tree(&folder) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => pause(deadline)?,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Whether any hierarchy has it.
    pub(crate) fn exists(&self) -> bool {
        !self.folders().is_empty()
    }

    /// Its folder in every hierarchy that has it.
    fn folders(&self) -> Vec<PathBuf> {
        if self.path.as_os_str().is_empty() {
            // Never the root of a hierarchy.
            return Vec::new();
        }
        let trees = match self.version {
            Version::Two => vec![PathBuf::from(ROOT)],
            Version::One => fs::read_dir(ROOT)
                .into_iter()
                .flatten()
                .flatten()
                // Links lead to co-mounted controllers, which have their own folder.
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect(),
        };
        trees.into_iter().map(|tree| tree.join(&self.path)).filter(|folder| folder.is_dir()).collect()
    }
}

/// Gives this engine the root of the hierarchy to divide when it runs inside a container, where the root
/// is an ordinary cgroup with the engine itself in it: all processes move to `init` below, and from then on
/// controllers are handed down, as in the images of Docker in Docker. Nothing on version 1 and at the real
/// root.
pub fn clear_root() -> io::Result<()> {
    clear(Path::new(ROOT))
}

fn clear(root: &Path) -> io::Result<()> {
    // The real root has no type (cgroup-v2.rst, "cgroup.type").
    if !root.join("cgroup.type").exists() {
        return Ok(());
    }
    let init = root.join("init");
    match fs::create_dir(&init) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for pid in fs::read_to_string(root.join(PROCESSES))?.lines() {
        match fs::OpenOptions::new().append(true).open(init.join(PROCESSES))?.write_all(pid.as_bytes()) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    // At once: whoever enters the container before it is divided would be in the way.
    for controller in fs::read_to_string(root.join("cgroup.controllers"))?.split_whitespace() {
        let _left_out = fs::write(root.join(DIVIDED), format!("+{controller}"));
    }
    Ok(())
}

/// What `/proc/PID/cgroup` says, below `top`.
fn path_below(membership: &str, top: &Path) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let below = Path::new(path).strip_prefix(top).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_owned())
}

/// The number after `key ` in a flat-keyed file.
pub(crate) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Sends any signal, real-time ones included.
pub(crate) fn send_signal(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: kill takes no pointers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

fn pause(deadline: Instant) -> io::Result<()> {
    if Instant::now() > deadline {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the cgroup did not settle"));
    }
    thread::sleep(Duration::from_millis(1));
    Ok(())
}

fn collect(folder: &Path, found: &mut BTreeSet<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(folder.join(PROCESSES)) {
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup has no processes of its own.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
        other => other?,
    };
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
    for child in children(folder)? {
        collect(&child, found)?;
    }
    Ok(())
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for child in children(folder)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if gone(&error) => Ok(()),
        other => other,
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_keys_are_not_mistaken_for_each_other() {
        let text = "oom 3\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(value(text, "oom_kill"), Some(1));
        assert_eq!(value(text, "oom_score"), None);
    }

    #[test]
    fn a_process_that_was_moved_is_found_below_its_containers_cgroup() {
        let top = Path::new("docker/f00");
        assert_eq!(path_below("0::/docker/f00/init\n", top), Some("init".into()));
        assert_eq!(path_below("1:name=x:/\n0::/docker/f00/a/b\n", top), Some("a/b".into()));
        assert_eq!(path_below("0::/docker/f00\n", top), None);
        assert_eq!(path_below("0::/docker/f001\n", top), None);
        assert_eq!(path_below("0::/../elsewhere\n", top), None);
    }

    #[test]
    fn inside_a_container_the_root_is_cleared_and_the_real_root_is_not() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| root.path().join(name);
        fs::write(file(PROCESSES), "1\n12\n").unwrap();
        clear(root.path()).unwrap();
        assert!(!file("init").exists());
        fs::write(file("cgroup.type"), "domain\n").unwrap();
        fs::write(file("cgroup.controllers"), "cpu memory\n").unwrap();
        fs::create_dir(file("init")).unwrap();
        fs::write(file("init/cgroup.procs"), "").unwrap();
        clear(root.path()).unwrap();
        assert_eq!(
            fs::read_to_string(file("init/cgroup.procs")).unwrap(),
            "112",
            "each in a write of its own"
        );
        assert_eq!(fs::read_to_string(file(DIVIDED)).unwrap(), "+memory", "each in a write of its own");
    }

    #[test]
    fn a_missing_cgroup_is_empty_and_removable_and_the_root_is_never_touched() {
        let missing = Cgroup::at(Path::new("/no-such-cgroup-anywhere/x"));
        assert!(!missing.exists());
        assert!(missing.processes().unwrap().is_empty());
        missing.remove().unwrap();
        missing.kill().unwrap();
        assert!(!Cgroup::at(Path::new("/")).exists());
        assert!(!Cgroup::at(Path::new("/..")).exists());
    }
}
