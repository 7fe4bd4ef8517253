//! A container's root filesystem with what is mounted in it, seen by one thread.

use crate::open_within::open_within;
use crate::overlay::unpack;
use engine::ports::{View, ViewMount};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{self as rfs, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    thread,
};

/// Does something with a container's root filesystem as it looks with the container's mounts in it. That
/// takes a thread of its own, because the caller's mounts have to stay what they are for it to unmount.
pub(super) fn within<T: Send>(
    merged: &Path,
    view: &View,
    work: impl FnOnce(io::Result<File>) -> T + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("files".to_owned());
        let worker = worker.spawn_scoped(scope, || work(enter(merged, view)))?;
        worker.join().map_err(|_| io::Error::other("the thread that looked for files panicked"))
    })
}

/// Gives this thread, which does nothing else, a mount namespace with the container's mounts in its root
/// filesystem, and opens that. What is mounted vanishes with the thread.
fn enter(merged: &Path, view: &View) -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Nothing of what follows is seen anywhere else, and no unmount elsewhere reaches us.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let root = File::open(merged)?;
    let mut mounts: Vec<&ViewMount> = view.mounts.iter().collect();
    mounts.sort_by_key(|mount| Path::new(&mount.destination).components().count());
    for one in mounts {
        // What the container would make when it starts is not missed.
        if let Ok(source) = fs::metadata(&one.source) {
            bind(&root, one, source.is_dir())?;
        }
    }
    Ok(root)
}

fn bind(root: &File, one: &ViewMount, is_folder: bool) -> io::Result<()> {
    let place = place(root, &one.destination, is_folder)?;
    let flags = if one.recursive { MsFlags::MS_BIND | MsFlags::MS_REC } else { MsFlags::MS_BIND };
    mount(Some(&one.source), through(&place).as_str(), None::<&str>, flags, None::<&str>)?;
    if one.read_only {
        // The descriptor still means what is below: find what is mounted now.
        let mounted = open(root, &one.destination)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, through(&mounted).as_str(), None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

/// Where to mount, made if it is missing, as it would be at the container's start.
fn place(root: &File, destination: &str, is_folder: bool) -> io::Result<OwnedFd> {
    match open(root, destination) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let inner = Path::new(destination.trim_start_matches('/'));
    if is_folder {
        return unpack::make_folders(root.as_fd(), inner, unpack::SCOPE);
    }
    let parent = unpack::make_folders(root.as_fd(), inner.parent().unwrap_or(inner), unpack::SCOPE)?;
    let name = inner.file_name().unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rfs::openat(&parent, name, flags, Mode::from_raw_mode(0o755))?)
}

fn open(root: &File, path: &str) -> Result<OwnedFd, Errno> {
    open_within(root, path, OFlags::PATH | OFlags::CLOEXEC, unpack::SCOPE)
}

fn through(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
