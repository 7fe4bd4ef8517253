//! What a machine shall be.

use crate::DriverOptions;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// Input of [`crate::Driver::create`].
#[derive(Clone, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The machine's name, a valid host name label.
    pub name: String,
    /// Unique id of the machine; tags whatever the driver makes.
    pub machine_id: String,
    /// Id of the store that the machine is remembered in; tags whatever the driver makes as well, so that
    /// two computers that share an account leave each other's machines alone.
    pub owner: String,
    /// The machine's keys, made before anything else.
    pub identity: Identity,
    /// The machine's folder; exists, mode 0700. The driver may keep files in it.
    pub directory: PathBuf,
    /// Folder shared by all machines for what can be made again (unpacked kernels).
    pub cache: PathBuf,
    /// Guest image folder (`guest_contract::paths::image_files`), for drivers that boot our guest.
    pub image: Option<PathBuf>,
    /// Virtual CPUs; `None` leaves it to the driver.
    pub cpus: Option<u32>,
    /// Memory in MiB; `None` leaves it to the driver.
    pub memory_mib: Option<u64>,
    /// Data disk in GiB; `None` leaves it to the driver.
    pub disk_gib: Option<u64>,
    /// The driver's own options.
    pub options: DriverOptions,
}

/// The two key pairs of a machine, as far as whoever makes it needs them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Who may log in: one `authorized_keys` line.
    pub authorized_key: String,
    /// The host key, public half, OpenSSH format.
    pub host_public: String,
    /// The host key, OpenSSH private key format. A secret.
    pub host_private: String,
}

// Options hold tokens, the identity holds a private key: neither may reach a log.
impl fmt::Debug for MachineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineSpec")
            .field("name", &self.name)
            .field("machine_id", &self.machine_id)
            .field("directory", &self.directory)
            .field("cpus", &self.cpus)
            .field("memory_mib", &self.memory_mib)
            .field("disk_gib", &self.disk_gib)
            .field("options", &self.options.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("authorized_key", &self.authorized_key)
            .field("host_public", &self.host_public)
            .finish_non_exhaustive()
    }
}

/// Input of [`crate::Driver::resize`]: what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSizes {
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Data disk in GiB; it can only grow.
    pub disk_gib: Option<u64>,
}
