//! What a container has changed: its writable folder compared with what is below.

use super::lower::{Lower, is_opaque, is_whiteout};
use engine::ports::{Change, ChangeKind};
use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// Each level holds a descriptor open.
const DEPTH_LIMIT: usize = 512;

/// Every change, sorted by path. A folder in which something came or went counts as changed.
pub(super) fn of(upper: BorrowedFd<'_>, lower: &Lower) -> io::Result<Vec<Change>> {
    let mut walk = Walk { lower, found: BTreeMap::new() };
    walk.folder(upper, Path::new(""), 0)?;
    let change =
        |(path, kind): (PathBuf, ChangeKind)| Change { path: format!("/{}", path.to_string_lossy()), kind };
    Ok(walk.found.into_iter().map(change).collect())
}

struct Walk<'a> {
    lower: &'a Lower,
    found: BTreeMap<PathBuf, ChangeKind>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path, depth: usize) -> io::Result<()> {
        if depth >= DEPTH_LIMIT {
            return Err(io::Error::other(format!("folders are nested deeper than {DEPTH_LIMIT} levels")));
        }
        for name in names(folder)? {
            let stat = match rfs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone since the folder was read.
                Err(rustix::io::Errno::NOENT) => continue,
                other => other?,
            };
            self.entry(folder, &name, &path.join(&name), &stat, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let below = self.lower.find(path)?;
        if is_whiteout(stat) {
            if below.is_some() {
                self.note(path, ChangeKind::Deleted);
            }
            return Ok(());
        }
        match &below {
            None => self.note(path, ChangeKind::Added),
            Some(below) if same_folder(stat, below) => {}
            Some(_) => self.note(path, ChangeKind::Modified),
        }
        if !is_folder(stat) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner: OwnedFd = match rfs::openat(folder, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        if below.is_some_and(|below| is_folder(&below)) && is_opaque(&inner)? {
            self.note(path, ChangeKind::Modified);
            let kept = names(inner.as_fd())?;
            for gone in self.lower.names(path)? {
                if kept.binary_search(&gone).is_err() {
                    self.note(&path.join(gone), ChangeKind::Deleted);
                }
            }
        }
        self.folder(inner.as_fd(), path, depth + 1)
    }

    fn note(&mut self, path: &Path, kind: ChangeKind) {
        if kind != ChangeKind::Modified {
            for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                self.found.entry(folder.to_owned()).or_insert(ChangeKind::Modified);
            }
        }
        self.found.insert(path.to_owned(), kind);
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A folder is copied up when something in it changes; that alone is no change of the folder itself.
fn same_folder(own: &Stat, below: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    is_folder(own) && of(own) == of(below)
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
