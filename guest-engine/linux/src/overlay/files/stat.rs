//! What is at a path in a container.

use crate::open_within::open_within;
use crate::overlay::unpack;
use engine::ports::PathStat;
use rustix::{
    fs::{self as rfs, FileType, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// The last link of `path` is followed only when a slash comes behind it.
pub(super) fn of(root: &File, path: &str) -> io::Result<Option<PathStat>> {
    let Some((_, stat)) = open(root, Path::new(path))? else { return Ok(None) };
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => follow(root, Path::new(path))?.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    Ok(Some(PathStat {
        name: last_part(path),
        size: stat.st_size,
        mode: stat.st_mode,
        modified: modified(&stat),
        link_target,
    }))
}

/// A path that `openat2` takes.
pub(super) fn relative(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// `/a/b/` → `b`, `/a/.` → `.`, `/` → `/`.
fn last_part(path: &str) -> String {
    let part = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if part.is_empty() { "/".to_owned() } else { part.to_owned() }
}

fn modified(stat: &Stat) -> SystemTime {
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec);
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let whole = match stat.st_mtime < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn open(root: &File, path: &Path) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_within(root, path, flags, unpack::SCOPE) {
        Ok(found) => {
            let stat = rfs::fstat(&found)?;
            Ok(Some((found, stat)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a path leads with every link followed, also when nothing is there in the end.
fn follow(root: &File, path: &Path) -> io::Result<PathBuf> {
    let mut reached = PathBuf::from("/");
    let mut left: VecDeque<PathBuf> = parts(path).into();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == Path::new("..") {
            reached.pop();
            continue;
        }
        let next = reached.join(&part);
        let link = match open(root, &next) {
            Ok(Some((found, stat))) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => found,
            // Nothing, or a part of the way that is no folder: there is no link to follow.
            Ok(_) => {
                reached = next;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                reached = next;
                continue;
            }
            Err(error) => return Err(error),
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = rfs::readlinkat(&link, "", Vec::new())?;
        let target = PathBuf::from(String::from_utf8_lossy(target.as_bytes()).into_owned());
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(reached)
}

fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn links_lead_somewhere_inside() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("etc/deep")).unwrap();
        fs::write(at("etc/file"), "12345").unwrap();
        for (link, target) in [
            ("absolute", "/etc/file"),
            ("up", "../../../etc"),
            ("chain", "up/deep/../file"),
            ("nowhere", "/not/there"),
            ("loop", "loop"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let root = File::open(folder.path()).unwrap();
        let target = |path: &str| of(&root, path).unwrap().unwrap().link_target;
        for (path, leads_to) in [
            ("/absolute", "/etc/file"),
            ("/up", "/etc"),
            ("/chain", "/etc/file"),
            ("/nowhere", "/not/there"),
            ("/etc/file", ""),
            ("/up/", ""),
        ] {
            assert_eq!(target(path), leads_to, "{path}");
        }
        assert_eq!(of(&root, "/nothing").unwrap(), None);
        assert!(of(&root, "/loop").is_err());
        let stat = of(&root, "/up/file").unwrap().unwrap();
        assert_eq!((stat.name.as_str(), stat.size), ("file", 5));
    }

    #[test]
    fn names_are_gos() {
        for (path, name) in [("/", "/"), ("/a", "a"), ("/a/b/", "b"), ("/a/.", "."), ("//", "/")] {
            assert_eq!(last_part(path), name);
        }
    }
}
