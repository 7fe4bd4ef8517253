//! The files of one log, rotated ones first, and where its last N lines begin. Blocking.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// How much is read at once when looking backwards for lines.
const BLOCK: usize = 64 * 1024;

/// An open file of the log. It stays the same file when it is rotated away.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) inode: u64,
    /// Where reading begins.
    pub(super) offset: u64,
}

/// Opens every file of the log, oldest first, positioned at the last `tail` lines (`None`: all of them).
/// A log that does not exist yet has none.
pub(super) fn open(path: &Path, tail: Option<u64>) -> io::Result<Vec<Segment>> {
    let mut newest_first: Vec<Segment> = Vec::new();
    let mut missing = tail;
    for number in 0.. {
        if missing == Some(0) && number > 0 {
            break;
        }
        let file = match File::open(rotated(path, number)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && number > 0 => break,
            // Between a rotation's rename and its new file.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let metadata = file.metadata()?;
        // Rotated between two opens: this is the one we have already.
        if newest_first.iter().any(|segment| segment.inode == metadata.ino()) {
            continue;
        }
        let mut segment = Segment { file, inode: metadata.ino(), offset: 0 };
        if let Some(wanted) = missing {
            let (offset, found) = last_lines(&segment.file, metadata.len(), wanted)?;
            segment.offset = offset;
            missing = Some(wanted - found);
        }
        newest_first.push(segment);
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// Opens the log's current file if it is another one than `known`.
pub(super) fn reopen(path: &Path, known: Option<u64>) -> io::Result<Option<Segment>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let inode = file.metadata()?.ino();
    Ok((known != Some(inode)).then_some(Segment { file, inode, offset: 0 }))
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Where the last `wanted` lines of the first `length` bytes begin, and how many there are.
fn last_lines(file: &File, length: u64, wanted: u64) -> io::Result<(u64, u64)> {
    let mut found = 0;
    let mut end = length;
    let mut block = vec![0; BLOCK];
    if wanted == 0 {
        return Ok((length, 0));
    }
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let read = block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
        file.read_exact_at(read, start)?;
        for (index, byte) in read.iter().enumerate().rev() {
            let behind = start + index as u64 + 1;
            // The newline at the very end closes the last line, it does not begin another.
            if *byte == b'\n' && behind != length {
                found += 1;
                if found == wanted {
                    return Ok((behind, found));
                }
            }
        }
        end = start;
    }
    Ok((0, if length > 0 { found + 1 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Read};

    fn tail(path: &Path, count: Option<u64>) -> String {
        let mut text = String::new();
        for mut segment in open(path, count).unwrap() {
            io::Seek::seek(&mut segment.file, io::SeekFrom::Start(segment.offset)).unwrap();
            segment.file.read_to_string(&mut text).unwrap();
        }
        text
    }

    #[test]
    fn the_tail_reaches_across_rotated_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(open(&path, None).unwrap().is_empty());
        fs::write(folder.path().join("log.2"), "1\n2\n").unwrap();
        fs::write(folder.path().join("log.1"), "3\n4\n").unwrap();
        fs::write(&path, "5\n6\n").unwrap();
        for (count, text) in [
            (None, "1\n2\n3\n4\n5\n6\n"),
            (Some(0), ""),
            (Some(1), "6\n"),
            (Some(2), "5\n6\n"),
            (Some(3), "4\n5\n6\n"),
            (Some(5), "2\n3\n4\n5\n6\n"),
            (Some(99), "1\n2\n3\n4\n5\n6\n"),
        ] {
            assert_eq!(tail(&path, count), text, "{count:?}");
        }
    }

    #[test]
    fn long_lines_and_many_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let line = format!("{}\n", "x".repeat(BLOCK - 1));
        fs::write(&path, format!("first\n{line}{line}last\n")).unwrap();
        assert_eq!(tail(&path, Some(1)), "last\n");
        assert_eq!(tail(&path, Some(2)), format!("{line}last\n"));
        assert_eq!(tail(&path, Some(4)).len(), 6 + 2 * BLOCK + 5);
    }

    #[test]
    fn a_new_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(reopen(&path, None).unwrap().is_none());
        fs::write(&path, "a\n").unwrap();
        let first = reopen(&path, None).unwrap().unwrap();
        assert!(reopen(&path, Some(first.inode)).unwrap().is_none());
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        fs::write(&path, "b\n").unwrap();
        assert!(reopen(&path, Some(first.inode)).unwrap().is_some());
    }
}
