//! What is below a container's writable folder, layer by layer, as overlayfs would show it.

use crate::open_within::open_within;
use rustix::{
    fs::{self as rfs, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Open folders, the topmost first.
#[derive(Debug)]
pub(super) struct Lower(Vec<File>);

/// What one layer says of a path.
enum Said {
    Here(OwnedFd, Stat),
    /// Nothing, and nothing below shows either.
    Hidden,
    /// Nothing: look below.
    Nothing,
}

impl Lower {
    pub(super) fn open(folders: &[PathBuf]) -> io::Result<Self> {
        Ok(Self(folders.iter().map(File::open).collect::<io::Result<_>>()?))
    }

    /// What is at a path, relative to the root; no link is followed.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Stat>> {
        for layer in &self.0 {
            match look(layer, path)? {
                Said::Here(_, stat) => return Ok(Some(stat)),
                Said::Hidden => return Ok(None),
                Said::Nothing => {}
            }
        }
        Ok(None)
    }

    /// Every name in the folder at a path.
    pub(super) fn names(&self, path: &Path) -> io::Result<BTreeSet<OsString>> {
        let (mut names, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for layer in &self.0 {
            let (folder, stat) = match look(layer, path)? {
                Said::Here(folder, stat) => (folder, stat),
                Said::Hidden => break,
                Said::Nothing => continue,
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                break;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let readable = rfs::openat(&folder, ".", flags, Mode::empty())?;
            for entry in Dir::read_from(&readable)? {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                if name == "." || name == ".." || gone.contains(&name) || names.contains(&name) {
                    continue;
                }
                let stat = rfs::statat(&readable, &name, rfs::AtFlags::SYMLINK_NOFOLLOW)?;
                if is_whiteout(&stat) {
                    gone.insert(name)
                } else {
                    names.insert(name)
                };
            }
            if is_opaque(&folder)? {
                break;
            }
        }
        Ok(names)
    }
}

/// Overlayfs's mark for a name that is gone.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a folder shows nothing of the layers below.
pub(super) fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    match xattr::get_deref(format!("/proc/self/fd/{}", folder.as_raw_fd()), OPAQUE_XATTR) {
        Ok(value) => Ok(value.as_deref() == Some(b"y")),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOTSUP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn look(layer: &File, path: &Path) -> io::Result<Said> {
    if let Some((fd, stat)) = open(layer, path)? {
        return Ok(if is_whiteout(&stat) { Said::Hidden } else { Said::Here(fd, stat) });
    }
    // Why is it not here? Something on the way may hide what is below.
    let mut reached = PathBuf::new();
    for part in path {
        reached.push(part);
        let Some((fd, stat)) = open(layer, &reached)? else { break };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || is_opaque(&fd)? {
            return Ok(Said::Hidden);
        }
    }
    Ok(Said::Nothing)
}

fn open(layer: &File, path: &Path) -> io::Result<Option<(OwnedFd, Stat)>> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match open_within(layer, path, flags, resolve) {
        Ok(fd) => {
            let stat = rfs::fstat(&fd)?;
            Ok(Some((fd, stat)))
        }
        // A link on the way is no folder, as far as a layer is concerned.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
