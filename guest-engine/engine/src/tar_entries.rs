//! Walking a tar that is not trusted: what stands before an entry to describe it (long names, pax records)
//! is kept in memory by who reads it, and so is bounded here.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};
use tar::{Archive, Entry, EntryType};

/// Bytes of everything that describes one entry. Go's limit is one MiB for each kind.
const DESCRIPTION: u64 = 4 << 20;
/// A tar block.
const BLOCK: u64 = 512;

/// What entries read from.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an extended header is too large"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - length as u64);
        Ok(length)
    }
}

/// Hands every entry to `take`, until it fails or the tar ends. `take` need not read what it does not want.
pub fn for_each<R: Read, E>(
    tar: R,
    unreadable: impl Fn(io::Error) -> E,
    mut take: impl FnMut(&mut Entry<'_, Bounded<R>>) -> Result<(), E>,
) -> Result<(), E> {
    let left = Rc::new(Cell::new(0));
    let mut archive = Archive::new(Bounded { inner: tar, left: Rc::clone(&left) });
    let mut entries = archive.entries().map_err(&unreadable)?;
    let mut unread = 0;
    loop {
        left.set(DESCRIPTION + unread);
        let Some(entry) = entries.next() else { return Ok(()) };
        let mut entry = entry.map_err(&unreadable)?;
        left.set(u64::MAX);
        take(&mut entry)?;
        let read = u64::MAX - left.get();
        let stored = match entry.header().entry_type() {
            // The size of an entry with holes is that of the file.
            EntryType::GNUSparse => entry.header().entry_size().map_err(&unreadable)?,
            _ => entry.size(),
        };
        unread = stored.saturating_sub(read).saturating_add(BLOCK).min(u64::MAX - DESCRIPTION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(tar: &[u8]) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for_each(
            tar,
            |error| error,
            |entry| {
                found.push((String::from_utf8_lossy(&entry.path_bytes()).into_owned(), entry.size()));
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, size: u64, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    #[test]
    fn descriptions_are_bounded_and_contents_are_not() {
        let mut builder = tar::Builder::new(Vec::new());
        let big = vec![1; 9 << 20];
        entry(&mut builder, EntryType::Regular, "big", big.len() as u64, &big);
        entry(&mut builder, EntryType::Regular, "next", 1, b"x");
        let fine = builder.into_inner().unwrap();
        assert_eq!(walk(&fine).unwrap(), [("big".to_owned(), 9 << 20), ("next".to_owned(), 1)]);
        for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
            let mut builder = tar::Builder::new(Vec::new());
            entry(&mut builder, kind, "long", big.len() as u64, &big);
            entry(&mut builder, EntryType::Regular, "next", 1, b"x");
            let error = walk(&builder.into_inner().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "an extended header is too large");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_stand_in_pax_records() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("size", b"5".as_slice())]).unwrap();
        // As Go writes it: nothing in the header itself.
        entry(&mut builder, EntryType::Regular, "large", 0, b"");
        let mut tar = builder.into_inner().unwrap();
        tar.truncate(3 * 512);
        tar.extend_from_slice(b"12345");
        tar.resize(6 * 512, 0);
        assert_eq!(walk(&tar).unwrap(), [("large".to_owned(), 5)]);
    }
}
