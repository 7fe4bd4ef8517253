//! Extended headers of tars (pax), read by the lengths that their records state.
//!
//! The tar crate takes every newline for the end of a record, also one inside a value: a file's name or an
//! attribute's bytes may hold one. [`PaxReader`] stands between the archive and the crate, keeps each entry's
//! records as they are, and shows the crate the same header with the newlines inside values blotted out. It
//! also bounds what stands before an entry to describe it, which the crate keeps in memory.

use std::{
    cell::RefCell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Bytes of an extended header, a long name or a sparse file's map; Go's limit.
const LIMIT: u64 = 1024 * 1024;

/// A record's key and value.
pub type PaxRecord = (String, Vec<u8>);

/// Reads the records of one extended header.
pub fn parse(header: &[u8]) -> io::Result<Vec<PaxRecord>> {
    let mut records = Vec::new();
    for_each(header, |key, value| records.push((String::from_utf8_lossy(key).into_owned(), value.to_vec())))?;
    Ok(records)
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn for_each<'a>(mut header: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8])) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed pax extension");
    while !header.is_empty() {
        let space = header.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&header[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let (record, rest) =
            length.and_then(|length| header.split_at_checked(length)).ok_or_else(malformed)?;
        let pair = record.get(space + 1..).and_then(|pair| pair.strip_suffix(b"\n")).ok_or_else(malformed)?;
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        each(&pair[..equals], &pair[equals + 1..]);
        header = rest;
    }
    Ok(())
}

/// What the extended header before an entry says of it.
#[derive(Clone, Debug, Default)]
pub struct PaxRecords(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Of the entry that was last begun.
    current: Vec<PaxRecord>,
    /// Of the one that comes.
    next: Vec<PaxRecord>,
}

impl PaxRecords {
    /// The records of the entry that the archive has just given.
    pub fn of_entry(&self) -> Vec<PaxRecord> {
        self.0.borrow().current.clone()
    }

    /// One value, of the last record with this key.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        let kept = self.0.borrow();
        kept.current.iter().rev().find(|(own, _)| own == key).map(|(_, value)| value.clone())
    }
}

/// A tar on its way to the tar crate.
#[derive(Debug)]
pub struct PaxReader<R> {
    inner: R,
    records: PaxRecords,
    /// A header, or what stands for one, that has been read and not passed on.
    ready: Vec<u8>,
    passed: usize,
    place: Place,
    /// `size` of the extended header: the entry that comes has so many bytes.
    size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    /// More of a sparse file's map, after so many bytes of it.
    Map(u64),
    /// An extended header of so many bytes, then content of so many.
    Extended(usize),
    Content(u64),
}

impl<R: Read> PaxReader<R> {
    /// From the first byte of an archive.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            records: PaxRecords::default(),
            ready: Vec::new(),
            passed: 0,
            place: Place::Header,
            size: None,
        }
    }

    /// Where to ask for the records of entries.
    pub fn records(&self) -> PaxRecords {
        self.records.clone()
    }

    /// Reads the block or the extended header that is next.
    fn advance(&mut self) -> io::Result<()> {
        let length = if let Place::Extended(length) = self.place { length } else { BLOCK };
        self.passed = 0;
        self.ready.resize(length, 0);
        let mut read = 0;
        while read < length {
            match self.inner.read(&mut self.ready[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // What ends early is for the crate to complain about.
        self.ready.truncate(read);
        if read == length { self.understand() } else { Ok(()) }
    }

    fn understand(&mut self) -> io::Result<()> {
        self.place = match self.place {
            Place::Extended(length) => {
                let records = parse(&self.ready)?;
                let size = records.iter().find(|(key, _)| key == "size");
                self.size = size.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
                self.records.0.borrow_mut().next = records;
                blot(&mut self.ready);
                Place::Content(padding(length as u64))
            }
            Place::Map(length) if self.ready[504] == 1 => Place::Map(bounded(length + BLOCK as u64)?),
            Place::Map(_) => content(self.size.unwrap_or(0)),
            Place::Header | Place::Content(_) => self.header()?,
        };
        Ok(())
    }

    fn header(&mut self) -> io::Result<Place> {
        if self.ready.iter().all(|byte| *byte == 0) {
            return Ok(Place::Header);
        }
        let header = Header::from_byte_slice(&self.ready);
        let size = header.entry_size().unwrap_or(0);
        Ok(match header.entry_type() {
            EntryType::XHeader => Place::Extended(usize::try_from(bounded(size)?).unwrap_or(0)),
            EntryType::GNULongName | EntryType::GNULongLink => content(bounded(size)?),
            EntryType::XGlobalHeader => content(size),
            kind => {
                let mut kept = self.records.0.borrow_mut();
                kept.current = std::mem::take(&mut kept.next);
                drop(kept);
                let size = self.size.take().unwrap_or(size);
                if kind == EntryType::GNUSparse && self.ready[482] == 1 {
                    self.size = Some(size);
                    return Ok(Place::Map(0));
                }
                content(size)
            }
        })
    }
}

impl<R: Read> Read for PaxReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.passed == self.ready.len() {
            if let Place::Content(left) = self.place
                && left > 0
            {
                // Never more than is asked for, and never past the entry's end: whoever records the archive
                // tells content from the rest by what has been read.
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let read = self.inner.read(&mut buffer[..most])?;
                let left = left - read as u64;
                self.place = if left == 0 { Place::Header } else { Place::Content(left) };
                return Ok(read);
            }
            if matches!(self.place, Place::Content(_)) {
                self.place = Place::Header;
            }
            self.advance()?;
        }
        let rest = &self.ready[self.passed..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.passed += length;
        Ok(length)
    }
}

/// Forward within an entry's content, as the crate skips what nobody reads.
impl<R: Read + Seek> Seek for PaxReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if to == SeekFrom::Current(0) {
            return self.inner.stream_position();
        }
        let (SeekFrom::Current(by), Place::Content(left)) = (to, self.place) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let by = u64::try_from(by).ok().filter(|by| *by <= left && self.passed == self.ready.len());
        let by = by.ok_or(io::ErrorKind::Unsupported)?;
        self.place = if by == left { Place::Header } else { Place::Content(left - by) };
        self.inner.seek(SeekFrom::Current(i64::try_from(by).map_err(io::Error::other)?))
    }
}

fn bounded(description: u64) -> io::Result<u64> {
    if description <= LIMIT {
        return Ok(description);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "an extended header is too large"))
}

fn content(size: u64) -> Place {
    match size.checked_add(padding(size)) {
        Some(0) => Place::Header,
        Some(length) => Place::Content(length),
        None => Place::Content(u64::MAX),
    }
}

/// Up to the next block.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// Makes every newline but those at the ends of records a blank.
fn blot(header: &mut [u8]) {
    let mut ends = Vec::new();
    let start = header.as_ptr() as usize;
    // It has been read before.
    let _understood = for_each(header, |_, value| ends.push(value.as_ptr() as usize - start + value.len()));
    for (index, byte) in header.iter_mut().enumerate() {
        if *byte == b'\n' && ends.binary_search(&index).is_err() {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let mut length = key.len() + value.len() + 3;
        while length.to_string().len() + key.len() + value.len() + 3 != length {
            length = length.to_string().len() + key.len() + value.len() + 3;
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    fn entry(kind: EntryType, name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = [header.as_bytes().as_slice(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn values_may_hold_newlines() {
        let text =
            [record("path", b"a\nb"), record("SCHILY.xattr.user.x", b"1\n\n2=\n"), record("c", b"")].concat();
        let records = parse(&text).unwrap();
        assert_eq!(records[0], ("path".to_owned(), b"a\nb".to_vec()));
        assert_eq!(records[1].1, b"1\n\n2=\n");
        assert_eq!(records[2].1, b"");
        for bad in
            [&b"5 a=b\n"[..], b"x", b"99 a=b\n", b"0 a=b\n", b"6 ab\n\n", b"18446744073709551616 a=b\n"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_crate_sees_an_archive_without_them() {
        let long = vec![b'x'; 1500];
        let archive = [
            entry(EntryType::XHeader, "p", &[record("path", b"new\nline"), record("size", b"1500")].concat()),
            entry(EntryType::Regular, "short", &long),
            entry(EntryType::Regular, "plain", b"abc"),
            entry(EntryType::XHeader, "p", &record("SCHILY.xattr.user.a", b"\n12 b=c\n")),
            entry(EntryType::Directory, "folder/", b""),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        for step in [1, 7, 512, 4096] {
            let reader = PaxReader::new(Steps { inner: Cursor::new(&archive), step });
            let records = reader.records();
            let mut seen = Vec::new();
            for entry in tar::Archive::new(reader).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                seen.push((content.len(), records.of_entry()));
            }
            assert_eq!(seen.len(), 3, "{step}");
            assert_eq!(seen[0].0, 1500);
            assert_eq!(seen[0].1[0].1, b"new\nline");
            assert_eq!(seen[1], (3, Vec::new()));
            assert_eq!(seen[2], (0, vec![("SCHILY.xattr.user.a".to_owned(), b"\n12 b=c\n".to_vec())]));
        }
    }

    #[test]
    fn descriptions_are_bounded_and_contents_are_not() {
        let walk = |archive: &[u8]| {
            let mut archive = tar::Archive::new(PaxReader::new(archive));
            let sizes = archive.entries()?.map(|entry| Ok(entry?.size()));
            sizes.collect::<io::Result<Vec<_>>>()
        };
        let big = vec![1; 9 << 20];
        let next = entry(EntryType::Regular, "next", b"x");
        let archive = [entry(EntryType::Regular, "big", &big), next.clone()].concat();
        assert_eq!(walk(&archive).unwrap(), [9 << 20, 1]);
        for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
            let error = walk(&[entry(kind, "long", &big), next.clone()].concat()).unwrap_err();
            assert_eq!(error.to_string(), "an extended header is too large");
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(0);
        header.as_gnu_mut().unwrap().set_is_extended(true);
        header.set_cksum();
        let mut more = [0; BLOCK];
        more[504] = 1;
        let archive = [header.as_bytes().as_slice(), &more.repeat(4096)].concat();
        assert_eq!(walk(&archive).unwrap_err().to_string(), "an extended header is too large");
    }

    #[test]
    fn sizes_that_do_not_fit_stand_in_records() {
        // As Go writes it: nothing in the header itself.
        let archive = [
            entry(EntryType::XHeader, "p", &record("size", b"5")),
            entry(EntryType::Regular, "large", b""),
            [b"12345".as_slice(), &[0; BLOCK - 5]].concat(),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        let mut archive = tar::Archive::new(PaxReader::new(archive.as_slice()));
        let mut content = String::new();
        archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "12345");
    }

    struct Steps<R> {
        inner: R,
        step: usize,
    }

    impl<R: Read> Read for Steps<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.step);
            self.inner.read(&mut buffer[..most])
        }
    }
}
