//! Unpacks a layer's tar into a folder, hashing it on the way.
//!
//! The archive is not trusted. Every path is resolved by the kernel with the layer's folder as its root,
//! so neither `..` nor links lead out of it; the last part of a path is never followed.

use super::{
    tar_split::{self, Recorder},
    whiteout::{self, Meaning},
};
use rustix::{
    fs::{
        self as rfs, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT,
        Uid,
    },
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsStr,
    fmt::Write as _,
    fs::File,
    io::{self, BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};
use tar::{Archive, Entry, EntryType, Header};

const BUFFER: usize = 256 * 1024;
/// A folder that shows nothing of the layers below it.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Why a layer was refused or could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("Could not read the archive")]
    Read(#[source] io::Error),
    #[error("Entry {path:?} leads out of the layer")]
    Escapes { path: String },
    #[error("Entry {path:?} has no link target")]
    NoTarget { path: String },
    #[error("Could not write {path:?}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// What names that begin with `.wh.` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// OCI's marks for what is hidden.
    Whiteouts,
    /// Files like any other.
    Literal,
}

/// What was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// `sha256:` of every byte of the archive, padding included.
    pub diff_id: String,
    /// Bytes of all regular files.
    pub size: u64,
    /// Bytes of the archive.
    pub tar_size: u64,
}

/// Unpacks a layer into `root`, the folder `diff` in `layer`, both empty and ours alone, and records there
/// how the archive can be written again.
pub(super) fn unpack_layer(root: &File, tar: impl Read, layer: &Path) -> Result<Unpacked, UnpackError> {
    let failed = |source| UnpackError::Write { path: tar_split::FILE.to_owned(), source };
    let record = RefCell::new(Some(Recorder::create(layer).map_err(failed)?));
    let replaced = Replaced { folder: layer.join(tar_split::REPLACED), numbers: HashMap::new() };
    let unpacked = run(root, tar, Names::Whiteouts, Some(replaced), &record)?;
    record.into_inner().map_or(Ok(()), Recorder::finish).map_err(failed)?;
    Ok(unpacked)
}

/// Unpacks `tar` into a root filesystem.
pub(super) fn unpack(root: &File, tar: impl Read, names: Names) -> Result<(), UnpackError> {
    run(root, tar, names, None, &RefCell::new(None)).map(|_| ())
}

fn run(
    root: &File,
    tar: impl Read,
    names: Names,
    replaced: Option<Replaced>,
    record: &RefCell<Option<Recorder>>,
) -> Result<Unpacked, UnpackError> {
    let hashing = Hashing { inner: tar, hash: Sha256::new(), length: 0 };
    let mut reader = Recorded { inner: BufReader::with_capacity(BUFFER, hashing), record };
    let mut layer = Layer {
        root,
        names,
        parent: None,
        folders: Vec::new(),
        size: 0,
        buffer: vec![0; BUFFER],
        record,
        replaced,
    };
    let mut archive = Archive::new(&mut reader);
    for entry in archive.entries().map_err(UnpackError::Read)? {
        layer.entry(&mut entry.map_err(UnpackError::Read)?)?;
    }
    layer.finish();
    let size = layer.size;
    // The digest covers what follows the end of the archive as well.
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Read)?;
    let Hashing { hash, length: tar_size, .. } = reader.inner.into_inner();
    let mut diff_id = String::from("sha256:");
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _written = write!(diff_id, "{byte:02x}");
    }
    Ok(Unpacked { diff_id, size, tar_size })
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}

/// Shows what is read to the recorder, exactly as the archive takes it.
struct Recorded<'a, R> {
    inner: R,
    record: &'a RefCell<Option<Recorder>>,
}

impl<R: Read> Read for Recorded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let Some(record) = self.record.borrow_mut().as_mut() {
            record.pass(&buffer[..length]);
        }
        Ok(length)
    }
}

/// Files whose content the record leaves out: replaced by a later entry, they are kept all the same.
struct Replaced {
    folder: PathBuf,
    /// The numbers of the record by inode.
    numbers: HashMap<u64, u32>,
}

impl Replaced {
    /// Takes a file that is about to go. `false` when nothing needs it.
    fn keep(&self, folder: BorrowedFd<'_>, name: &OsStr, inode: u64) -> io::Result<bool> {
        let Some(number) = self.numbers.get(&inode) else { return Ok(false) };
        std::fs::create_dir_all(&self.folder)?;
        let to = self.folder.join(number.to_string());
        if to.exists() {
            // By another of its names.
            return Ok(false);
        }
        rfs::renameat(folder, name, rfs::CWD, to)?;
        Ok(true)
    }

    /// The same for every file below a folder.
    fn keep_below(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        for entry in rfs::Dir::read_from(folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let stat = rfs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    self.keep(folder, name, stat.st_ino)?;
                }
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let inner = rfs::openat(folder, name, flags, Mode::empty())?;
                    self.keep_below(inner.as_fd())?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

struct Layer<'a> {
    root: &'a File,
    names: Names,
    /// The folder of the last entry; entries come folder by folder.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of folders, which later entries would change.
    folders: Vec<(PathBuf, Timespec)>,
    size: u64,
    buffer: Vec<u8>,
    record: &'a RefCell<Option<Recorder>>,
    /// Only where there is a record.
    replaced: Option<Replaced>,
}

impl Layer<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path =
            inner_path(&entry.path_bytes()).ok_or_else(|| UnpackError::Escapes { path: shown.clone() })?;
        let failed = |source: io::Error| UnpackError::Write { path: shown.clone(), source };
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The layer's own root: what is said of it counts for the container's root.
            return self.root_entry(entry).map_err(failed);
        };
        let parent = path.parent().map(PathBuf::from).unwrap_or_default();
        let names = self.names;
        let folder = self.folder(parent).map_err(failed)?;
        let meaning = match names {
            Names::Whiteouts => whiteout::meaning(name.as_bytes()),
            Names::Literal => Meaning::File,
        };
        match meaning {
            Meaning::File => {}
            Meaning::Nothing => return Ok(()),
            Meaning::Opaque => return set_xattr(folder, OsStr::new("."), OPAQUE_XATTR, b"y").map_err(failed),
            Meaning::Hides(hidden) => return hide(folder, OsStr::from_bytes(hidden)).map_err(failed),
        }
        if matches!(kind, EntryType::Link) {
            let target =
                entry.link_name_bytes().ok_or_else(|| UnpackError::NoTarget { path: shown.clone() })?;
            let target = inner_path(&target).ok_or_else(|| UnpackError::Escapes { path: shown.clone() })?;
            return self.link(&target, &path, &name).map_err(failed);
        }
        self.make(entry, kind, &path, &name, &shown)
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        kind: EntryType,
        path: &std::path::Path,
        name: &OsStr,
        shown: &str,
    ) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Write { path: shown.to_owned(), source };
        let Attributes { mode, owner, time, xattrs } = Attributes::of(entry).map_err(UnpackError::Read)?;
        let Some((_, folder)) = &self.parent else { return Ok(()) };
        let folder = folder.as_fd();
        let is_folder = matches!(kind, EntryType::Directory);
        let mut was_hidden = false;
        match kind {
            EntryType::Directory => {
                let make = || Ok(rfs::mkdirat(folder, name, Mode::from_raw_mode(0o700))?);
                was_hidden = self.place(folder, name, true, make).map_err(failed)?.1;
            }
            EntryType::Symlink => {
                let target = entry
                    .link_name_bytes()
                    .ok_or_else(|| UnpackError::NoTarget { path: shown.to_owned() })?;
                let make = || Ok(rfs::symlinkat(OsStr::from_bytes(&target), folder, name)?);
                self.place(folder, name, false, make).map_err(failed)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let make = || node(folder, name, kind, entry.header());
                self.place(folder, name, false, make).map_err(failed)?;
            }
            // Regular files, contiguous and sparse ones, and what nobody knows: POSIX says so.
            _ => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let make = || Ok(File::from(rfs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?));
                let (file, _) = self.place(folder, name, false, make).map_err(failed)?;
                let Some(file) = file else { return Ok(()) };
                self.size += self.regular(&file, path, entry).map_err(failed)?;
                return finish_file(&file, mode, owner, time, &xattrs).map_err(failed);
            }
        }
        let is_link = matches!(kind, EntryType::Symlink);
        rfs::chownat(folder, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(e.into()))?;
        for (key, value) in &xattrs {
            match set_xattr(folder, name, key, value) {
                // As dockerd: a file system without them, or a link that cannot carry them.
                Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOTSUP | nix::libc::EPERM)) => {
                }
                other => other.map_err(failed)?,
            }
        }
        if !is_link {
            // After the owner, whose change clears setuid.
            rfs::chmodat(folder, name, mode, AtFlags::empty()).map_err(|e| failed(e.into()))?;
        }
        if is_folder {
            if was_hidden && self.names == Names::Whiteouts {
                set_xattr(folder, name, OPAQUE_XATTR, b"y").map_err(failed)?;
            }
            self.folders.push((path.to_owned(), time));
        } else {
            rfs::utimensat(folder, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }

    fn root_entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        if !matches!(entry.header().entry_type(), EntryType::Directory) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the root is not a folder"));
        }
        let Attributes { mode, owner, time, .. } = Attributes::of(entry)?;
        rfs::fchown(self.root, Some(owner.0), Some(owner.1))?;
        rfs::fchmod(self.root, mode)?;
        self.folders.push((PathBuf::from("."), time));
        Ok(())
    }

    fn link(&mut self, target: &std::path::Path, path: &std::path::Path, name: &OsStr) -> io::Result<()> {
        let no_target = || io::Error::new(io::ErrorKind::InvalidData, "the link target is the root");
        let target_name = target.file_name().ok_or_else(no_target)?;
        if target == path {
            return Ok(());
        }
        let target_folder = resolve(self.root.as_fd(), target.parent().unwrap_or(target))?;
        let Some((_, folder)) = &self.parent else { return Ok(()) };
        let make = || Ok(rfs::linkat(&target_folder, target_name, folder, name, AtFlags::empty())?);
        self.place(folder.as_fd(), name, false, make)?;
        Ok(())
    }

    /// Makes something, in the place of what an earlier entry may have made there; of folders, `None` when
    /// one is there already. Says as well whether the name was hidden so far.
    fn place<T>(
        &self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        is_folder: bool,
        make: impl Fn() -> io::Result<T>,
    ) -> io::Result<(Option<T>, bool)> {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return Ok((Some(made?), false)),
        }
        let stat = rfs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let there = FileType::from_raw_mode(stat.st_mode);
        if is_folder && there == FileType::Directory {
            return Ok((None, false));
        }
        let was_hidden = there == FileType::CharacterDevice && stat.st_rdev == 0;
        self.clear(folder, name, there, stat.st_ino)?;
        Ok((Some(make()?), was_hidden))
    }

    fn clear(&self, folder: BorrowedFd<'_>, name: &OsStr, there: FileType, inode: u64) -> io::Result<()> {
        if let Some(replaced) = &self.replaced {
            match there {
                FileType::RegularFile if replaced.keep(folder, name, inode)? => return Ok(()),
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let inner = rfs::openat(folder, name, flags, Mode::empty())?;
                    replaced.keep_below(inner.as_fd())?;
                }
                _ => {}
            }
        }
        remove(folder, name, there == FileType::Directory)
    }

    /// Writes a file's content. Says how many bytes it has.
    fn regular<R: Read>(&mut self, file: &File, path: &Path, entry: &mut Entry<'_, R>) -> io::Result<u64> {
        let sparse = matches!(entry.header().entry_type(), EntryType::GNUSparse);
        let length = entry.size();
        // What is between the holes is not what the file has: kept as it came.
        let recorded = !sparse && length > 0 && self.replaced.is_some();
        if recorded && let Some(replaced) = &mut self.replaced {
            let mut record = self.record.borrow_mut();
            if let Some(record) = record.as_mut() {
                let number = record.begin_content(path.as_os_str().as_bytes(), length);
                replaced.numbers.insert(rfs::fstat(file)?.st_ino, number);
            }
        }
        let written = write_content(file, entry, &mut self.buffer, sparse);
        if recorded && let Some(record) = self.record.borrow_mut().as_mut() {
            record.end_content();
        }
        written
    }

    /// The folder at `path`, made if it is missing.
    fn folder(&mut self, path: PathBuf) -> io::Result<BorrowedFd<'_>> {
        let known = self.parent.as_ref().is_some_and(|(known, _)| *known == path);
        if !known {
            let folder = match resolve(self.root.as_fd(), &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_folders(&path)?,
                other => other?,
            };
            self.parent = Some((path, folder));
        }
        match &self.parent {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Ok(self.root.as_fd()),
        }
    }

    fn make_folders(&self, path: &std::path::Path) -> io::Result<OwnedFd> {
        let mut reached = PathBuf::new();
        let mut folder = resolve(self.root.as_fd(), &reached)?;
        for part in path {
            reached.push(part);
            let next = match resolve(self.root.as_fd(), &reached) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rfs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
                        // A link to nowhere.
                        Err(Errno::EXIST) => return Err(error),
                        other => other?,
                    }
                    resolve(self.root.as_fd(), &reached)?
                }
                other => other?,
            };
            folder = next;
        }
        Ok(folder)
    }

    /// The times of folders, now that nothing changes them any more.
    fn finish(&self) {
        for (path, time) in self.folders.iter().rev() {
            if let Ok(folder) = resolve(self.root.as_fd(), path) {
                // Replaced by a later entry, if it fails.
                let _replaced = rfs::futimens(&folder, &times(*time));
            }
        }
    }
}

/// What a header says of an entry besides its kind.
struct Attributes {
    mode: Mode,
    owner: (Uid, Gid),
    time: Timespec,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Self> {
        let mut time = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut xattrs = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let Ok(key) = extension.key() else { continue };
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    // An archive has no say in how layers are stacked.
                    if !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay.") {
                        xattrs.push((name.to_owned(), extension.value_bytes().to_owned()));
                    }
                } else if key == "mtime"
                    && let Some(parsed) = extension.value().ok().and_then(pax_time)
                {
                    time = parsed;
                }
            }
        }
        let header = entry.header();
        if time.tv_sec == 0 && time.tv_nsec == 0 {
            let seconds = number(&header.as_old().mtime, || header.mtime())?;
            time.tv_sec = i64::try_from(seconds).unwrap_or(0);
        }
        // The pax numbers have been merged into the header by the tar crate.
        let id = |number: u64| {
            u32::try_from(number)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "owner out of range"))
        };
        let old = header.as_old();
        let uid = id(number(&old.uid, || header.uid())?)?;
        let gid = id(number(&old.gid, || header.gid())?)?;
        let mode = number(&old.mode, || header.mode().map(u64::from))?;
        let mode = Mode::from_raw_mode(u32::try_from(mode & 0o7777).unwrap_or(0));
        Ok(Self { mode, owner: (Uid::from_raw(uid), Gid::from_raw(gid)), time, xattrs })
    }
}

/// An empty field is zero, as for every other reader of tars.
fn number(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { read() }
}

/// `SECONDS[.FRACTION]`.
fn pax_time(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timespec { tv_sec: seconds.parse().ok()?, tv_nsec: digits.parse().ok()? })
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified }
}

/// The path below the layer's root, or nothing when it tries to climb out.
fn inner_path(bytes: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in bytes.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part if part.contains(&0) => return None,
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Some(path)
}

/// Opens a folder with the layer as the root of every path and link.
fn resolve(root: BorrowedFd<'_>, path: &std::path::Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { std::path::Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(rfs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

fn write_content(file: &File, entry: &mut impl Read, buffer: &mut [u8], sparse: bool) -> io::Result<u64> {
    let mut written = 0;
    loop {
        let length = match entry.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if length == 0 {
            break;
        }
        let data = &buffer[..length];
        if !(sparse && data.iter().all(|&byte| byte == 0)) {
            file.write_all_at(data, written)?;
        }
        written += length as u64;
    }
    if sparse {
        file.set_len(written)?;
    }
    Ok(written)
}

/// What a header says of a file. In this order: a change of owner clears setuid and capabilities.
fn finish_file(
    file: &File,
    mode: Mode,
    owner: (Uid, Gid),
    time: Timespec,
    xattrs: &[(String, Vec<u8>)],
) -> io::Result<()> {
    rfs::fchown(file, Some(owner.0), Some(owner.1))?;
    for (key, value) in xattrs {
        match xattr::FileExt::set_xattr(file, key, value) {
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOTSUP | nix::libc::EPERM)) => {}
            other => other?,
        }
    }
    rfs::fchmod(file, mode)?;
    Ok(rfs::futimens(file, &times(time))?)
}

fn node(folder: BorrowedFd<'_>, name: &OsStr, kind: EntryType, header: &Header) -> io::Result<()> {
    let number = |part: io::Result<Option<u32>>| part.map(Option::unwrap_or_default);
    let device =
        || io::Result::Ok(rfs::makedev(number(header.device_major())?, number(header.device_minor())?));
    let (kind, device) = match kind {
        EntryType::Char => (FileType::CharacterDevice, device()?),
        EntryType::Block => (FileType::BlockDevice, device()?),
        // Has no numbers, and some archives leave the fields empty.
        _ => (FileType::Fifo, 0),
    };
    rfs::mknodat(folder, name, kind, Mode::from_raw_mode(0o600), device)?;
    Ok(())
}

/// Makes overlayfs's whiteout, unless this very layer has the name.
fn hide(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    if matches!(name.as_bytes(), b"." | b"..") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a whiteout of nothing"));
    }
    match rfs::mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

fn remove(folder: BorrowedFd<'_>, name: &OsStr, is_folder: bool) -> io::Result<()> {
    if is_folder {
        // Does not follow links on its way.
        return std::fs::remove_dir_all(through(folder, name));
    }
    Ok(rfs::unlinkat(folder, name, AtFlags::empty())?)
}

fn set_xattr(folder: BorrowedFd<'_>, name: &OsStr, key: &str, value: &[u8]) -> io::Result<()> {
    xattr::set(through(folder, name), key, value)
}

/// A path to `name` in an open folder, for calls that have no `at` form.
fn through(folder: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inner_path(b"/etc//./passwd"), Some(PathBuf::from("etc/passwd")));
        assert_eq!(inner_path(b"./"), Some(PathBuf::new()));
        for path in [&b"../x"[..], b"a/../../x", b"..", b"a\0b"] {
            assert_eq!(inner_path(path), None);
        }
    }

    #[test]
    fn pax_times_have_nanoseconds() {
        let time = pax_time("1700000000.5").unwrap();
        assert_eq!((time.tv_sec, time.tv_nsec), (1_700_000_000, 500_000_000));
        assert!(pax_time("x").is_none());
    }
}
