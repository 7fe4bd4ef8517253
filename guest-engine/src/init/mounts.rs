//! The guest's file systems, apart from the data disk (`disk.rs`).
//!
//! The kernel unpacks the initramfs into `rootfs`, the one mount without a parent, on which
//! `pivot_root` refuses to work: no container could start. So the root is bound on itself, moved over
//! `/` and entered. The files stay where they are (no second copy of the engine in memory), but the
//! root is now an ordinary mount with `rootfs` below it.

use super::log;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const NONE: Option<&str> = None;

/// One entry of the table: type, target, flags, options, and whether the guest can do without.
struct Entry(&'static str, &'static str, MsFlags, &'static str, Need);

#[derive(PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// Leaves the initramfs root and mounts what everything else stands on. Errors are logged; a guest
/// without `/sys` still gets far enough to say so.
pub(super) fn mount_base() {
    if let Err(error) = leave_rootfs() {
        log::line(format_args!("Could not move the root off the initramfs: {error}"));
    }
    let (no_suid, no_dev, no_exec) = (MsFlags::MS_NOSUID, MsFlags::MS_NODEV, MsFlags::MS_NOEXEC);
    let pseudo = no_suid | no_dev | no_exec;
    let table = [
        Entry("proc", "/proc", pseudo, "", Need::Required),
        Entry("sysfs", "/sys", pseudo, "", Need::Required),
        Entry("devtmpfs", "/dev", no_suid, "mode=0755", Need::Required),
        Entry("devpts", "/dev/pts", no_suid | no_exec, "gid=5,mode=0620,ptmxmode=0666", Need::Required),
        Entry("tmpfs", "/dev/shm", no_suid | no_dev, "mode=1777", Need::Required),
        Entry("mqueue", "/dev/mqueue", pseudo, "", Need::Optional),
        Entry("tmpfs", "/run", no_suid | no_dev, "mode=0755", Need::Required),
        Entry("tmpfs", "/tmp", no_suid | no_dev, "mode=1777", Need::Required),
        Entry("cgroup2", "/sys/fs/cgroup", pseudo, "nsdelegate,memory_recursiveprot", Need::Required),
        Entry("bpf", "/sys/fs/bpf", pseudo, "mode=0700", Need::Optional),
    ];
    for Entry(kind, target, flags, options, need) in table {
        // On sysfs the folder is the kernel's to make; where it is missing, the mount says so.
        let _ = fs::create_dir_all(target);
        let options = (!options.is_empty()).then_some(options);
        if let Err(error) = mount(Some(kind), target, Some(kind), flags, options)
            && need == Need::Required
        {
            log::line(format_args!("Could not mount {kind} on {target}: {error}"));
        }
    }
    // As every Docker host has it: what is mounted here reaches containers that ask for it
    // (`-v …:rshared`), and each container's own namespace is cut loose by the runtime.
    if let Err(error) = mount(NONE, "/", NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE) {
        log::line(format_args!("Could not make the mounts shared: {error}"));
    }
}

/// The folders, links and cgroup controllers that programs expect and nobody else makes.
pub(super) fn furnish() {
    for (folder, mode) in [
        ("/etc", 0o755),
        ("/root", 0o700),
        ("/var/lib/docker", 0o711),
        ("/var/log", 0o755),
        ("/var/tmp", 0o1777),
        ("/run/machine", 0o700),
        ("/run/machine/log", 0o700),
        ("/run/machine/ssh", 0o700),
        ("/run/machine/home", 0o700),
        ("/run/lock", 0o1777),
    ] {
        if let Err(error) = fs::create_dir_all(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)))
        {
            log::line(format_args!("Could not make {folder}: {error}"));
        }
    }
    for (link, target) in [
        ("/var/run", "../run"),
        ("/var/lock", "../run/lock"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/etc/mtab", "/proc/self/mounts"),
    ] {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                log::line(format_args!("Could not link {link} to {target}: {error}"));
            }
            _ => {}
        }
    }
    enable_controllers(Path::new("/sys/fs/cgroup"));
}

fn leave_rootfs() -> nix::Result<()> {
    const STAGE: &str = "/.root";
    let _ = fs::create_dir(STAGE);
    mount(Some("/"), STAGE, NONE, MsFlags::MS_BIND, NONE)?;
    std::env::set_current_dir(STAGE).map_err(|_| nix::Error::ENOENT)?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/").map_err(|_| nix::Error::ENOENT)?;
    let _ = fs::remove_dir(STAGE);
    Ok(())
}

/// Hands every controller down to the root's children. The root cgroup may hold processes of its
/// own beside them, so PID 1 stays where it is.
fn enable_controllers(root: &Path) {
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        if let Err(error) = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")) {
            log::line(format_args!("Could not enable the cgroup controller {controller}: {error}"));
        }
    }
}
