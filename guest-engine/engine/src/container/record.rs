//! What is kept of a container: its file, and the picture of it that everybody may watch.

use super::{mounts::MountSpec, state::State};
use crate::{
    network::Endpoint,
    ports::{PortSpec, Task},
};
use bollard_stubs::models::{ContainerConfig, EndpointSettings, HostConfig, RestartPolicy};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// File of a container's record in its folder.
pub(super) const FILE: &str = "container.json";

/// Everything about a container that outlives the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// Without a slash.
    pub name: String,
    pub created: SystemTime,
    /// The image's id, `sha256:…`.
    pub image_id: String,
    /// Its layers' diff ids, lowest first.
    pub layers: Vec<String>,
    /// The user's configuration merged with the image's.
    pub config: ContainerConfig,
    pub host: HostConfig,
    /// What is mounted, each with its volume; a record that exists has passed validation.
    #[serde(default)]
    pub mounts: Vec<MountSpec>,
    /// The networks it is to be on, by name, and what the user asks of each.
    pub endpoints: HashMap<String, EndpointSettings>,
    pub state: State,
    /// Its places on them while it runs.
    #[serde(default)]
    pub attached: BTreeMap<String, Endpoint>,
    /// Open ports of this host while it runs.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// Restarts by the policy since a user last started it.
    pub restarts: i64,
    /// A user stopped it: `unless-stopped` leaves it so.
    pub manually_stopped: bool,
    /// It is being removed, and its anonymous volumes with it.
    #[serde(default)]
    pub removing_volumes: bool,
}

impl Record {
    /// `HostConfig.RestartPolicy`.
    pub fn policy(&self) -> Option<&RestartPolicy> {
        self.host.restart_policy.as_ref()
    }

    /// Whether it removes itself when it ends (`--rm`).
    pub fn auto_remove(&self) -> bool {
        self.host.auto_remove.unwrap_or(false)
    }

    /// Whether its first process has a terminal.
    pub fn terminal(&self) -> bool {
        self.config.tty.unwrap_or(false)
    }

    /// What inspect shows as `Path` and `Args`.
    pub fn command(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.iter().flatten();
        entrypoint.chain(self.config.cmd.iter().flatten()).cloned().collect()
    }

    /// The image as the user named it.
    pub fn image(&self) -> &str {
        self.config.image.as_deref().unwrap_or(&self.image_id)
    }

    /// Its labels.
    pub fn labels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.config.labels.iter().flatten()
    }

    /// Attributes of its events: labels, image, name.
    pub(super) fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<String, String> =
            self.labels().map(|(k, v)| (k.clone(), v.clone())).collect();
        attributes.insert("image".to_owned(), self.image().to_owned());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }
}

/// A container as others see it at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub record: Arc<Record>,
    /// Ids of the execs that are running in it.
    pub exec_ids: Vec<String>,
    /// Its folder, with the files that are mounted over its `/etc`.
    pub folder: PathBuf,
}

impl Snapshot {
    /// Where its output is logged, if its driver says so; inspect's `LogPath`.
    pub fn log_path(&self) -> String {
        super::logs::driver::shown_path(&self.record, &self.folder)
    }
}

pub(super) fn log_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}-json.log"))
}

/// What a container's own task announces.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) record: Arc<Record>,
    /// While there is a process.
    pub(super) task: Option<Arc<dyn Task>>,
    /// How often a process of it has ended; for waiters that must not miss a quick restart.
    pub(super) exits: u64,
    /// It is gone, and this is its last picture.
    pub(super) removed: bool,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record that runs `true`.
    pub(in crate::container) fn record(name: &str) -> Record {
        Record {
            id: crate::id::random_id().unwrap(),
            name: name.to_owned(),
            created: SystemTime::now(),
            image_id: "sha256:0".to_owned(),
            layers: Vec::new(),
            config: ContainerConfig { cmd: Some(vec!["true".into()]), ..ContainerConfig::default() },
            host: HostConfig { shm_size: Some(64 << 20), ..HostConfig::default() },
            mounts: Vec::new(),
            endpoints: HashMap::new(),
            state: State::default(),
            attached: BTreeMap::new(),
            ports: Vec::new(),
            restarts: 0,
            manually_stopped: false,
            removing_volumes: false,
        }
    }

    #[test]
    fn a_record_survives_its_file() {
        let mut record = record("web");
        record.config.exposed_ports = Some(vec!["80/tcp".into()]);
        let text = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&text).unwrap();
        assert_eq!((back.config.exposed_ports, back.state), (record.config.exposed_ports, record.state));
    }
}
