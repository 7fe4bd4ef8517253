//! What the driver remembers of an instance from call to call: `kvm.json`.

use crate::{files, folder::file_error};
use machine_drivers::{DriverError, Instance};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Newest version this code reads, and the one it writes.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Fixed at `create`.
    pub(crate) machine: Machine,
    /// What was asked of the instance last.
    pub(crate) asked: Asked,
    /// The loopback port of its SSH server, kept from start to start while it is free.
    pub(crate) ssh_port: Option<u16>,
}

/// What `create` decided; it is also the instance's data in the machine's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) machine_id: String,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) disk_gib: u64,
    /// The guest image's folder.
    pub(crate) image: PathBuf,
    /// Where its kernel is unpacked to.
    pub(crate) cache: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    Running,
    Stopped,
}

impl Record {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { version: VERSION, machine, asked: Asked::Stopped, ssh_port: None }
    }

    pub(crate) fn instance(&self, directory: &Path) -> Result<Instance, DriverError> {
        let id = directory.to_str().ok_or_else(|| {
            DriverError::InvalidSpec(format!("The machine's folder {} is not UTF-8", directory.display()))
        })?;
        let data = serde_json::to_value(&self.machine).map_err(|error| failed("write", directory, error))?;
        Ok(Instance { id: id.to_owned(), data })
    }

    /// `None` when there is no instance in the folder.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, DriverError> {
        let path = directory.join(files::RECORD);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| failed("read", directory, error))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version.is_some_and(|version| version > u64::from(VERSION)) {
            let what = format!("{} was written by a newer release of machine", path.display());
            return Err(DriverError::Prerequisite { what, hint: "Install that release again".to_owned() });
        }
        serde_json::from_value(value).map(Some).map_err(|error| failed("read", directory, error))
    }

    /// On disk before it returns, whole or not at all.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), DriverError> {
        let path = directory.join(files::RECORD);
        let partial = directory.join(files::RECORD_PARTIAL);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| failed("write", directory, error))?;
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&partial, &path)
        };
        write().map_err(file_error("write", &path))
    }
}

fn failed(action: &'static str, directory: &Path, error: serde_json::Error) -> DriverError {
    file_error(action, &directory.join(files::RECORD))(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(Machine {
            name: "dev".to_owned(),
            machine_id: "id".to_owned(),
            cpus: 2,
            memory_mib: 2048,
            disk_gib: 20,
            image: "/image".into(),
            cache: "/cache".into(),
        })
    }

    #[test]
    fn comes_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(folder.path()).unwrap(), None);
        let record = Record { asked: Asked::Running, ssh_port: Some(4711), ..record() };
        record.save(folder.path()).unwrap();
        assert_eq!(Record::load(folder.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_record_from_the_future_and_a_damaged_one_are_clear_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(files::RECORD);
        fs::write(&path, r#"{"version":2,"unheard":"of"}"#).unwrap();
        let error = Record::load(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("was written by a newer release of machine"), "{error}");
        fs::write(&path, "{").unwrap();
        assert!(matches!(Record::load(folder.path()), Err(DriverError::File { action: "read", .. })));
    }
}
