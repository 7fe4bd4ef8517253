//! Layers made of what containers have written, and files going in and out of root filesystems.

use super::{
    DIFF_FOLDER, Metadata, diff, diff::Kind, keep_layer, remove_left, system, unpack, unpack::UnpackError,
    unpack_layer,
};
use crate::open_within::open_within;
use engine::{
    EngineError,
    error::Result,
    ports::{LayerInfo, Located, PathKind},
};
use rustix::fs::{self as rfs, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    thread,
};

/// Copies the upper folder into a layer; the container goes on with its own.
pub(super) fn copy(layers: &Path, temporary: &Path, upper: &Path) -> Result<LayerInfo> {
    let failed = |error: io::Error| system("Could not read the container's changes", error);
    let upper = File::open(upper).map_err(failed)?;
    // The layer is what went through the pipe, whatever the container does meanwhile.
    let mut whole = WholeArchive::of(upper, Kind::Changes).map_err(failed)?;
    unpack_layer(layers, temporary, None, &mut whole)
}

/// Moves the upper folder of a container that will not run again into a layer.
pub(super) fn take(layers: &Path, temporary: &Path, upper: &Path) -> Result<LayerInfo> {
    let failed = |error: io::Error| system("Could not make a layer of the container's changes", error);
    let root = File::open(upper).map_err(failed)?;
    let mut hashing = Hashing { hash: Sha256::new(), length: 0 };
    let size = diff::write(root.as_fd(), Kind::Changes, &mut hashing).map_err(failed)?;
    diff::forget_overlay(root.as_fd()).map_err(failed)?;
    let mut diff_id = String::from("sha256:");
    let tar_size = Some(hashing.length);
    for byte in hashing.hash.finalize() {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _written = write!(diff_id, "{byte:02x}");
    }
    fs::rename(upper, temporary.join(DIFF_FOLDER)).map_err(failed)?;
    keep_layer(layers, temporary, &root, Metadata { diff_id, size, tar_size })
}

/// Reads to the end, then fails if the writer at the other end failed: a cut archive may look whole.
pub(super) struct WholeArchive {
    reader: io::PipeReader,
    archiving: Option<thread::JoinHandle<io::Result<()>>>,
}

impl WholeArchive {
    /// Archives a folder on a thread of its own.
    pub(super) fn of(folder: impl AsFd + Send + 'static, kind: Kind) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let archiving = thread::spawn(move || {
            let mut writer = io::BufWriter::with_capacity(64 * 1024, writer);
            diff::write(folder.as_fd(), kind, &mut writer)?;
            writer.flush()
        });
        Ok(Self { reader, archiving: Some(archiving) })
    }
}

impl Read for WholeArchive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(archiving) = self.archiving.take()
        {
            archiving.join().unwrap_or_else(|_| Err(io::Error::other("the archiving thread panicked")))?;
        }
        Ok(read)
    }
}

struct Hashing {
    hash: Sha256,
    length: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As many as the kernel follows.
const LINKS: usize = 40;

/// What a path means to a process in the container, and where that is without links. A link that leads
/// nowhere means the place that it names.
pub(super) fn locate(merged: &Path, path: &str) -> io::Result<Located> {
    let root = File::open(merged)?;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Some(found) = open_path(&root, &path)? {
            let kind = match FileType::from_raw_mode(rfs::fstat(&found)?.st_mode) {
                FileType::Directory => PathKind::Folder,
                _ => PathKind::File,
            };
            return Ok(Located { path: inside(merged, &found)?, kind: Some(kind) });
        }
        let Some((parent, missing)) = split_at_missing(&root, &path)? else {
            return Ok(Located { path, kind: None });
        };
        let below = inside(merged, &parent)?;
        let below = below.trim_end_matches('/');
        path = match missing.first().map(|name| rfs::readlinkat(&parent, name, Vec::new())) {
            Some(Ok(target)) => {
                let target = target.to_string_lossy().into_owned();
                let rest = missing[1..].iter().map(|name| format!("/{name}")).collect::<String>();
                if target.starts_with('/') {
                    format!("{target}{rest}")
                } else {
                    format!("{below}/{target}{rest}")
                }
            }
            _ => return Ok(Located { path: format!("{below}/{}", missing.join("/")), kind: None }),
        };
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// The part of a path that exists, and the names that are to be made below it.
fn split_at_missing(root: &File, path: &str) -> io::Result<Option<(OwnedFd, Vec<String>)>> {
    let mut missing = Vec::new();
    let mut rest = Path::new(path);
    while let (Some(name), Some(parent)) = (rest.file_name(), rest.parent()) {
        missing.insert(0, name.to_string_lossy().into_owned());
        rest = parent;
        if let Some(found) = open_path(root, &rest.to_string_lossy())? {
            return Ok(Some((found, missing)));
        }
    }
    Ok(None)
}

pub(super) fn open_path(root: &File, path: &str) -> io::Result<Option<OwnedFd>> {
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match open_within(root, path, OFlags::PATH | OFlags::CLOEXEC, resolve) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn inside(merged: &Path, found: &OwnedFd) -> io::Result<String> {
    let full = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let inner = full.strip_prefix(fs::canonicalize(merged)?).map_err(io::Error::other)?;
    Ok(format!("/{}", inner.to_string_lossy()))
}

/// Writes what is at `path`, a link followed, to `to`: a folder's content, or one file under its name.
pub(super) fn pack(merged: &Path, path: &str, to: impl Write) -> io::Result<()> {
    let root = File::open(merged)?;
    let located = locate(merged, path)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let open = |path: &str| {
        let path = if path.is_empty() { "." } else { path };
        open_within(&root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, resolve)
    };
    match located.kind {
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file or directory"))),
        Some(PathKind::Folder) => {
            diff::write(open(&located.path)?.as_fd(), Kind::Files, to)?;
            Ok(())
        }
        Some(PathKind::File) => {
            let (parent, name) = located.path.rsplit_once('/').unwrap_or(("", &located.path));
            let shown = path.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
            let parent = if parent.is_empty() { "/" } else { parent };
            diff::write_file(open(parent)?.as_fd(), OsStr::from_bytes(name.as_bytes()), shown.as_bytes(), to)
        }
    }
}

/// Unpacks files into a mounted root filesystem, names as they are.
pub(super) fn unpack_into(merged: &Path, tar: impl Read, keep_kinds: bool) -> Result<()> {
    let root = File::open(merged).map_err(|error| system("Could not open the root filesystem", error))?;
    let manner = unpack::Manner { keep_kinds, ..unpack::Manner::default() };
    unpack::files(&root, tar, manner).map_err(|error| match error {
        // In the words of BuildKit, for whose copies kinds are kept.
        UnpackError::OverFolder { path, .. } => {
            EngineError::invalid(format!("cannot replace to directory {path} with file"))
        }
        UnpackError::OverFile { path, .. } => {
            EngineError::invalid(format!("cannot copy to non-directory: {path}"))
        }
        error => EngineError::invalid("Could not write files").because(error),
    })
}

/// Removes empty files and folders from a writable layer; their folders keep their times.
pub(super) fn remove_stubs(upper: &Path, paths: &[String]) -> io::Result<()> {
    let root = File::open(upper)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for path in paths {
        let Some((parent, name)) = path.rsplit_once('/') else { continue };
        let parent = if parent.is_empty() { "/" } else { parent };
        // Not there, or something else by now.
        let Ok(folder) = rfs::openat2(&root, parent, flags, Mode::empty(), resolve) else { continue };
        let Ok(stat) = rfs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let before = rfs::fstat(&folder)?;
        let removed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => rfs::unlinkat(&folder, name, AtFlags::REMOVEDIR),
            FileType::RegularFile if stat.st_size == 0 => rfs::unlinkat(&folder, name, AtFlags::empty()),
            _ => continue,
        };
        if removed.is_ok() {
            let nanoseconds = before.st_mtime_nsec.try_into().unwrap_or(0);
            let time = Timespec { tv_sec: before.st_mtime, tv_nsec: nanoseconds };
            rfs::futimens(&folder, &Timestamps { last_access: time, last_modification: time })?;
        }
    }
    Ok(())
}

/// Removes what a failed attempt left.
pub(super) fn cleaned<T>(temporary: &Path, result: Result<T>) -> Result<T> {
    if result.is_err() {
        remove_left(temporary);
    }
    result
}
