//! What a machine shall be.

use crate::DriverOptions;
use std::path::PathBuf;

/// Input of [`crate::Driver::create`].
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// The machine's name, a valid host name label.
    pub name: String,
    /// Unique id of the machine; tags whatever the driver makes.
    pub machine_id: String,
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
