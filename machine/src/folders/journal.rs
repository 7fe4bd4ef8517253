//! The numbers that a mount's nodes have, written down for the next keeper: records one after another, the later
//! ones counting. Written with one call before the guest hears of them; what a killed keeper has written stays.

use super::nodes::Identity;
use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const HERE: u8 = 1;
const GONE: u8 = 2;
/// A journal is not worth shortening below this.
const SHORT: u64 = 1 << 20;
/// More than what a record of a living node takes, on average.
const RECORD: u64 = 128;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The node is this name in that one.
    Here { number: u64, parent: u64, name: CString, identity: Identity },
    /// The guest knows it no longer.
    Gone(u64),
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    pending: Vec<u8>,
}

impl Journal {
    /// Reads what is there, record by record, up to one that is not whole.
    pub(super) fn open(path: &Path, mut each: impl FnMut(Entry)) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).read(true).mode(0o600).open(path)?;
        let bytes = fs::read(path)?;
        let mut rest = &bytes[..];
        while let Some(entry) = Entry::read(&mut rest) {
            each(entry);
        }
        let whole = (bytes.len() - rest.len()) as u64;
        file.set_len(whole)?;
        Ok(Self { path: path.to_owned(), file, length: whole, pending: Vec::new() })
    }

    pub(super) fn note(&mut self, entry: &Entry) {
        entry.write(&mut self.pending);
    }

    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
            self.length += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Whether most of it is about nodes that are gone.
    pub(super) fn is_long(&self, nodes: usize) -> bool {
        self.length > SHORT.max(nodes as u64 * RECORD * 4)
    }

    /// Writes it anew with these entries only.
    pub(super) fn keep_short(&mut self, entries: impl Iterator<Item = Entry>) -> io::Result<()> {
        let mut bytes = Vec::new();
        entries.for_each(|entry| entry.write(&mut bytes));
        let partial = self.path.with_extension("partial");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        file.write_all(&bytes)?;
        fs::rename(&partial, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.length = bytes.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl Entry {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Here { number, parent, name, identity } => {
                bytes.push(HERE);
                for field in [*number, *parent, identity.device, identity.inode, identity.born] {
                    bytes.extend_from_slice(&field.to_le_bytes());
                }
                bytes.extend_from_slice(name.as_bytes_with_nul());
            }
            Self::Gone(number) => {
                bytes.push(GONE);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let mut bytes = *rest;
        let (&kind, after) = bytes.split_first()?;
        bytes = after;
        let mut field = || -> Option<u64> {
            let (field, after) = bytes.split_first_chunk()?;
            bytes = after;
            Some(u64::from_le_bytes(*field))
        };
        let entry = match kind {
            HERE => {
                let (number, parent) = (field()?, field()?);
                let identity = Identity { device: field()?, inode: field()?, born: field()? };
                let name = std::ffi::CStr::from_bytes_until_nul(bytes).ok()?.to_owned();
                bytes = &bytes[name.as_bytes_with_nul().len()..];
                Self::Here { number, parent, name, identity }
            }
            GONE => Self::Gone(field()?),
            _ => return None,
        };
        *rest = bytes;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(number: u64, name: &str) -> Entry {
        let identity = Identity { device: 1, inode: number * 10, born: 7 };
        Entry::Here { number, parent: 1, name: CString::new(name).unwrap(), identity }
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes");
        let mut journal = Journal::open(&path, |_| panic!("it is new")).unwrap();
        let entries = [here(2, "a"), here(3, "b c"), Entry::Gone(2)];
        entries.iter().for_each(|entry| journal.note(entry));
        journal.write().unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[HERE, 1, 2, 3]).unwrap();
        let mut read = Vec::new();
        let mut journal = Journal::open(&path, |entry| read.push(entry)).unwrap();
        assert_eq!(read, entries);
        journal.keep_short([here(3, "b c")].into_iter()).unwrap();
        journal.note(&here(4, "d"));
        journal.write().unwrap();
        let mut read = Vec::new();
        Journal::open(&path, |entry| read.push(entry)).unwrap();
        assert_eq!(read, [here(3, "b c"), here(4, "d")]);
    }
}
