//! The machine's folder: its lock, and errors that name the files in it.

use crate::{files, record::Record};
use machine_drivers::{DriverError, Instance};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long one call waits for another one on the same machine.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Folder of an instance that exists, with what is known of it.
pub(crate) fn open(instance: &Instance) -> Result<(PathBuf, Record), DriverError> {
    let directory = PathBuf::from(&instance.id);
    match Record::load(&directory)? {
        Some(record) => Ok((directory, record)),
        None => Err(not_found(&directory)),
    }
}

pub(crate) fn not_found(directory: &Path) -> DriverError {
    DriverError::NotFound { id: directory.display().to_string() }
}

/// Keeps other calls from creating, starting or removing the instance until it is dropped.
pub(crate) async fn lock(directory: &Path) -> Result<File, DriverError> {
    let path = directory.join(files::LOCK);
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(file_error("open", &path))?;
        match file.try_lock() {
            // `remove` deletes the file: a lock on what has no name any more protects nothing.
            Ok(()) if is_at(&file, &path) => return Ok(file),
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(file_error("lock", &path)(error)),
        }
        if Instant::now() > deadline {
            return Err(DriverError::Timeout {
                what: "Waiting for another command on this machine".to_owned(),
                limit: LOCK_LIMIT,
            });
        }
        sleep(LOCK_POLL).await;
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Deletes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<(), DriverError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Names the file; a full disk gets a sentence of its own.
pub(crate) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DriverError {
    let path = path.display().to_string();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DriverError::Prerequisite {
            what: format!("There is no space left to {action} {path}"),
            hint: "Free some space, or set MACHINE_STORAGE_PATH to a folder on another disk".to_owned(),
        },
        _ => DriverError::File { action, path, source },
    }
}
