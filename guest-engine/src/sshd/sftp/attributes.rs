//! File attributes between Linux and the SFTP protocol.

use russh_sftp::protocol::FileAttributes;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What the protocol says about a file. The crate's own conversion takes devices for links.
pub(super) fn describe(metadata: &Metadata) -> FileAttributes {
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        ..FileAttributes::empty()
    }
}

/// Sets what the client gave of size, owner, mode and times.
pub(super) fn apply(path: &Path, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        fs::OpenOptions::new().write(true).open(path)?.set_len(size)?;
    }
    if attributes.uid.is_some() || attributes.gid.is_some() {
        std::os::unix::fs::chown(path, attributes.uid, attributes.gid)?;
    }
    if let Some(mode) = attributes.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (attributes.atime, attributes.mtime) {
        // Opening for reading is enough: the owner may set the times.
        File::open(path)?.set_times(times(accessed, modified))?;
    }
    Ok(())
}

/// The same on an open file.
pub(super) fn apply_to_file(file: &File, attributes: &FileAttributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if attributes.uid.is_some() || attributes.gid.is_some() {
        std::os::unix::fs::fchown(file, attributes.uid, attributes.gid)?;
    }
    if let Some(mode) = attributes.permissions {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (attributes.atime, attributes.mtime) {
        file.set_times(times(accessed, modified))?;
    }
    Ok(())
}

fn times(accessed: u32, modified: u32) -> fs::FileTimes {
    let at = |seconds: u32| UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
    fs::FileTimes::new().set_accessed(at(accessed)).set_modified(at(modified))
}

/// The protocol counts in 32 bits: what does not fit is as near as it gets.
fn seconds(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_device_and_a_link_is_a_link() {
        let null = describe(&fs::metadata("/dev/null").unwrap());
        assert_eq!(null.permissions.unwrap() & 0o170_000, 0o020_000);
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let link = describe(&fs::symlink_metadata(&link).unwrap());
        assert_eq!(link.permissions.unwrap() & 0o170_000, 0o120_000);
    }

    #[test]
    fn times_before_and_after_what_the_protocol_knows_are_clamped() {
        assert_eq!((seconds(-5), seconds(7), seconds(i64::MAX)), (0, 7, u32::MAX));
    }
}
