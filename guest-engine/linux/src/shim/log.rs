//! Docker's `json-file` log, written for speed: whatever one read brought becomes one write.
//!
//! One line of output is one JSON object. A line longer than [`PARTIAL`] is cut as dockerd cuts it: the
//! pieces but the last carry no newline.

use super::config::LogFile;
use jiff::Timestamp;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Longest piece of a line in one object, as in dockerd's copier.
const PARTIAL: usize = 16 * 1024;

/// The log of one container.
#[derive(Debug)]
pub(super) struct JsonLog {
    file: File,
    path: PathBuf,
    size: u64,
    max_size: u64,
    max_files: u32,
    /// What will be written next; kept for its capacity.
    out: Vec<u8>,
    stdout: Line,
    stderr: Line,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
struct Line {
    begun: Vec<u8>,
}

/// Which stream a chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl JsonLog {
    /// Opens the log, appending to what is there.
    pub(super) fn open(log: &LogFile) -> io::Result<Self> {
        let file = open(&log.path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            file,
            path: log.path.clone(),
            size,
            max_size: log.max_size.unwrap_or(u64::MAX),
            max_files: log.max_files.max(1),
            out: Vec::new(),
            stdout: Line::default(),
            stderr: Line::default(),
        })
    }

    /// Logs what has just been read.
    pub(super) fn write(&mut self, source: Source, mut chunk: &[u8]) -> io::Result<()> {
        let tail = tail(source, Timestamp::now());
        while !chunk.is_empty() {
            let line = match source {
                Source::Stdout => &mut self.stdout.begun,
                Source::Stderr => &mut self.stderr.begun,
            };
            let room = PARTIAL - line.len();
            let window = &chunk[..room.min(chunk.len())];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    object(&mut self.out, line, &window[..end], true, &tail);
                    line.clear();
                    chunk = &chunk[end + 1..];
                }
                None if window.len() == room => {
                    object(&mut self.out, line, window, false, &tail);
                    line.clear();
                    chunk = &chunk[room..];
                }
                None => {
                    line.extend_from_slice(window);
                    break;
                }
            }
            if self.size.saturating_add(self.out.len() as u64) >= self.max_size {
                self.flush()?;
                self.rotate()?;
            }
        }
        self.flush()
    }

    /// The stream has ended: an unfinished line is logged as one.
    pub(super) fn finish(&mut self, source: Source) -> io::Result<()> {
        let line = match source {
            Source::Stdout => &mut self.stdout.begun,
            Source::Stderr => &mut self.stderr.begun,
        };
        if line.is_empty() {
            return Ok(());
        }
        object(&mut self.out, line, &[], true, &tail(source, Timestamp::now()));
        *line = Vec::new();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.out);
        self.size += self.out.len() as u64;
        self.out.clear();
        written
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`…; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files == 1 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.max_files - 1).rev() {
                rename(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            rename(&self.path, &numbered(&self.path, 1))?;
            self.file = open(&self.path)?;
        }
        self.size = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Everything of an object that follows the text.
fn tail(source: Source, time: Timestamp) -> Vec<u8> {
    let stream = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    };
    format!("\",\"stream\":\"{stream}\",\"time\":\"{time:.9}\"}}\n").into_bytes()
}

fn object(out: &mut Vec<u8>, begun: &[u8], rest: &[u8], newline: bool, tail: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    if begun.is_empty() {
        escape(out, rest);
    } else {
        // A character may be cut in two.
        escape(out, &[begun, rest].concat());
    }
    if newline {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(tail);
}

/// True for bytes that go into a JSON string as they are, in moby's encoder.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let plain_until = |from: usize| {
        text[from..].iter().position(|&byte| !PLAIN[usize::from(byte)]).map_or(text.len(), |at| from + at)
    };
    let mut from = 0;
    loop {
        let stop = plain_until(from);
        out.extend_from_slice(&text[from..stop]);
        let Some(&byte) = text.get(stop) else { return };
        from = stop + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x80 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => from = stop + escape_unicode(out, &text[stop..]),
        }
    }
}

/// Escapes the run of non-ASCII bytes at the start of `text`; says how many there were.
fn escape_unicode(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let length = text.iter().position(u8::is_ascii).unwrap_or(text.len());
    for part in text[..length].utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\u{2028}' => out.extend_from_slice(b"\\u2028"),
                '\u{2029}' => out.extend_from_slice(b"\\u2029"),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_size: Option<u64>, max_files: u32) -> (tempfile::TempDir, JsonLog, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        let log = JsonLog::open(&LogFile { path: path.clone(), max_size, max_files }).unwrap();
        (folder, log, path)
    }

    fn texts(path: &Path) -> Vec<(String, String)> {
        let parse = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            (value["log"].as_str().unwrap().to_owned(), value["stream"].as_str().unwrap().to_owned())
        };
        fs::read_to_string(path).unwrap().lines().map(parse).collect()
    }

    #[test]
    fn lines_become_objects_as_dockerd_writes_them() {
        let mut out = Vec::new();
        let time = Timestamp::from_nanosecond(1_700_000_000_123_000_000).unwrap();
        object(&mut out, b"", b"a <b> \"c\"\t\x01", true, &tail(Source::Stdout, time));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"a \\u003cb\\u003e \\\"c\\\"\\t\\u0001\\n\",\"stream\":\"stdout\",\
             \"time\":\"2023-11-14T22:13:20.123000000Z\"}\n"
        );
    }

    #[test]
    fn streams_do_not_mix_and_unfinished_lines_are_kept() {
        let (_folder, mut log, path) = log(None, 1);
        log.write(Source::Stdout, b"one\ntw").unwrap();
        log.write(Source::Stderr, b"bad\n").unwrap();
        log.write(Source::Stdout, b"o\nthree").unwrap();
        log.finish(Source::Stdout).unwrap();
        log.finish(Source::Stderr).unwrap();
        let text = |text: &str, stream: &str| (text.to_owned(), stream.to_owned());
        assert_eq!(
            texts(&path),
            [
                text("one\n", "stdout"),
                text("bad\n", "stderr"),
                text("two\n", "stdout"),
                text("three\n", "stdout")
            ]
        );
    }

    #[test]
    fn long_lines_are_cut_at_16_kib() {
        let (_folder, mut log, path) = log(None, 1);
        let mut long = vec![b'x'; PARTIAL + 10];
        long.push(b'\n');
        for piece in long.chunks(1000) {
            log.write(Source::Stdout, piece).unwrap();
        }
        let lengths: Vec<_> = texts(&path).into_iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lengths, [PARTIAL, 11]);
    }

    #[test]
    fn broken_utf8_is_replaced_and_whole_characters_survive_a_cut() {
        let (_folder, mut log, path) = log(None, 1);
        log.write(Source::Stdout, &[b'a', 0xc3]).unwrap();
        log.write(Source::Stdout, &[0xa4, b'\n', 0xff, b'b', b'\n']).unwrap();
        let found: Vec<_> = texts(&path).into_iter().map(|(text, _)| text).collect();
        assert_eq!(found, ["aä\n", "\u{fffd}b\n"]);
    }

    #[test]
    fn rotation_keeps_max_files() {
        let (folder, mut log, path) = log(Some(200), 3);
        for number in 0..12 {
            log.write(Source::Stdout, format!("line {number} {}\n", "y".repeat(60)).as_bytes()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        assert!(texts(&numbered(&path, 1)).last().unwrap().0.starts_with("line 11"));
    }
}
