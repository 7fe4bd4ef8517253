//! What each bind mount of a container exchanges with the host. libcontainer gives all of them what the
//! root has, so that those that ask for less are changed before the container begins.

#![expect(unsafe_code, reason = "fork has no safe wrapper")]

use super::config::SPEC_FILE;
use libcontainer::oci_spec::runtime::{Mount, Spec};
use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};
use std::{fs::File, io, path::Path};

/// Makes it so inside the mount namespace of `pid`. Only where the root exchanges anything is there
/// something to do.
pub(super) fn apply(bundle: &Path, pid: Pid) -> io::Result<()> {
    let spec = Spec::load(bundle.join(SPEC_FILE)).map_err(io::Error::other)?;
    let root = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    if !matches!(root, Some("shared" | "slave")) {
        return Ok(());
    }
    let changes: Vec<(&Path, MsFlags)> = spec.mounts().iter().flatten().filter_map(asked).collect();
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    // SAFETY: the shim has one thread, so the child may do all that the parent could; it ends by `_exit`.
    match unsafe { fork()? } {
        ForkResult::Child => {
            let done = inside(&namespace, &changes);
            let code = done.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
            // SAFETY: ends this process at once; nothing of the parent's is flushed twice.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, code) => Err(io::Error::from_raw_os_error(code)),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}

fn inside(namespace: &File, changes: &[(&Path, MsFlags)]) -> io::Result<()> {
    // The root becomes that of the namespace: the container's.
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    for (destination, flags) in changes {
        mount(None::<&str>, *destination, None::<&str>, *flags, None::<&str>)?;
    }
    Ok(())
}

/// A bind's own wish.
fn asked(mount: &Mount) -> Option<(&Path, MsFlags)> {
    let options = mount.options().as_deref().unwrap_or_default();
    let flags = options.iter().find_map(|option| match option.as_str() {
        "private" => Some(MsFlags::MS_PRIVATE),
        "rprivate" => Some(MsFlags::MS_PRIVATE | MsFlags::MS_REC),
        "slave" => Some(MsFlags::MS_SLAVE),
        "rslave" => Some(MsFlags::MS_SLAVE | MsFlags::MS_REC),
        "shared" => Some(MsFlags::MS_SHARED),
        "rshared" => Some(MsFlags::MS_SHARED | MsFlags::MS_REC),
        _ => None,
    })?;
    Some((mount.destination(), flags))
}
