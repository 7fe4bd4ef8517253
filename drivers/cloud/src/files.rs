//! The drivers' own files in a machine's folder: JSON, private, written whole or not at all.

use machine_drivers::DriverError;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Reads `name`; `None` when there is none.
pub(crate) fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, DriverError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed("read", &path, e.into())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(failed("read", &path, error)),
    }
}

/// Writes `name`, mode 0600. It is on the disk when this returns.
pub(crate) fn save<T: Serialize>(folder: &Path, name: &str, content: &T) -> Result<(), DriverError> {
    let path = folder.join(name);
    let partial = folder.join(format!(".partial-{name}"));
    let write = || -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(content)?;
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| failed("write", &path, error))
}

/// Removes `name`, if it is there.
pub(crate) fn remove(folder: &Path, name: &str) -> Result<(), DriverError> {
    let path = folder.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DriverError {
    DriverError::File { action, path: path.display().to_string(), source }
}
