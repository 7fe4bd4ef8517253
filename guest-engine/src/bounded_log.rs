//! A service's log in a file that cannot fill the memory or the disk it lives in: two files of at most
//! [`MAX_SIZE`] bytes each, the current one and the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAX_SIZE: u64 = 1 << 20;

/// Copies a service's standard error until the last process that holds the other end is gone.
pub(crate) fn copy(mut from: impl Read, path: &Path) -> io::Result<()> {
    let mut log = BoundedLog::open(path)?;
    let mut chunk = [0; 8192];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => log.write_all(&chunk[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The last line of a log, for the console line about a service that died.
pub(crate) fn last_line(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let tail = &bytes[bytes.len().saturating_sub(512)..];
    let text = String::from_utf8_lossy(tail);
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// The file and how full it is.
#[derive(Debug)]
pub struct BoundedLog {
    path: PathBuf,
    file: File,
    size: u64,
}

impl BoundedLog {
    /// Goes on where it ends.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }
}

impl Write for BoundedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if self.size + length > MAX_SIZE {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path.clone())?;
        }
        self.size += length;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_rotated_before_it_grows_too_large_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let line = [b'x'; 1023];
        let mut text = Vec::new();
        for _ in 0..2500 {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        text.extend_from_slice(b"the end\n\n");
        copy(&text[..], &path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= MAX_SIZE);
        assert!(fs::metadata(folder.path().join("engine.log.1")).unwrap().len() <= MAX_SIZE);
        assert_eq!(last_line(&path).as_deref(), Some("the end"));
    }
}
