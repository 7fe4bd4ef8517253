//! Network namespaces that live without a process: bound to a file.

use super::{
    LinkError,
    session::{on_a_thread, run},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::statfs,
};
use rtnetlink::LinkUnspec;
use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// `NSFS_MAGIC`: what a bound namespace looks like to `statfs`.
const NAMESPACE_MAGIC: i64 = 0x6e73_6673;
/// Loopback is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Makes a namespace with loopback up and binds it to `path`, unless that has been done.
pub(super) async fn create(path: &Path) -> Result<(), LinkError> {
    if is_bound(path) {
        return Ok(());
    }
    let path = path.to_owned();
    on_a_thread(move || {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        File::create(&path)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        run(async |session| {
            let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
            Ok(session.handle.link().set(up).execute().await?)
        })?;
        // Bound last: a sandbox that can be seen is complete.
        let bound =
            mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        if let Err(error) = bound {
            let _unused = fs::remove_file(&path);
            return Err(error.into());
        }
        Ok(())
    })
    .await
}

/// Lets go of the namespace. The kernel takes it down, with every cable into it, once no process is in it.
pub(super) async fn remove(path: &Path) -> Result<(), LinkError> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// Names of everything in the folder.
pub(super) fn ids(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        ids.extend(entry?.file_name().into_string());
    }
    Ok(ids)
}

fn is_bound(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type().0 == NAMESPACE_MAGIC)
}
