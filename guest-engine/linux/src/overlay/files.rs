//! Containers' files for somebody outside: found, archived, unpacked, compared.
//!
//! Whoever looks gets a mount namespace of their own on a thread of their own, in which the container's
//! volumes are mounted in its root filesystem. It is gone with the thread, whatever happens to the
//! container meanwhile.

mod chunks;
mod stat;
mod view;

use super::{
    OverlayLayers, blocking, changes, commit,
    commit::WholeArchive,
    diff::{self, Kind},
    name, system, unpack,
    unpack::{Manner, UnpackError},
};
use crate::open_within::open_within;
use async_trait::async_trait;
use chunks::Chunks;
use engine::{
    EngineError,
    error::Result,
    ports::{ArchiveSource, ArchiveStream, Change, ContainerFiles, Extraction, PathStat, View},
};
use rustix::fs::{self as rfs, FileType, Gid, Mode, OFlags, Uid};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    thread,
};
use tokio::sync::oneshot;

/// What a thread that archives says first.
type Begun = Result<Option<PathStat>>;

#[async_trait]
impl ContainerFiles for OverlayLayers {
    async fn stat(&self, container: &str, view: View, path: &str) -> Result<Option<PathStat>> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        on_a_thread(move || {
            let lease = rootfs.lease(&container).map_err(unreachable_root)?;
            let found = view::within(&lease.merged, &view, |root| {
                stat::of(&root.map_err(unreachable_root)?, &path).map_err(|error| system(&path, error))
            });
            found.map_err(unreachable_root)?
        })
        .await
    }

    async fn archive(
        &self,
        container: &str,
        view: View,
        path: &str,
    ) -> Result<Option<(PathStat, ArchiveStream)>> {
        let (rootfs, container, path) = (self.rootfs.clone(), name(container)?, path.to_owned());
        let (begun, found) = oneshot::channel::<Begun>();
        let (mut chunks, stream) = Chunks::new();
        spawn(move || {
            // Once somebody has been told, nobody listens to errors but the stream's own.
            let lease = match rootfs.lease(&container) {
                Err(error) => return drop(begun.send(Err(unreachable_root(error)))),
                Ok(lease) => lease,
            };
            let archiving = view::within(&lease.merged, &view, |root| {
                let found = root.map_err(unreachable_root).and_then(|root| {
                    let stat = stat::of(&root, &path).map_err(|error| system(&path, error))?;
                    Ok(stat.map(|stat| (root, stat)))
                });
                match found {
                    Ok(Some((root, stat))) => {
                        if begun.send(Ok(Some(stat.clone()))).is_ok() {
                            chunks.fill(|to| pack(&root, &path, &stat, to));
                        }
                    }
                    Ok(None) => drop(begun.send(Ok(None))),
                    Err(error) => drop(begun.send(Err(error))),
                }
            });
            if let Err(error) = archiving {
                tracing::warn!(%error, container, "Reading a container's files ended early");
            }
            drop(lease);
            drop(chunks);
        })?;
        let stat =
            found.await.map_err(|_| EngineError::system("Reading the container's files ended early"))??;
        Ok(stat.map(|stat| (stat, stream)))
    }

    async fn extract(
        &self,
        container: &str,
        view: View,
        extraction: Extraction,
        tar: ArchiveSource,
    ) -> Result<Option<()>> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        on_a_thread(move || {
            let lease = rootfs.lease(&container).map_err(unreachable_root)?;
            let extracted = view::within(&lease.merged, &view, |root| {
                let root = root.map_err(unreachable_root)?;
                extract(&root, &lease.merged, &view, extraction, tar)
            });
            extracted.map_err(unreachable_root)?
        })
        .await
    }

    async fn changes(&self, container: &str) -> Result<Vec<Change>> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        blocking(move || {
            let upper = File::open(rootfs.writable(&container));
            upper
                .and_then(|upper| changes::of(upper.as_fd(), &rootfs.lower(&container)?))
                .map_err(|error| system("Could not read the container's changes", error))
        })
        .await
    }

    async fn export(&self, container: &str) -> Result<ArchiveStream> {
        let (rootfs, container) = (self.rootfs.clone(), name(container)?);
        let (lease, root) = blocking(move || {
            let lease = rootfs.lease(&container).map_err(unreachable_root)?;
            let root = File::open(&lease.merged).map_err(unreachable_root)?;
            Ok((lease, root))
        })
        .await?;
        let (mut chunks, stream) = Chunks::new();
        spawn(move || {
            chunks.fill(|to| diff::write(root.as_fd(), Kind::Files, to).map(|_| ()));
            drop(lease);
            drop(chunks);
        })?;
        Ok(stream)
    }
}

/// Copies a folder's content, owner and mode to an empty folder; see the port.
pub(super) fn copy_out(merged: &Path, path: &str, to: &Path) -> Result<()> {
    let failed = |error: io::Error| system(&format!("Could not copy {path} of the image"), error);
    let root = File::open(merged).map_err(failed)?;
    let Some(found) = commit::open_path(&root, path).map_err(failed)? else { return Ok(()) };
    let stat = rfs::fstat(&found).map_err(|error| failed(error.into()))?;
    let is_empty = fs::read_dir(to).map_err(failed)?.next().is_none();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || !is_empty {
        return Ok(());
    }
    let source = readable(&found).map_err(failed)?;
    let target = File::open(to).map_err(failed)?;
    let own = format!("/proc/self/fd/{}", source.as_raw_fd());
    let archive = WholeArchive::of(source.try_clone().map_err(failed)?, Kind::Files).map_err(failed)?;
    unpack::files(&target, archive, Manner::default())
        .map_err(|error| EngineError::system(format!("Could not copy {path} of the image")).because(error))?;
    let attributes = || -> io::Result<()> {
        rfs::fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rfs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        for key in xattr::list_deref(&own)? {
            if !key.as_bytes().starts_with(b"trusted.overlay.")
                && let Some(value) = xattr::get_deref(&own, &key)?
            {
                xattr::set_deref(format!("/proc/self/fd/{}", target.as_raw_fd()), &key, &value)?;
            }
        }
        Ok(())
    };
    match attributes() {
        // A file system without extended attributes.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOTSUP) => Ok(()),
        other => other.map_err(failed),
    }
}

fn pack(root: &File, path: &str, stat: &PathStat, to: &mut dyn Write) -> io::Result<()> {
    if FileType::from_raw_mode(stat.mode) == FileType::Directory {
        let folder = open_within(
            root,
            stat::relative(path),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            unpack::SCOPE,
        )?;
        let name = if stat.name == "/" { "" } else { stat.name.as_str() };
        return diff::write_folder(folder.as_fd(), name.as_bytes(), to);
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = open_within(
        root,
        stat::relative(parent),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        unpack::SCOPE,
    )?;
    diff::write_file(folder.as_fd(), OsStr::new(name), stat.name.as_bytes(), to)
}

fn extract(
    root: &File,
    merged: &Path,
    view: &View,
    extraction: Extraction,
    tar: ArchiveSource,
) -> Result<Option<()>> {
    let Extraction { path, keep_kinds, owner } = extraction;
    let failed = |error: io::Error| system(&path, error);
    let Some(found) = commit::open_path(root, &path).map_err(failed)? else { return Ok(None) };
    let stat = rfs::fstat(&found).map_err(|error| failed(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(EngineError::invalid("extraction point is not a directory"));
    }
    let folder = commit::inside(merged, &found).map_err(failed)?;
    view.check_writable(&folder)?;
    let base = PathBuf::from(folder.trim_start_matches('/'));
    let manner = Manner { base, keep_kinds, owner, across_mounts: true, keep_base: true };
    let tar = tar().map_err(|error| EngineError::invalid("Could not read the archive").because(error))?;
    unpack::files(root, tar, manner).map_err(|error| match error {
        UnpackError::Write { .. } => EngineError::system("Could not write files").because(error),
        UnpackError::OverFolder { .. } | UnpackError::OverFile { .. } => {
            EngineError::invalid(error.to_string())
        }
        UnpackError::Escapes { path } => EngineError::invalid(format!("{path:?} is outside of {folder:?}")),
        UnpackError::Read(_) | UnpackError::NoTarget { .. } => {
            EngineError::invalid("Could not unpack the archive").because(error)
        }
    })?;
    Ok(Some(()))
}

/// The folder that an `O_PATH` descriptor stands for, to be read.
fn readable(folder: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rfs::openat(folder, ".", flags, Mode::empty())?)
}

fn unreachable_root(error: io::Error) -> EngineError {
    system("Could not reach the container's files", error)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name("files".to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| system("Could not begin a thread", error))
}

/// Not one of the pool's threads: an archive may take as long as its client.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, done) = oneshot::channel();
    // Nobody waits any more, if sending fails.
    spawn(move || drop(sender.send(work())))?;
    done.await.map_err(|_| EngineError::system("A thread that looked for files ended early"))?
}
