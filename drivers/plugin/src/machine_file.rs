//! What is remembered of a plugin's machine in its folder: written before the plugin makes anything, and
//! after everything that may have changed it.

use machine_drivers::{DriverError, Instance};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The file; it holds the credentials that the plugin puts into its state.
const FILE: &str = "plugin.json";

/// Its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MachineFile {
    pub(crate) machine_id: String,
    /// The plugin has said that it made the machine.
    pub(crate) made: bool,
    /// The plugin's state.
    pub(crate) driver: Value,
    /// The host keys that the user gave.
    #[serde(default)]
    pub(crate) host_keys: Vec<String>,
    /// What was in the machine's folder before: the rest is the plugin's.
    pub(crate) found: BTreeSet<String>,
}

impl MachineFile {
    /// Reads it; `None` where there is none.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, DriverError> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|e| file_error("understand", &path, e.into()))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(file_error("read", &path, error)),
        }
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), DriverError> {
        let (path, partial) = (folder.join(FILE), folder.join(format!(".partial-{FILE}")));
        let write = || {
            let mut file =
                fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_data()?;
            fs::rename(&partial, &path)
        };
        write().map_err(|error| file_error("write", &path, error))
    }

    /// Deletes what the plugin left in the folder, and the file last.
    pub(crate) fn remove(&self, folder: &Path) -> Result<(), DriverError> {
        for name in listed(folder)?.difference(&self.found).filter(|name| *name != FILE) {
            let path = folder.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| file_error("remove", &path, error))?;
        }
        let path = folder.join(FILE);
        fs::remove_file(&path).map_err(|error| file_error("remove", &path, error))
    }
}

/// The names in a folder.
pub(crate) fn listed(folder: &Path) -> Result<BTreeSet<String>, DriverError> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let read = || -> io::Result<BTreeSet<String>> { fs::read_dir(folder)?.map(name).collect() };
    read().map_err(|error| file_error("read", folder, error))
}

/// A machine of ours as its record remembers it.
pub(crate) fn instance(folder: &Path, driver: &Value) -> Instance {
    Instance { id: folder.display().to_string(), data: json!({ "Driver": driver }) }
}

/// The state of a machine that docker-machine made: its record is all there is.
pub(crate) fn adopted(instance: &Instance) -> Option<&Value> {
    instance.data.get("Adopted").and_then(Value::as_bool).filter(|adopted| *adopted)?;
    instance.data.get("Driver")
}

/// docker-machine's state of a machine in `folder`, before its plugin has put anything into it.
pub(crate) fn blank(folder: &Path) -> Value {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let store: PathBuf = folder.ancestors().nth(2).unwrap_or(folder).to_owned();
    json!({
        "IPAddress": "", "MachineName": name, "SSHUser": "", "SSHPort": 0, "SSHKeyPath": "",
        "StorePath": store, "SwarmMaster": false, "SwarmHost": "", "SwarmDiscovery": "",
    })
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> DriverError {
    DriverError::File { action, path: path.display().to_string(), source }
}
