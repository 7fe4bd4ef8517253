//! The data disk: the first virtio disk, an ext4 file system that the driver made, mounted where the
//! engine keeps everything and grown to the size of its device.

use super::log;
use guest_contract::paths::DATA_ROOT;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const DISKS: &str = "/sys/class/block";
/// The driver was loaded before this is called: a disk that is there appears at once.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long an orderly end waits for the last user of the disk.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(2);
const SECTOR: u64 = 512;
/// A piece of growth: a fraction of a second even under a slow emulator.
const STEP: u64 = 2 << 30;

#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("The VM has no data disk")]
    Missing,
    #[error("Could not mount the data disk {0} as ext4")]
    Mount(String, #[source] nix::Error),
}

/// Finds and mounts the data disk. Gives its name.
pub(super) fn mount_data() -> Result<String, DiskError> {
    let disk = wait_for_disk(Instant::now() + DEADLINE).ok_or(DiskError::Missing)?;
    let device = format!("/dev/{disk}");
    // Overlay layers hold set-user-id programs and device nodes, which containers must see: neither
    // `nosuid` nor `nodev`. New inode tables are zeros already, the device was.
    let options = Some("errors=remount-ro,noinit_itable");
    mount(Some(device.as_str()), DATA_ROOT, Some("ext4"), MsFlags::MS_NOATIME, options)
        .map_err(|error| DiskError::Mount(device.clone(), error))?;
    Ok(disk)
}

/// Grows the file system to the size of its device, a piece at a time: the space of each piece can be
/// used at once, and between two of them the disk can be unmounted.
pub(super) fn grow(disk: &str, stopping: impl Fn() -> bool) {
    match grow_in_steps(disk, stopping) {
        Ok(false) => {}
        Ok(true) => log::line(format_args!("the data disk has grown to the size of its device")),
        // It works as it is; what is missing is space.
        Err(error) => log::line(format_args!("Could not grow the data disk: {error}")),
    }
}

/// Takes the disk out of service, whatever still uses it: nothing unwritten stays behind.
pub(super) fn unmount_data() {
    nix::unistd::sync();
    let deadline = Instant::now() + UNMOUNT_DEADLINE;
    loop {
        match umount2(DATA_ROOT, MntFlags::empty()) {
            // A step of growth, or a process that is just being killed, holds it a moment longer.
            Err(nix::Error::EBUSY) if Instant::now() < deadline => std::thread::sleep(POLL),
            // EINVAL: it was never mounted.
            Ok(()) | Err(nix::Error::EINVAL) => return,
            Err(_) => break,
        }
    }
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    if let Err(error) = mount(None::<&str>, DATA_ROOT, None::<&str>, read_only, None::<&str>) {
        log::line(format_args!("Could not make the data disk read-only: {error}"));
    }
    let _ = umount2(DATA_ROOT, MntFlags::MNT_DETACH);
    nix::unistd::sync();
}

fn wait_for_disk(deadline: Instant) -> Option<String> {
    loop {
        if let Some(disk) = first_disk(Path::new(DISKS)) {
            return Some(disk);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// `vda` before `vdb` before `vdaa`; partitions (`vda1`) do not count.
fn first_disk(folder: &Path) -> Option<String> {
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let letters = name.strip_prefix("vd")?;
        letters.bytes().all(|byte| byte.is_ascii_lowercase()).then_some(name)
    };
    fs::read_dir(folder).ok()?.flatten().filter_map(name).min_by_key(|name| (name.len(), name.clone()))
}

fn grow_in_steps(disk: &str, stopping: impl Fn() -> bool) -> io::Result<bool> {
    let sectors = fs::read_to_string(Path::new(DISKS).join(disk).join("size"))?;
    let device = sectors.trim().parse::<u64>().map_err(io::Error::other)? * SECTOR;
    let (block, usable) = size()?;
    // What is nearly as large as its device is asked nothing: see `size`.
    if device - device / 10 <= usable {
        return Ok(false);
    }
    let root = File::open(DATA_ROOT)?;
    let mut target = usable;
    while target < device && !stopping() {
        target = (target + STEP).min(device);
        engine_linux::ext4_resize::grow(&root, target / block)?;
    }
    Ok(target == device)
}

/// Size of a block and of what the blocks add up to. The file system's own tables, a few per cent,
/// are not counted in.
fn size() -> io::Result<(u64, u64)> {
    let file_system = nix::sys::statvfs::statvfs(DATA_ROOT)?;
    let block = file_system.fragment_size();
    Ok((block, file_system.blocks() * block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_disk_is_whole_and_first_in_the_alphabet_of_disks() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["loop0", "vdaa", "vdb", "vda1", "sda"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(first_disk(folder.path()).as_deref(), Some("vdb"));
    }
}
