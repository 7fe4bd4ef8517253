//! Attributes of files, as the guest sees them, and whose they are.
//!
//! Everything here is done as this user, who cannot give files away. A `chown` by a container is remembered
//! beside the file (in an attribute of it) and shown again, so that a database finds its folder to be its own; on
//! this computer the file stays the user's. Where nothing was remembered, files have the owners that they have
//! here. The superuser's `chown` is a real one.

use super::{Answer, FolderServer, Request, VALID, path};
use crate::folders::nodes::{device, kind, stat};
use rustix::{
    fs::{
        Access, AtFlags, CWD, FileType, Gid, Mode, Statx, StatxTimestamp, Timespec, Timestamps, Uid,
        XattrFlags, accessat, chmodat, chownat, fstatvfs, ftruncate, getxattr, removexattr, setxattr,
        utimensat,
    },
    io::Errno,
};
use std::os::fd::{AsFd, OwnedFd};

/// Where a remembered owner stands: `user:group`, numbers.
pub(super) const OWNER: &std::ffi::CStr = c"user.machine.owner";
/// Bits of a mode that `chmod` can change.
const PERMISSIONS: u32 = 0o7777;
const SET_ID: u32 = 0o6000;

mod valid {
    pub(super) const MODE: u32 = 1;
    pub(super) const USER: u32 = 1 << 1;
    pub(super) const GROUP: u32 = 1 << 2;
    pub(super) const SIZE: u32 = 1 << 3;
    pub(super) const ACCESSED: u32 = 1 << 4;
    pub(super) const MODIFIED: u32 = 1 << 5;
    pub(super) const HANDLE: u32 = 1 << 6;
    pub(super) const ACCESSED_NOW: u32 = 1 << 7;
    pub(super) const MODIFIED_NOW: u32 = 1 << 8;
    pub(super) const DROP_SET_ID: u32 = 1 << 11;
}

impl FolderServer {
    pub(super) fn attributes(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        const BY_HANDLE: u32 = 1;
        let flags = request.u32()?;
        request.skip(4)?;
        let handle = request.u64()?;
        let opened = if flags & BY_HANDLE == 0 { None } else { self.files.get(handle, node) };
        let answer = |place: &dyn std::os::fd::AsFd| {
            let place = place.as_fd();
            let found = stat(place)?;
            self.nodes.told(node, &found);
            Ok(self.put_attributes(Answer::new().u64(VALID).u64(0), place, &found))
        };
        match opened {
            Some(file) => answer(&file.file),
            None => answer(&*self.nodes.place(node)?),
        }
    }

    pub(super) fn set_attributes(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let asked = request.u32()?;
        request.skip(4)?;
        let (handle, size) = (request.u64()?, request.u64()?);
        request.skip(8)?;
        let (accessed, modified) = (request.u64()?, request.u64()?);
        request.skip(8)?;
        let (accessed_nanos, modified_nanos) = (request.u32()?, request.u32()?);
        request.skip(4)?;
        let mode = request.u32()?;
        request.skip(4)?;
        let (user, group) = (request.u32()?, request.u32()?);
        let has = |bit: u32| asked & bit != 0;

        let (place, before) = self.found(node)?;
        if has(valid::SIZE) {
            match self.files.get(handle, node).filter(|file| has(valid::HANDLE) && file.writes) {
                Some(opened) => ftruncate(&opened.file, size)?,
                None => ftruncate(self.open_node(node, super::files::WRITE_ONLY)?.file, size)?,
            }
        }
        if has(valid::USER | valid::GROUP) {
            let user = has(valid::USER).then_some(user);
            let group = has(valid::GROUP).then_some(group);
            self.set_owner(&place, &before, user, group)?;
        }
        if has(valid::MODE) {
            chmodat(CWD, path(&*place), Mode::from_raw_mode(mode & PERMISSIONS), AtFlags::empty())?;
        } else if has(valid::DROP_SET_ID) && self.superuser {
            // For anybody else the kernel has done it.
            drop_set_id(&place, &before)?;
        }
        let time = |set: u32, now: u32, seconds: u64, nanos: u32| {
            if has(now) {
                Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW }
            } else if has(set) {
                Timespec { tv_sec: seconds as i64, tv_nsec: i64::from(nanos) }
            } else {
                Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }
            }
        };
        if has(valid::ACCESSED | valid::MODIFIED) {
            let times = Timestamps {
                last_access: time(valid::ACCESSED, valid::ACCESSED_NOW, accessed, accessed_nanos),
                last_modification: time(valid::MODIFIED, valid::MODIFIED_NOW, modified, modified_nanos),
            };
            utimensat(CWD, path(&*place), &times, AtFlags::empty())?;
        }
        let found = stat(&*place)?;
        self.nodes.told(node, &found);
        Ok(self.put_attributes(Answer::new().u64(VALID).u64(0), place.as_fd(), &found))
    }

    pub(super) fn access(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let asked = Access::from_bits_truncate(request.u32()?);
        if self.read_only && asked.contains(Access::WRITE_OK) {
            return Err(Errno::ROFS);
        }
        accessat(CWD, path(&*self.nodes.place(node)?), asked, AtFlags::empty())?;
        Ok(Answer::new())
    }

    pub(super) fn file_system(&self, node: u64) -> Result<Answer, Errno> {
        let found = fstatvfs(&*self.nodes.place(node)?)?;
        Ok(Answer::new()
            .u64(found.f_blocks)
            .u64(found.f_bfree)
            .u64(found.f_bavail)
            .u64(found.f_files)
            .u64(found.f_ffree)
            .u32(found.f_bsize as u32)
            .u32(found.f_namemax as u32)
            .u32(found.f_frsize as u32)
            .bytes(&[0; 28]))
    }

    /// A name's answer: number, how long it holds, attributes.
    pub(super) fn put_entry(&self, answer: Answer, number: u64, place: impl AsFd, found: &Statx) -> Answer {
        let answer = answer.u64(number).u64(0).u64(VALID).u64(VALID).u64(0);
        self.put_attributes(answer, place, found)
    }

    pub(super) fn put_attributes(&self, answer: Answer, place: impl AsFd, found: &Statx) -> Answer {
        let (user, group) = self.owner(place, found);
        let seconds = |time: &StatxTimestamp| time.tv_sec as u64;
        answer
            .u64(inode(found))
            .u64(found.stx_size)
            .u64(found.stx_blocks)
            .u64(seconds(&found.stx_atime))
            .u64(seconds(&found.stx_mtime))
            .u64(seconds(&found.stx_ctime))
            .u32(found.stx_atime.tv_nsec)
            .u32(found.stx_mtime.tv_nsec)
            .u32(found.stx_ctime.tv_nsec)
            .u32(u32::from(found.stx_mode))
            .u32(found.stx_nlink)
            .u32(user)
            .u32(group)
            .u32(guest_device(found.stx_rdev_major, found.stx_rdev_minor))
            .u32(found.stx_blksize)
            .u32(0)
    }

    /// Whose the guest is told that it is.
    fn owner(&self, place: impl AsFd, found: &Statx) -> (u32, u32) {
        let here = (found.stx_uid, found.stx_gid);
        if self.superuser || !may_remember(found) {
            return here;
        }
        let mut value = [0; 32];
        let Ok(length) = getxattr(path(place), OWNER, &mut value[..]) else { return here };
        let remembered = value.get(..length).and_then(|value| std::str::from_utf8(value).ok());
        remembered.and_then(parse_owner).unwrap_or(here)
    }

    fn set_owner(
        &self,
        place: &OwnedFd,
        found: &Statx,
        user: Option<u32>,
        group: Option<u32>,
    ) -> Result<(), Errno> {
        let real = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        match chownat(place, c"", real.0, real.1, AtFlags::EMPTY_PATH) {
            Ok(()) => {
                if !self.superuser && may_remember(found) {
                    // There may be none.
                    _ = removexattr(path(place), OWNER);
                }
                Ok(())
            }
            // A link's owner matters to nobody, and there is no place to remember it.
            Err(Errno::PERM) if !may_remember(found) => Ok(()),
            Err(Errno::PERM) if found.stx_uid == rustix::process::geteuid().as_raw() => {
                let (user_before, group_before) = self.owner(place, found);
                let owner = (user.unwrap_or(user_before), group.unwrap_or(group_before));
                if owner == (found.stx_uid, found.stx_gid) {
                    _ = removexattr(path(place), OWNER);
                    return Ok(());
                }
                let value = format!("{}:{}", owner.0, owner.1);
                setxattr(path(place), OWNER, value.as_bytes(), XattrFlags::empty())
                    // A file system that remembers nothing.
                    .map_err(|error| if error == Errno::OPNOTSUPP { Errno::PERM } else { error })?;
                drop_set_id(place, found)
            }
            Err(error) => Err(error),
        }
    }
}

/// What programs rely on when a file changes hands, or is written to by somebody else.
pub(super) fn drop_set_id(place: impl AsFd, found: &Statx) -> Result<(), Errno> {
    let mode = u32::from(found.stx_mode) & PERMISSIONS;
    if kind(found) != FileType::RegularFile || mode & SET_ID == 0 {
        return Ok(());
    }
    chmodat(CWD, path(place), Mode::from_raw_mode(mode & !SET_ID), AtFlags::empty())
}

/// Attributes of users' own are for files and folders only.
fn may_remember(found: &Statx) -> bool {
    matches!(kind(found), FileType::RegularFile | FileType::Directory)
}

fn parse_owner(text: &str) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// A folder may have several file systems below it, which are one in the guest.
pub(super) fn inode(found: &Statx) -> u64 {
    found.stx_ino ^ device(found).rotate_left(40)
}

/// A device number as FUSE has it, which is the kernel's old way.
fn guest_device(major_number: u32, minor_number: u32) -> u32 {
    (minor_number & 0xff) | (major_number << 8) | ((minor_number & !0xff) << 12)
}
