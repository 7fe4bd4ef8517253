//! What must be known to find a machine's VM again, written before there is one.

use crate::{files, provider::Reach, random};
use machine_drivers::{DriverError, MachineSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The drivers' file in the machine's folder. Holds credentials: mode 0600.
const FILE: &str = "cloud.json";

/// [`FILE`].
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Journal<A> {
    pub(super) machine_id: String,
    /// The store that the machine is remembered in.
    #[serde(default)]
    pub(super) owner: String,
    /// Drawn once for every VM, for providers that make one only once by it.
    pub(super) nonce: String,
    /// Endpoint and credentials.
    pub(super) account: A,
    pub(super) reach: Reach,
    /// The VM's id, as soon as the provider gave one.
    pub(super) vm: Option<String>,
    /// Milliseconds since 1970 at which it did.
    #[serde(default)]
    pub(super) made_at: u64,
}

impl<A: Serialize + DeserializeOwned> Journal<A> {
    pub(super) fn new(spec: &MachineSpec, account: A, reach: Reach) -> Result<Self, DriverError> {
        let nonce = format!("{:032x}", u128::from_ne_bytes(random::bytes()?));
        let (machine_id, owner) = (spec.machine_id.clone(), spec.owner.clone());
        Ok(Self { machine_id, owner, nonce, account, reach, vm: None, made_at: 0 })
    }

    /// The VM has this id.
    pub(super) fn of_vm(self, id: &str) -> Self {
        Self { vm: Some(id.to_owned()), made_at: now(), ..self }
    }

    /// The VM was made less than `window` ago: the provider may not see it yet.
    pub(super) fn is_new(&self, window: Duration) -> bool {
        self.vm.is_some() && u128::from(now().abs_diff(self.made_at)) < window.as_millis()
    }

    pub(super) fn load(folder: &Path) -> Result<Option<Self>, DriverError> {
        files::load(folder, FILE)
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), DriverError> {
        files::save(folder, FILE, self)
    }

    pub(super) fn remove(folder: &Path) -> Result<(), DriverError> {
        files::remove(folder, FILE)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
