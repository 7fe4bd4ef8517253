//! What a layer's tar says besides the content of its files, so that it can be written again byte for byte.
//!
//! A stream of records, compressed with zstd: bytes to be taken as they are, or a file whose content stands
//! in the layer. A file that a later entry of the same archive replaced is kept beside the layer.

use super::system;
use crate::open_within::open_within;
use engine::error::Result;
use rustix::fs::{OFlags, ResolveFlags};
use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

/// In a layer's folder.
pub(super) const FILE: &str = "tar-split.zst";
/// Folder of replaced files, named by their numbers.
pub(super) const REPLACED: &str = "replaced";
/// Quick; headers compress well anyway.
const LEVEL: i32 = 1;
const BYTES: u8 = 0;
const CONTENT: u8 = 1;
/// Bytes that are collected to one record.
const COLLECT: usize = 64 * 1024;

/// Writes while a layer is unpacked.
pub(super) struct Recorder {
    to: zstd::stream::write::Encoder<'static, File>,
    pending: Vec<u8>,
    /// Content that is left out still comes by.
    in_content: bool,
    files: u32,
    error: Option<io::Error>,
}

impl Recorder {
    /// Makes the file in a layer's folder.
    pub(super) fn create(layer: &Path) -> io::Result<Self> {
        let to = zstd::stream::write::Encoder::new(File::create(layer.join(FILE))?, LEVEL)?;
        let pending = Vec::with_capacity(COLLECT * 2);
        Ok(Self { to, pending, in_content: false, files: 0, error: None })
    }

    /// Every byte of the tar comes by here, in order.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if self.in_content {
            return;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= COLLECT {
            self.flush();
        }
    }

    /// The next `length` bytes are the content of the file at `path`. Gives its number.
    pub(super) fn begin_content(&mut self, path: &[u8], length: u64) -> u32 {
        self.flush();
        self.in_content = true;
        self.files += 1;
        let mut record = vec![CONTENT];
        record.extend(length.to_le_bytes());
        record.extend(self.files.to_le_bytes());
        record.extend(u32::try_from(path.len()).unwrap_or(0).to_le_bytes());
        record.extend(path);
        self.put(&record);
        self.files
    }

    pub(super) fn end_content(&mut self) {
        self.in_content = false;
    }

    /// Fails when anything could not be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush();
        match self.error.take() {
            Some(error) => Err(error),
            None => self.to.finish().map(|_| ()),
        }
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut record = vec![BYTES];
        record.extend(u32::try_from(self.pending.len()).unwrap_or(0).to_le_bytes());
        self.put(&record);
        let pending = std::mem::take(&mut self.pending);
        self.put(&pending);
        self.pending = pending;
        self.pending.clear();
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.to.write_all(bytes).err();
        }
    }
}

/// Whether a layer's tar can be written from records.
pub(super) fn exists(layer: &Path) -> bool {
    layer.join(FILE).exists()
}

/// Writes the tar again. `diff` is the open folder of the layer's files.
pub(super) fn write(layer: &Path, diff: &File, mut to: impl Write) -> Result<()> {
    let failed = |error: io::Error| system("Could not write the layer's archive again", error);
    let records = File::open(layer.join(FILE)).and_then(zstd::stream::read::Decoder::new).map_err(failed)?;
    let mut records = BufReader::with_capacity(COLLECT, records);
    let replaced = File::open(layer.join(REPLACED)).ok();
    let mut kind = [0];
    let mut buffer = vec![0; COLLECT];
    loop {
        if records.read(&mut kind).map_err(failed)? == 0 {
            return Ok(());
        }
        if kind[0] == BYTES {
            let length = u32::from_le_bytes(array(&mut records).map_err(failed)?);
            copy(&mut records, length.into(), &mut to, &mut buffer).map_err(failed)?;
            continue;
        }
        let length = u64::from_le_bytes(array(&mut records).map_err(failed)?);
        let number = u32::from_le_bytes(array(&mut records).map_err(failed)?);
        let mut path = vec![0; u32::from_le_bytes(array(&mut records).map_err(failed)?) as usize];
        records.read_exact(&mut path).map_err(failed)?;
        let path = Path::new(std::ffi::OsStr::from_bytes(&path));
        let content = match &replaced {
            Some(folder) => {
                open(folder, Path::new(&number.to_string())).or_else(|_| open(diff, path)).map_err(failed)?
            }
            None => open(diff, path).map_err(failed)?,
        };
        copy(&mut &content, length, &mut to, &mut buffer)
            .map_err(|error| system(&format!("Could not read {} of the layer", path.display()), error))?;
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Exactly `length` bytes.
fn copy(from: &mut impl Read, length: u64, to: &mut impl Write, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                left -= length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open(folder: &File, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(open_within(folder.as_fd(), path, flags, resolve)?.into())
}
