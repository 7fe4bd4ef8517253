//! What must be known to find a machine's VM again, written before there is one.

use crate::{files, provider::Reach, random};
use machine_drivers::{DriverError, MachineSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::Path;

/// The drivers' file in the machine's folder. Holds credentials: mode 0600.
const FILE: &str = "cloud.json";

/// [`FILE`].
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Journal<A> {
    pub(super) machine_id: String,
    /// Drawn once for every VM, for providers that make one only once by it.
    pub(super) nonce: String,
    /// Endpoint and credentials. Whoever must replace an expired token writes the new one here.
    pub(super) account: A,
    pub(super) reach: Reach,
    /// The VM's id, as soon as the provider gave one.
    pub(super) vm: Option<String>,
}

impl<A: Serialize + DeserializeOwned> Journal<A> {
    pub(super) fn new(spec: &MachineSpec, account: A, reach: Reach) -> Result<Self, DriverError> {
        let nonce = format!("{:032x}", u128::from_ne_bytes(random::bytes()?));
        Ok(Self { machine_id: spec.machine_id.clone(), nonce, account, reach, vm: None })
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
