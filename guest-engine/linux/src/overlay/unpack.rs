//! Unpacks a tar into a folder: a layer, hashed on the way, or files for a root filesystem.
//!
//! The archive is not trusted. Every path is resolved by the kernel with the folder as its root, so neither
//! `..` nor links lead out of it; the last part of a path is never followed.

mod attributes;

use self::attributes::Attributes;
use super::{
    tar_split::{self, Recorder},
    whiteout::{self, Meaning},
};
use crate::open_within::open_within;
use engine::pax::{PaxReader, PaxRecords};
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
/// A file with holes costs nothing to announce, and time to write.
const SPARSE_LIMIT: u64 = 1 << 40;
/// How paths are resolved: never out of the root.
pub(super) const SCOPE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
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
    #[error("cannot overwrite directory {path:?} with non-directory {target:?}")]
    OverFolder { path: String, target: String },
    #[error("cannot overwrite non-directory {path:?} with directory {target:?}")]
    OverFile { path: String, target: String },
    #[error("Could not write {path:?}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// What names that begin with `.wh.` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// OCI's marks for what is hidden.
    Whiteouts,
    /// Files like any other.
    Literal,
}

/// How files are put into a root filesystem.
#[derive(Debug, Default)]
pub(super) struct Manner {
    /// The folder that names are relative to, inside the root.
    pub(super) base: PathBuf,
    /// Refuse to replace a folder by something else, and the other way round. The base stays as it is.
    pub(super) keep_kinds: bool,
    /// Whose everything is to be, instead of who the archive says.
    pub(super) owner: Option<(u32, u32)>,
    /// Go on where something is mounted in the root.
    pub(super) across_mounts: bool,
    /// What the archive says of its root is not for the base.
    pub(super) keep_base: bool,
}

/// What was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// `sha256:` of every byte of the archive, padding included.
    pub diff_id: String,
    /// Bytes of all regular files and of links' targets.
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
    let hashing = Hashing { inner: tar, hash: Sha256::new(), length: 0 };
    let mut reader = Recorded { inner: BufReader::with_capacity(BUFFER, hashing), record: &record };
    let size = unpack(root, &mut reader, Names::Whiteouts, Manner::default(), Some(replaced), &record)?;
    // The digest covers what follows the end of the archive as well.
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Read)?;
    let Hashing { hash, length: tar_size, .. } = reader.inner.into_inner();
    let mut diff_id = String::from("sha256:");
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _written = write!(diff_id, "{byte:02x}");
    }
    record.into_inner().map_or(Ok(()), Recorder::finish).map_err(failed)?;
    Ok(Unpacked { diff_id, size, tar_size })
}

/// Unpacks files into a root filesystem, or a folder that is to be like one.
pub(super) fn files(root: &File, tar: impl Read, manner: Manner) -> Result<(), UnpackError> {
    let mut reader = BufReader::with_capacity(BUFFER, tar);
    unpack(root, &mut reader, Names::Literal, manner, None, &RefCell::new(None))?;
    // Whoever sends the archive expects it to be read to its end.
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Read)?;
    Ok(())
}

fn unpack(
    root: &File,
    reader: &mut impl Read,
    names: Names,
    manner: Manner,
    replaced: Option<Replaced>,
    record: &RefCell<Option<Recorder>>,
) -> Result<u64, UnpackError> {
    let reader = PaxReader::new(reader);
    let mut layer = Layer {
        root,
        pax: reader.records(),
        names,
        manner,
        parent: None,
        folders: Vec::new(),
        size: 0,
        buffer: vec![0; BUFFER],
        record,
        replaced,
    };
    for entry in Archive::new(reader).entries().map_err(UnpackError::Read)? {
        layer.entry(&mut entry.map_err(UnpackError::Read)?)?;
    }
    layer.finish();
    Ok(layer.size)
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
    pax: PaxRecords,
    names: Names,
    manner: Manner,
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
        let bytes = self.pax.value("path").unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let named = inner_path(&bytes).ok_or_else(|| UnpackError::Escapes { path: shown.clone() })?;
        let at_root = named.as_os_str().is_empty();
        if at_root && self.manner.keep_base {
            return Ok(());
        }
        let path = self.manner.base.join(named);
        let failed = |source: io::Error| UnpackError::Write { path: shown.clone(), source };
        let Some(name) = path.file_name().filter(|_| !at_root).map(OsStr::to_owned) else {
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
            let target = self.target(entry).ok_or_else(|| UnpackError::NoTarget { path: shown.clone() })?;
            let target = inner_path(&target).ok_or_else(|| UnpackError::Escapes { path: shown.clone() })?;
            let target = self.manner.base.join(target);
            return self.link(&target, &path, &name).map_err(failed);
        }
        self.make(entry, kind, &path, &name, &shown)
    }

    /// What a link leads to.
    fn target<R: Read>(&self, entry: &Entry<'_, R>) -> Option<Vec<u8>> {
        self.pax.value("linkpath").or_else(|| Some(entry.link_name_bytes()?.into_owned()))
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        kind: EntryType,
        path: &Path,
        name: &OsStr,
        shown: &str,
    ) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Write { path: shown.to_owned(), source };
        let Attributes { mode, mut owner, time, xattrs } =
            Attributes::of(entry, self.pax.of_entry()).map_err(UnpackError::Read)?;
        if let Some((user, group)) = self.manner.owner {
            owner = (Uid::from_raw(user), Gid::from_raw(group));
        }
        let Some((_, folder)) = &self.parent else { return Ok(()) };
        let folder = folder.as_fd();
        let is_folder = matches!(kind, EntryType::Directory);
        let mut was_hidden = false;
        if self.manner.keep_kinds {
            self.check_kind(folder, path, name, is_folder)?;
        }
        match kind {
            EntryType::Directory => {
                let make = || Ok(rfs::mkdirat(folder, name, Mode::from_raw_mode(0o700))?);
                was_hidden = self.place(folder, name, true, make).map_err(failed)?.1;
            }
            EntryType::Symlink => {
                let target =
                    self.target(entry).ok_or_else(|| UnpackError::NoTarget { path: shown.to_owned() })?;
                let make = || Ok(rfs::symlinkat(OsStr::from_bytes(&target), folder, name)?);
                self.place(folder, name, false, make).map_err(failed)?;
                self.size += target.len() as u64;
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

    /// Refuses a folder in the place of something else, and the other way round.
    fn check_kind(
        &self,
        folder: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        is_folder: bool,
    ) -> Result<(), UnpackError> {
        let Ok(stat) = rfs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let was_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if was_folder == is_folder {
            return Ok(());
        }
        let (path, target) = (format!("/{}", path.display()), format!("/{}", self.manner.base.display()));
        Err(match was_folder {
            true => UnpackError::OverFolder { path, target },
            false => UnpackError::OverFile { path, target },
        })
    }

    fn root_entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        if !matches!(entry.header().entry_type(), EntryType::Directory) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the root is not a folder"));
        }
        let Attributes { mode, owner, time, .. } = Attributes::of(entry, self.pax.of_entry())?;
        rfs::fchown(self.root, Some(owner.0), Some(owner.1))?;
        rfs::fchmod(self.root, mode)?;
        self.folders.push((PathBuf::from("."), time));
        Ok(())
    }

    fn link(&mut self, target: &Path, path: &Path, name: &OsStr) -> io::Result<()> {
        let no_target = || io::Error::new(io::ErrorKind::InvalidData, "the link target is the root");
        let target_name = target.file_name().ok_or_else(no_target)?;
        if target == path {
            return Ok(());
        }
        let target_folder = self.resolve(target.parent().unwrap_or(target))?;
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
        if sparse && length > SPARSE_LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
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
            let folder = make_folders(self.root.as_fd(), &path, self.scope())?;
            self.parent = Some((path, folder));
        }
        match &self.parent {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Ok(self.root.as_fd()),
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        resolve(self.root.as_fd(), path, self.scope())
    }

    fn scope(&self) -> ResolveFlags {
        match self.manner.across_mounts {
            true => SCOPE,
            false => SCOPE | ResolveFlags::NO_XDEV,
        }
    }

    /// The times of folders, now that nothing changes them any more.
    fn finish(&self) {
        for (path, time) in self.folders.iter().rev() {
            if let Ok(folder) = self.resolve(path) {
                // Replaced by a later entry, if it fails.
                let _replaced = rfs::futimens(&folder, &times(*time));
            }
        }
    }
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

/// The folder at `path`, made if it is missing.
pub(super) fn make_folders(root: BorrowedFd<'_>, path: &Path, scope: ResolveFlags) -> io::Result<OwnedFd> {
    match resolve(root, path, scope) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut reached = PathBuf::new();
    let mut folder = resolve(root, &reached, scope)?;
    for part in path {
        reached.push(part);
        folder = match resolve(root, &reached, scope) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rfs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
                    // A link to nowhere.
                    Err(Errno::EXIST) => return Err(error),
                    other => other?,
                }
                resolve(root, &reached, scope)?
            }
            other => other?,
        };
    }
    Ok(folder)
}

/// Opens a folder with `root` as the root of every path and link.
fn resolve(root: BorrowedFd<'_>, path: &Path, scope: ResolveFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open_within(root, path, flags, scope)?)
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
}
