//! Machines in a file, to move them to another computer: `machine export` and `machine import`.
//!
//! The file is a zstd-compressed tar of what the machine is: `machine.json` (its record without anything that
//! is of this computer), its keys, and what the driver says holds its contents, holes left out. It holds
//! private keys and is readable by its owner alone.

mod sparse;

use crate::{
    file_error::FileError,
    store::{OwnPart, files},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Version of the file; raised when an older `machine` must not read it.
const VERSION: u32 = 1;
const HEADER: &str = "machine.json";
/// What identifies the machine to itself and to us.
const KEYS: [&str; 4] = [files::CLIENT_KEY, files::CLIENT_KEY_PUB, files::HOST_KEY, files::HOST_KEY_PUB];
/// Zeros are most of a disk: the fastest level does it.
const LEVEL: i32 = 1;
/// More is no header.
const LONGEST_HEADER: u64 = 16 * 1024 * 1024;

/// What stands in front.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// The machine's name where it was.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its record.
    pub machine: OwnPart,
    /// Files with its contents, and their sizes in bytes.
    pub contents: Vec<(String, u64)>,
}

/// A machine cannot be written to a file or read from it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is none of ours.
    #[error("{} is no exported machine", .path.display())]
    Foreign { path: PathBuf },
    /// The file is from the future.
    #[error("{} was written by a newer machine", .path.display())]
    Newer { path: PathBuf },
}

impl Header {
    /// The header of the machine in `folder`.
    pub fn new(
        name: &str,
        driver: &str,
        machine: OwnPart,
        folder: &Path,
        contents: &[&str],
    ) -> Result<Self, TransferError> {
        let size = |name: &&str| {
            let path = folder.join(name);
            let found = path.metadata().map_err(FileError::on("examine", &path))?;
            Ok(((*name).to_owned(), found.len()))
        };
        let contents = contents.iter().map(size).collect::<Result<_, FileError>>()?;
        Ok(Self { version: VERSION, name: name.to_owned(), driver: driver.to_owned(), machine, contents })
    }

    /// Whole GiB of the first of the contents: how big a disk must be to take it.
    pub fn disk_gib(&self) -> Option<u64> {
        self.contents.first().map(|(_, size)| size.div_ceil(1 << 30)).filter(|gib| *gib > 0)
    }
}

/// Writes the machine in `folder` to `path`, whole or not at all.
pub fn write(header: &Header, folder: &Path, path: &Path) -> Result<(), TransferError> {
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let mut compressor = zstd::Encoder::new(file, LEVEL)?;
        compressor.include_checksum(true)?;
        let mut archive = tar::Builder::new(compressor);
        archive.sparse(true);
        let text = serde_json::to_vec_pretty(header)?;
        let mut entry = tar::Header::new_gnu();
        entry.set_size(text.len() as u64);
        entry.set_mode(0o600);
        archive.append_data(&mut entry, HEADER, &text[..])?;
        for name in KEYS.iter().copied().chain(header.contents.iter().map(|(name, _)| name.as_str())) {
            archive.append_file(name, &mut File::open(folder.join(name))?)?;
        }
        let file = archive.into_inner()?.finish()?;
        file.sync_data()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| {
        _ = std::fs::remove_file(&partial);
        FileError::new("write", path, source).into()
    })
}

/// Reads what stands in front.
pub fn read_header(path: &Path) -> Result<Header, TransferError> {
    let file = File::open(path).map_err(FileError::on("read", path))?;
    let foreign = || TransferError::Foreign { path: path.to_owned() };
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).map_err(|_| foreign())?);
    let mut entries = archive.entries().map_err(|_| foreign())?;
    let entry = entries.next().and_then(Result::ok).ok_or_else(foreign)?;
    if entry.path().ok().as_deref() != Some(Path::new(HEADER)) {
        return Err(foreign());
    }
    let mut text = Vec::new();
    entry.take(LONGEST_HEADER).read_to_end(&mut text).map_err(|_| foreign())?;
    let document: serde_json::Value = serde_json::from_slice(&text).map_err(|_| foreign())?;
    if document
        .get("version")
        .and_then(serde_json::Value::as_u64)
        .is_some_and(|version| version > VERSION.into())
    {
        return Err(TransferError::Newer { path: path.to_owned() });
    }
    serde_json::from_value(document).map_err(|_| foreign())
}

/// Puts the machine's keys, or its contents, into `folder`.
pub fn unpack(header: &Header, path: &Path, folder: &Path, what: What) -> Result<(), TransferError> {
    let unpack = || -> io::Result<()> {
        let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(path)?)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let is_content = header.contents.iter().any(|(content, _)| *content == name);
            match what {
                What::Keys if KEYS.contains(&name.as_str()) => {
                    let mode = if name.ends_with(".pub") { 0o644 } else { 0o600 };
                    let mut options = OpenOptions::new();
                    let mut file = options
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .mode(mode)
                        .open(folder.join(&name))?;
                    io::copy(&mut entry, &mut file)?;
                }
                What::Contents if is_content => {
                    let mut file = OpenOptions::new()
                        .write(true)
                        .truncate(true)
                        .create(true)
                        .mode(0o600)
                        .open(folder.join(&name))?;
                    sparse::copy(&mut entry, &mut file)?;
                    file.seek(SeekFrom::Start(0))?;
                    file.sync_data()?;
                }
                _ => {}
            }
        }
        Ok(())
    };
    Ok(unpack().map_err(FileError::on("unpack", path))?)
}

/// Which part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The keys.
    Keys,
    /// The contents.
    Contents,
}
