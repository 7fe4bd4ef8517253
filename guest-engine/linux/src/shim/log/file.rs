//! A log in files that rotate, written for speed: whatever one read brought becomes one write.

use super::{Driver, Entry, json::JsonEncoder, local};
use engine::ports::{LogFile, LogFormat};
use flate2::{Compression, GzBuilder};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

/// The log of one container.
#[derive(Debug)]
pub(super) struct FileLog {
    file: File,
    path: PathBuf,
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    encoder: Encoder,
    /// What will be written next; kept for its capacity.
    out: Vec<u8>,
    /// Compresses the file that was rotated away last.
    compressor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Encoder {
    Json(JsonEncoder),
    Local,
}

impl FileLog {
    /// Opens the log, appending to what is there.
    pub(super) fn open(log: &LogFile) -> io::Result<Self> {
        if let Some(folder) = log.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = open(&log.path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            file,
            path: log.path.clone(),
            size,
            max_size: log.max_size.unwrap_or(u64::MAX),
            max_files: log.max_files.max(1),
            compress: log.compress,
            encoder: match &log.format {
                LogFormat::Json { attributes } => Encoder::Json(JsonEncoder::new(attributes)),
                LogFormat::Local => Encoder::Local,
            },
            out: Vec::new(),
            compressor: None,
        })
    }

    /// Everything that was rotated away is compressed when this returns.
    pub(super) fn settle(&mut self) {
        if let Some(compressor) = self.compressor.take() {
            // A panic of that thread leaves its file uncompressed, which readers do not mind.
            drop(compressor.join());
        }
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`…; the oldest goes. The new log is always another
    /// file: whoever reads the old one reads it to its end.
    fn rotate(&mut self) -> io::Result<()> {
        // It would be renamed under the hands of whoever compresses it.
        self.settle();
        if self.max_files == 1 {
            fs::remove_file(&self.path)?;
        } else {
            for suffix in ["", ".gz"] {
                gone(fs::remove_file(numbered(&self.path, self.max_files - 1, suffix)))?;
                for number in (1..self.max_files - 1).rev() {
                    let (from, to) =
                        (numbered(&self.path, number, suffix), numbered(&self.path, number + 1, suffix));
                    gone(fs::rename(from, to))?;
                }
            }
            let rotated = numbered(&self.path, 1, "");
            fs::rename(&self.path, &rotated)?;
            if self.compress {
                let to = numbered(&self.path, 1, ".gz");
                let work = move || {
                    // What cannot be compressed stays as it is.
                    let _kept = compress(&rotated, &to);
                };
                self.compressor = thread::Builder::new().stack_size(256 * 1024).spawn(work).ok();
            }
        }
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Driver for FileLog {
    fn log(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Json(encoder) => encoder.encode(&mut self.out, entry),
            Encoder::Local => local::encode(&mut self.out, entry),
        }
        if self.size.saturating_add(self.out.len() as u64) >= self.max_size {
            self.flush()?;
            self.rotate()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.out);
        self.size += self.out.len() as u64;
        self.out.clear();
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// A file that is not there needs nothing done.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn numbered(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    name.into()
}

/// The compressed file appears whole before the other one goes.
fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".new");
    let target = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&temporary)?;
    let header = GzBuilder::new().comment(LogFile::identity(&source.metadata()?));
    let mut packed = header.write(target, Compression::fast());
    io::copy(&mut source, &mut packed)?;
    packed.finish()?;
    fs::rename(&temporary, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use jiff::Timestamp;
    use std::{collections::BTreeMap, io::Read};

    fn log(folder: &Path, max_files: u32, compress: bool) -> FileLog {
        let format = LogFormat::Json { attributes: BTreeMap::new() };
        let path = folder.join("x-json.log");
        FileLog::open(&LogFile { path, format, max_size: Some(200), max_files, compress }).unwrap()
    }

    fn write(log: &mut FileLog, count: u32) {
        for number in 0..count {
            let text = format!("line {number} {}", "y".repeat(60)).into_bytes().into();
            let entry = Entry { source: Source::Stdout, time: Timestamp::now(), text, partial: None };
            log.log(&entry).unwrap();
            log.flush().unwrap();
        }
        log.settle();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn rotation_keeps_max_files() {
        let folder = tempfile::tempdir().unwrap();
        write(&mut log(folder.path(), 3, false), 12);
        assert_eq!(names(folder.path()), ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        let last = fs::read_to_string(folder.path().join("x-json.log.1")).unwrap();
        assert!(last.contains("line 11"), "{last}");
    }

    #[test]
    fn a_single_file_begins_again_as_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 1, false);
        let mut reader = File::open(folder.path().join("x-json.log")).unwrap();
        write(&mut log, 3);
        assert_eq!(names(folder.path()), ["x-json.log"]);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.contains("line 1 "), "{text}");
    }

    #[test]
    fn what_is_rotated_away_is_compressed_and_remembers_which_file_it_was() {
        let folder = tempfile::tempdir().unwrap();
        write(&mut log(folder.path(), 3, true), 12);
        assert_eq!(names(folder.path()), ["x-json.log", "x-json.log.1.gz", "x-json.log.2.gz"]);
        let packed = File::open(folder.path().join("x-json.log.1.gz")).unwrap();
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(packed);
        decoder.read_to_string(&mut text).unwrap();
        assert!(text.contains("line 11"), "{text}");
        let comment = decoder.header().unwrap().comment().unwrap();
        assert_eq!(String::from_utf8_lossy(comment).split(' ').count(), 2);
    }
}
