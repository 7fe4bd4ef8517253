//! Makes the data disk: a sparse file with an empty filesystem in it.

use crate::{
    ext4::{self, Identity},
    files,
    folder::file_error,
};
use machine_drivers::DriverError;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

// Whole GiB are whole groups.
const _: () = assert!((1 << 30) % ext4::GROUP_BYTES == 0);

/// Makes `disk.raw`, whole or not at all.
pub(crate) fn create(directory: &Path, gib: u64) -> Result<(), DriverError> {
    let partial = directory.join(files::DISK_PARTIAL);
    let disk = directory.join(files::DISK);
    let size = gib << 30;
    let make = || {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.set_len(size)?;
        ext4::format(&file, size, &identity()?)?;
        file.sync_data()?;
        fs::rename(&partial, &disk)
    };
    match make() {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(DriverError::InvalidSpec(format!(
            "A disk of {gib} GiB is larger than a file may be in {}",
            directory.display()
        ))),
        Err(error) => Err(file_error("write", &disk)(error)),
    }
}

/// Makes the disk longer; what is longer already stays.
pub(crate) fn grow(directory: &Path, gib: u64) -> Result<(), DriverError> {
    let disk = directory.join(files::DISK);
    let grow = || {
        let file = File::options().write(true).open(&disk)?;
        if file.metadata()?.len() < gib << 30 {
            file.set_len(gib << 30)?;
            file.sync_data()?;
        }
        Ok(())
    };
    grow().map_err(file_error("write", &disk))
}

fn identity() -> io::Result<Identity> {
    let mut identity = Identity { uuid: [0; 16], hash_seed: [0; 16], time: 0 };
    let mut random = File::open("/dev/urandom")?;
    random.read_exact(&mut identity.uuid)?;
    random.read_exact(&mut identity.hash_seed)?;
    // RFC 9562: version 4, variant 1.
    identity.uuid[6] = identity.uuid[6] & 0x0f | 0x40;
    identity.uuid[8] = identity.uuid[8] & 0x3f | 0x80;
    identity.time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
    Ok(identity)
}
