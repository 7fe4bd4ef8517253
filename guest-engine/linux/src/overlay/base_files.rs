//! What every container has although its image may not: mount points, and the files that programs look
//! for. They stand in a layer of their own below the writable one, so that they are no change of the
//! container's.

use super::lower::Lower;
use rustix::fs::{self as rfs, FileType, Gid, Stat, Timespec, Timestamps, Uid};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
};

enum Base {
    Folder,
    File,
    Link(&'static str),
}

/// As dockerd has them.
const FILES: [(&str, Base); 10] = [
    ("dev/pts", Base::Folder),
    ("dev/shm", Base::Folder),
    ("proc", Base::Folder),
    ("sys", Base::Folder),
    (".dockerenv", Base::File),
    ("etc/resolv.conf", Base::File),
    ("etc/hosts", Base::File),
    ("etc/hostname", Base::File),
    ("dev/console", Base::File),
    ("etc/mtab", Base::Link("/proc/mounts")),
];

/// Makes in the folder `to` what `image` has not.
pub(super) fn make(image: &Lower, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(to)?;
    let mut folders = Vec::new();
    for (path, base) in FILES {
        let path = Path::new(path);
        if image.find(path)?.is_some() {
            continue;
        }
        let Some(parent) = path.parent() else { continue };
        if !enter(image, to, parent, &mut folders)? {
            continue;
        }
        let target = to.join(path);
        match base {
            Base::Folder => DirBuilder::new().recursive(true).mode(0o755).create(&target)?,
            Base::File => {
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o755).open(&target)?;
            }
            Base::Link(text) => symlink(text, &target)?,
        }
    }
    for (path, stat) in folders {
        imitate(&to.join(path), &stat)?;
    }
    Ok(())
}

/// Makes the folders on the way, as the image has them. `false` when the image has something else there.
fn enter(
    image: &Lower,
    to: &Path,
    path: &Path,
    folders: &mut Vec<(std::path::PathBuf, Stat)>,
) -> io::Result<bool> {
    let mut reached = std::path::PathBuf::new();
    for part in path {
        reached.push(part);
        let there = image.find(&reached)?;
        if there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory) {
            return Ok(false);
        }
        if to.join(&reached).exists() {
            continue;
        }
        DirBuilder::new().mode(0o755).create(to.join(&reached))?;
        if let Some(stat) = there {
            folders.push((reached.clone(), stat));
        }
    }
    Ok(true)
}

/// A folder here covers the one below: it must look the same.
fn imitate(path: &Path, stat: &Stat) -> io::Result<()> {
    let folder = File::open(path)?;
    rfs::fchown(&folder, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fs::set_permissions(path, fs::Permissions::from_mode(stat.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rfs::futimens(&folder, &times)?)
}
