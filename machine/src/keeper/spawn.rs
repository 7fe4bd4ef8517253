//! Starting a keeper's process.

use super::KeeperError;
use crate::{file_error::FileError, store::files};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// A log beyond this many bytes is begun anew.
const LONGEST_LOG: u64 = 1024 * 1024;
/// As much of the log's end as an error message shows, in bytes.
const TAIL: u64 = 2048;

/// How a keeper is started.
#[derive(Clone, Debug)]
pub struct SpawnOptions {
    /// This program.
    pub executable: PathBuf,
    /// The store in which it finds the machine.
    pub storage_path: PathBuf,
}

/// How a started keeper's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It did its duty, or found another keeper (`super::serve`).
    Peacefully,
    /// Its log says why.
    Failed,
}

/// Starts `EXECUTABLE --storage-path PATH keeper NAME` in the background. It leaves our session by itself
/// (`super::serve`) and outlives us.
pub(super) fn start(name: &str, directory: &Path, options: &SpawnOptions) -> Result<Child, KeeperError> {
    let log = directory.join(files::KEEPER_LOG);
    let (out, err) = open_log(&log).map_err(FileError::on("open", &log))?;
    let failed = |source| KeeperError::Process { action: "start the keeper's process", source };
    let storage_path = std::path::absolute(&options.storage_path).map_err(failed)?;
    Command::new(&options.executable)
        .arg("--storage-path")
        .arg(storage_path)
        .arg("keeper")
        .arg(name)
        // No folder of the user's may be kept busy.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)
}

/// Whether the process has ended.
pub(super) fn ended(child: &mut Child) -> Result<Option<Ended>, KeeperError> {
    let status = child
        .try_wait()
        .map_err(|source| KeeperError::Process { action: "look after the keeper's process", source })?;
    Ok(status.map(|status| if status.success() { Ended::Peacefully } else { Ended::Failed }))
}

/// The last lines of the keeper's log, as one.
pub(super) fn log_tail(directory: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(directory.join(files::KEEPER_LOG))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(tail)
    };
    // Without a log there is nothing to tell.
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn open_log(path: &Path) -> io::Result<(File, File)> {
    let long = path.metadata().is_ok_and(|metadata| metadata.len() > LONGEST_LOG);
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if long {
        options.write(true).truncate(true).open(path)?;
    }
    let file = options.truncate(false).append(true).open(path)?;
    let same = file.try_clone()?;
    Ok((file, same))
}
