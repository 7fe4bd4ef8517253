//! Writes a folder as a tar: what a container has changed, as an OCI layer, or any part of its files.
//!
//! The order is that of the names' bytes, so equal folders give equal archives. A process may still write
//! while we read: every folder is entered from its parent's descriptor, and no link is ever followed.

use rustix::fs::{self as rfs, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};
use tar::{Builder, EntryType, Header};

/// Where overlayfs keeps its own notes.
const OVERLAY_XATTRS: &str = "trusted.overlay.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Each level holds a descriptor open.
const DEPTH_LIMIT: usize = 512;
/// Tar's unit.
const BLOCK: u64 = 512;
const BUFFER: usize = 256 * 1024;
/// Longest name and link target that the classic header holds.
const FIELD: usize = 100;

/// How names are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An overlay's upper folder: whiteouts and opaque folders become OCI's marks.
    Changes,
    /// Just files.
    Files,
}

/// Writes everything below `root` (not itself), with names relative to it. Says how many bytes the regular
/// files and links' targets have.
pub(super) fn write(root: BorrowedFd<'_>, kind: Kind, to: impl Write) -> io::Result<u64> {
    let mut writer = Writer::new(to, kind);
    writer.folder(root, &[], 0)?;
    writer.tar.into_inner()?.flush()?;
    Ok(writer.size)
}

/// Writes a folder and everything below it, under `name`; an empty name is the root.
pub(super) fn write_folder(root: BorrowedFd<'_>, name: &[u8], to: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(to, Kind::Files);
    let stat = rfs::fstat(root)?;
    let path = [name, b"/"].concat();
    writer.put(&stat, EntryType::Directory, &path, None, &through(root, OsStr::new(".")))?;
    writer.folder(root, &path, 0)?;
    writer.tar.into_inner()?.flush()
}

/// Writes one file, not a folder, under `name`.
pub(super) fn write_file(
    folder: BorrowedFd<'_>,
    file: &OsStr,
    name: &[u8],
    to: impl Write,
) -> io::Result<()> {
    let mut writer = Writer::new(to, Kind::Files);
    writer.entry(folder, file, name, 0)?;
    writer.tar.into_inner()?.flush()
}

/// Takes away what overlayfs noted for a mount that is no more; opaque marks stay. Refuses notes that say
/// where else content is: such a folder is not whole by itself.
pub(super) fn forget_overlay(folder: BorrowedFd<'_>) -> io::Result<()> {
    forget(folder, 0)
}

fn forget(folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    strip(&through(folder, OsStr::new(".")))?;
    for name in names(folder)? {
        let stat = rfs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => forget(open_folder(folder, &name, depth)?.as_fd(), depth + 1)?,
            FileType::RegularFile => strip(&through(folder, &name))?,
            _ => {}
        }
    }
    Ok(())
}

fn strip(path: &std::path::Path) -> io::Result<()> {
    for key in list_xattrs(path)? {
        let Some(note) = key.to_str().and_then(|key| key.strip_prefix(OVERLAY_XATTRS)) else { continue };
        if note != "opaque" {
            xattr::remove(path, &key)?;
        }
    }
    Ok(())
}

struct Writer<W: Write> {
    tar: Builder<W>,
    kind: Kind,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    size: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn new(to: W, kind: Kind) -> Self {
        Self { tar: Builder::new(to), kind, links: HashMap::new(), size: 0, buffer: vec![0; BUFFER] }
    }

    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &[u8], depth: usize) -> io::Result<()> {
        for name in names(folder)? {
            let mut path = prefix.to_owned();
            path.extend_from_slice(name.as_bytes());
            self.entry(folder, &name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &[u8], depth: usize) -> io::Result<()> {
        let stat = match rfs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since the folder was read.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        match file_type {
            FileType::Directory => self.directory(folder, name, path, depth),
            FileType::RegularFile => self.regular(folder, name, path),
            FileType::Symlink => {
                let target = rfs::readlinkat(folder, name, Vec::new())?;
                self.size += target.as_bytes().len() as u64;
                self.put(&stat, EntryType::Symlink, path, Some(target.as_bytes()), &through(folder, name))
            }
            FileType::CharacterDevice if stat.st_rdev == 0 && self.kind == Kind::Changes => {
                self.whiteout(&stat, path)
            }
            FileType::CharacterDevice => self.put(&stat, EntryType::Char, path, None, &through(folder, name)),
            FileType::BlockDevice => self.put(&stat, EntryType::Block, path, None, &through(folder, name)),
            FileType::Fifo => self.put(&stat, EntryType::Fifo, path, None, &through(folder, name)),
            // A socket means nothing without the process behind it: archives leave them out.
            _ => Ok(()),
        }
    }

    fn directory(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let inner = open_folder(folder, name, depth)?;
        let stat = rfs::fstat(&inner)?;
        let mut path = path.to_owned();
        path.push(b'/');
        let own = through(inner.as_fd(), OsStr::new("."));
        self.put(&stat, EntryType::Directory, &path, None, &own)?;
        if self.kind == Kind::Changes && is_opaque(&own)? {
            let mut mark = path.clone();
            mark.extend_from_slice(b".wh..wh..opq");
            // As old as dockerd makes it.
            let mut stat = stat;
            (stat.st_mtime, stat.st_mtime_nsec) = (0, 0);
            self.mark(&stat, &mark)?;
        }
        self.folder(inner.as_fd(), &path, depth + 1)
    }

    fn regular(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rfs::openat(folder, name, flags, Mode::empty())?);
        let stat = rfs::fstat(&file)?;
        let own = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.put(&stat, EntryType::Link, path, Some(&first), &own);
            }
            self.links.insert(key, path.to_owned());
        }
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let header = self.header(&stat, EntryType::Regular, length, path, None, &own)?;
        self.tar.get_mut().write_all(header.as_bytes())?;
        self.content(file, length)?;
        self.size += length;
        Ok(())
    }

    /// As long as the header says, whatever happens to the file meanwhile; then up to a full block.
    fn content(&mut self, mut file: File, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let read = match file.read(&mut self.buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                io::copy(&mut io::repeat(0).take(left), self.tar.get_mut())?;
                break;
            }
            self.tar.get_mut().write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        let over = usize::try_from(length % BLOCK).unwrap_or(0);
        if over > 0 {
            self.tar.get_mut().write_all(&[0; BLOCK as usize][over..])?;
        }
        Ok(())
    }

    fn whiteout(&mut self, stat: &Stat, path: &[u8]) -> io::Result<()> {
        let split = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(split);
        // As dockerd writes it: overlayfs's own has no permissions.
        let mut stat = *stat;
        stat.st_mode = 0o600;
        self.mark(&stat, &[parent, b".wh.", name].concat())
    }

    fn mark(&mut self, stat: &Stat, path: &[u8]) -> io::Result<()> {
        let header = self.header(stat, EntryType::Regular, 0, path, None, std::path::Path::new(""))?;
        self.tar.append(&header, io::empty())
    }

    fn put(
        &mut self,
        stat: &Stat,
        kind: EntryType,
        path: &[u8],
        target: Option<&[u8]>,
        own: &std::path::Path,
    ) -> io::Result<()> {
        let header = self.header(stat, kind, 0, path, target, own)?;
        self.tar.append(&header, io::empty())
    }

    /// Writes what the classic header cannot say, and gives that header. Attributes are read from `own`
    /// unless it is empty.
    fn header(
        &mut self,
        stat: &Stat,
        kind: EntryType,
        length: u64,
        path: &[u8],
        target: Option<&[u8]>,
        own: &std::path::Path,
    ) -> io::Result<Header> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_size(length);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(rfs::major(stat.st_rdev))?;
            header.set_device_minor(rfs::minor(stat.st_rdev))?;
        }
        let mut more: Vec<(String, Vec<u8>)> = Vec::new();
        if stat.st_mtime_nsec != 0 || stat.st_mtime < 0 {
            more.push(("mtime".to_owned(), pax_time(stat.st_mtime, stat.st_mtime_nsec).into_bytes()));
        }
        let old = header.as_old_mut();
        if !fill(&mut old.name, path) {
            more.push(("path".to_owned(), path.to_owned()));
        }
        if let Some(target) = target
            && !fill(&mut old.linkname, target)
        {
            more.push(("linkpath".to_owned(), target.to_owned()));
        }
        // Another name of a file has the attributes already.
        if !own.as_os_str().is_empty() && kind != EntryType::Link {
            more.extend(self.attributes(own)?);
        }
        header.set_cksum();
        self.tar.append_pax_extensions(more.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        Ok(header)
    }

    fn attributes(&self, own: &std::path::Path) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for key in list_xattrs(own)? {
            // Names that are no text cannot be said in an archive, nor can labels of this machine's policy.
            let Some(text) = key.to_str() else { continue };
            if let Some(note) = text.strip_prefix(OVERLAY_XATTRS) {
                if self.kind == Kind::Changes && matches!(note, "redirect" | "metacopy") {
                    return Err(io::Error::other(format!(
                        "content of {} is in another layer",
                        own.display()
                    )));
                }
                continue;
            }
            if text.starts_with("user.overlay.") || text == "security.selinux" {
                continue;
            }
            let value = if own.starts_with("/proc/self/fd") && own.components().count() == 5 {
                xattr::get_deref(own, &key)?
            } else {
                xattr::get(own, &key)?
            };
            if let Some(value) = value {
                found.push((format!("SCHILY.xattr.{text}"), value));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Whether it fits; a name that fills the field has no end mark and needs none.
fn fill(field: &mut [u8; FIELD], text: &[u8]) -> bool {
    let length = text.len().min(FIELD);
    field[..length].copy_from_slice(&text[..length]);
    // What is not plain text must be said where encodings are.
    text.len() <= FIELD && text.is_ascii()
}

fn is_opaque(own: &std::path::Path) -> io::Result<bool> {
    match xattr::get(own, OPAQUE_XATTR) {
        Ok(value) => Ok(value.as_deref() == Some(b"y")),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOTSUP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn list_xattrs(path: &std::path::Path) -> io::Result<Vec<OsString>> {
    // A descriptor's own entry is a link to what is open; everything else is taken as it is.
    let listed = if path.starts_with("/proc/self/fd") && path.components().count() == 5 {
        xattr::list_deref(path)
    } else {
        xattr::list(path)
    };
    match listed {
        Ok(keys) => Ok(keys.collect()),
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOTSUP | nix::libc::ENOENT)) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn pax_time(seconds: i64, nanoseconds: impl Into<i128>) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + nanoseconds.into();
    let sign = if total < 0 { "-" } else { "" };
    let total = total.abs();
    let fraction = format!("{:09}", total % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let whole = total / 1_000_000_000;
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Names in a folder, by their bytes.
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

fn open_folder(folder: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<OwnedFd> {
    if depth >= DEPTH_LIMIT {
        return Err(io::Error::other(format!("folders are nested deeper than {DEPTH_LIMIT} levels")));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rfs::openat(folder, name, flags, Mode::empty())?)
}

/// A path to `name` in an open folder, for calls that have no `at` form.
fn through(folder: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &std::path::Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(File::open(folder).unwrap().as_fd(), Kind::Changes, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_empty_folder_is_dockers_empty_layer() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(archive(folder.path()), vec![0; 1024]);
    }

    #[test]
    fn equal_folders_give_equal_archives() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b").join(&long), "x").unwrap();
        std::fs::hard_link(folder.path().join("b").join(&long), folder.path().join("z")).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a")).unwrap();
        let bytes = archive(folder.path());
        assert_eq!(bytes, archive(folder.path()));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<(String, EntryType)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().entry_type())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), EntryType::Symlink),
                ("b/".to_owned(), EntryType::Directory),
                (format!("b/{long}"), EntryType::Regular),
                ("z".to_owned(), EntryType::Link),
            ]
        );
    }

    #[test]
    fn times_keep_their_fraction() {
        assert_eq!(pax_time(12, 500_000_000), "12.5");
        assert_eq!(pax_time(12, 0), "12");
        assert_eq!(pax_time(-1, 500_000_000), "-0.5");
    }
}
