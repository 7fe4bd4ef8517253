//! What the domain has to know of the host: its device nodes' numbers and owners, and which capabilities
//! the engine has to hand on.

use super::spec::devices::HostDevice;
use crate::error::{EngineError, Result};
use bollard_stubs::models::DeviceMapping;
use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// Every device under the host's `/dev`, for `--privileged`; what cannot be read is left out.
pub(super) fn every_device() -> Vec<HostDevice> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new("/dev").to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            // Terminals, shared memory and queues are the container's own; so is its console.
            let own = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/fd"];
            if own.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            if metadata.is_dir() {
                folders.push(path);
            } else if let Some(device) = describe(&path.to_string_lossy(), &metadata, "rwm") {
                found.push(device);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The devices that `--device` names; a folder stands for every device below it.
pub(super) fn mapped(devices: &[DeviceMapping]) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    for mapping in devices {
        let host = mapping.path_on_host.as_deref().unwrap_or_default();
        let inside = mapping.path_in_container.as_deref().filter(|p| !p.is_empty()).unwrap_or(host);
        let access = mapping.cgroup_permissions.as_deref().filter(|p| !p.is_empty()).unwrap_or("rwm");
        let failed = || {
            EngineError::invalid(format!(
                "error gathering device information while adding custom device {host:?}"
            ))
        };
        let metadata = fs::metadata(host).map_err(|e| failed().because(e))?;
        if metadata.is_dir() {
            for entry in fs::read_dir(host).map_err(|e| failed().because(e))?.flatten() {
                let inside =
                    format!("{}/{}", inside.trim_end_matches('/'), entry.file_name().to_string_lossy());
                found.extend(entry.metadata().ok().and_then(|metadata| describe(&inside, &metadata, access)));
            }
        } else {
            found.push(
                describe(inside, &metadata, access).ok_or_else(|| failed().because("not a device node"))?,
            );
        }
    }
    Ok(found)
}

/// Capabilities that the engine has itself, as the kernel's bit mask.
pub(super) fn grantable() -> u64 {
    super::spec::capabilities::grantable(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// Major and minor number of a block device; `None` when it is none.
pub(super) fn block_numbers(path: &str) -> Option<(i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    metadata.file_type().is_block_device().then(|| numbers(metadata.rdev()))
}

fn describe(inside: &str, metadata: &Metadata, access: &str) -> Option<HostDevice> {
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    let (major, minor) = numbers(metadata.rdev());
    Some(HostDevice {
        path: inside.to_owned(),
        block: kind.is_block_device(),
        major,
        minor,
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}

/// How Linux packs device numbers for programs.
fn numbers(rdev: u64) -> (i64, i64) {
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & 0xffff_f000);
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xffff_ff00);
    (i64::try_from(major).unwrap_or(0), i64::try_from(minor).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_device_and_a_file_is_not() {
        let mapping =
            |path: &str| DeviceMapping { path_on_host: Some(path.into()), ..DeviceMapping::default() };
        let found = mapped(&[mapping("/dev/null")]).unwrap();
        assert_eq!((found[0].major, found[0].minor, found[0].access.as_str()), (1, 3, "rwm"));
        assert!(mapped(&[mapping("/proc/version")]).is_err());
        assert!(mapped(&[mapping("/dev/absent")]).is_err());
        assert_eq!(block_numbers("/dev/null"), None);
    }
}
