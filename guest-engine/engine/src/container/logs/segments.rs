//! The files of one log, rotated ones first, and where its last N messages begin. Blocking.

use crate::ports::{LogFile, LogFormat};
use flate2::bufread::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// How much is read at once when looking backwards for lines.
const BLOCK: usize = 64 * 1024;

/// An open file of the log. It stays the same file when it is rotated away.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    /// Of the file when it was written; a compressed one remembers it.
    pub(super) identity: String,
    /// Where reading begins.
    pub(super) offset: u64,
}

/// Opens every file of the log, oldest first, positioned at the last `tail` messages (`None`: all of
/// them). A log that does not exist yet has none.
pub(super) fn open(log: &LogFile, tail: Option<u64>) -> io::Result<Vec<Segment>> {
    let mut newest_first: Vec<Segment> = Vec::new();
    let mut missing = tail;
    for number in 0.. {
        if missing == Some(0) && number > 0 {
            break;
        }
        let Some(mut segment) = numbered(&log.path, number)? else {
            // Between a rotation's rename and its new file there is no current one.
            if number == 0 {
                continue;
            }
            break;
        };
        // Rotated between two opens: this is the one we have already.
        if newest_first.iter().any(|known| known.identity == segment.identity) {
            continue;
        }
        if let Some(wanted) = missing {
            let length = segment.file.metadata()?.len();
            let (offset, found) = match log.format {
                LogFormat::Json { .. } => last_lines(&segment.file, length, wanted)?,
                LogFormat::Local => last_messages(&segment.file, length, wanted)?,
            };
            segment.offset = offset;
            missing = Some(wanted - found);
        }
        newest_first.push(segment);
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// Opens the files that were begun after `known` was, oldest first.
pub(super) fn newer(log: &LogFile, known: Option<&str>) -> io::Result<Vec<Segment>> {
    let mut newest_first: Vec<Segment> = Vec::new();
    for number in 0.. {
        let Some(segment) = numbered(&log.path, number)? else {
            if number == 0 {
                continue;
            }
            break;
        };
        if Some(segment.identity.as_str()) == known {
            break;
        }
        if newest_first.iter().all(|other| other.identity != segment.identity) {
            newest_first.push(segment);
        }
        // Nothing was known: the log has only just begun.
        if known.is_none() {
            break;
        }
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// The file of this number, compressed or not.
fn numbered(path: &Path, number: u32) -> io::Result<Option<Segment>> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let plain = if number == 0 { path.to_owned() } else { with(&format!(".{number}")) };
    match File::open(plain) {
        Ok(file) => {
            let identity = LogFile::identity(&file.metadata()?);
            return Ok(Some(Segment { file, identity, offset: 0 }));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && number == 0 => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    match File::open(with(&format!(".{number}.gz"))) {
        Ok(file) => decompressed(file, path.parent().unwrap_or(path)).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Unpacks into a file without a name: it goes with its reader, and memory stays free.
fn decompressed(file: File, folder: &Path) -> io::Result<Segment> {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let mut decoder = MultiGzDecoder::new(BufReader::new(file));
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".reading-{}-{number}", std::process::id()));
    let mut unpacked = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    // The first read brings the header, whose comment is the identity of the file that was compressed.
    let mut block = vec![0; BLOCK];
    let first = decoder.read(&mut block)?;
    let comment = decoder.header().and_then(|header| header.comment()).unwrap_or_default();
    let identity = String::from_utf8_lossy(comment).into_owned();
    io::Write::write_all(&mut unpacked, block.get(..first).unwrap_or_default())?;
    io::copy(&mut decoder, &mut unpacked)?;
    io::Seek::rewind(&mut unpacked)?;
    Ok(Segment { file: unpacked, identity, offset: 0 })
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
        for index in memchr::memrchr_iter(b'\n', read) {
            let behind = start + index as u64 + 1;
            // The newline at the very end closes the last line, it does not begin another.
            if behind != length {
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

/// The same for messages between their lengths.
fn last_messages(file: &File, length: u64, wanted: u64) -> io::Result<(u64, u64)> {
    let mut found = 0;
    let mut end = length;
    while found < wanted && end >= 8 {
        let mut size = [0; 4];
        file.read_exact_at(&mut size, end - 4)?;
        let Some(start) = end.checked_sub(u64::from(u32::from_be_bytes(size)) + 8) else { break };
        end = start;
        found += 1;
    }
    Ok((end, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder};
    use std::{collections::BTreeMap, fs, io::Write};

    fn log(path: &Path) -> LogFile {
        LogFile {
            path: path.to_owned(),
            format: LogFormat::Json { attributes: BTreeMap::new() },
            max_size: None,
            max_files: 9,
            compress: false,
        }
    }

    fn tail(path: &Path, count: Option<u64>) -> String {
        let mut text = String::new();
        for mut segment in open(&log(path), count).unwrap() {
            io::Seek::seek(&mut segment.file, io::SeekFrom::Start(segment.offset)).unwrap();
            segment.file.read_to_string(&mut text).unwrap();
        }
        text
    }

    fn compress(from: &Path, to: &Path) {
        let header = GzBuilder::new().comment(LogFile::identity(&fs::metadata(from).unwrap()));
        let mut packed = header.write(File::create(to).unwrap(), Compression::fast());
        packed.write_all(&fs::read(from).unwrap()).unwrap();
        packed.finish().unwrap();
        fs::remove_file(from).unwrap();
    }

    #[test]
    fn the_tail_reaches_across_rotated_and_compressed_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(open(&log(&path), None).unwrap().is_empty());
        fs::write(folder.path().join("log.2"), "1\n2\n").unwrap();
        compress(&folder.path().join("log.2"), &folder.path().join("log.2.gz"));
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
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 3, "nothing of the reading stays");
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
    fn messages_are_counted_from_the_end() {
        let file = tempfile::tempfile().unwrap();
        let message = |text: &str| {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            [&length[..], text.as_bytes(), &length[..]].concat()
        };
        let bytes = [message("one"), message(""), message("three")].concat();
        (&file).write_all(&bytes).unwrap();
        for (wanted, expected) in [(0, (32, 0)), (1, (19, 1)), (2, (11, 2)), (9, (0, 3))] {
            assert_eq!(last_messages(&file, bytes.len() as u64, wanted).unwrap(), expected, "{wanted}");
        }
    }

    #[test]
    fn every_file_since_the_known_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = log(&path);
        fs::write(&path, "a\n").unwrap();
        let first = newer(&log, None).unwrap().remove(0).identity;
        assert!(newer(&log, Some(&first)).unwrap().is_empty());
        // Two rotations between two looks, and the first file is compressed by then.
        fs::rename(&path, folder.path().join("log.2")).unwrap();
        fs::write(folder.path().join("log.1"), "b\n").unwrap();
        fs::write(&path, "c\n").unwrap();
        compress(&folder.path().join("log.2"), &folder.path().join("log.2.gz"));
        let mut text = String::new();
        for mut segment in newer(&log, Some(&first)).unwrap() {
            segment.file.read_to_string(&mut text).unwrap();
        }
        assert_eq!(text, "b\nc\n");
    }
}
