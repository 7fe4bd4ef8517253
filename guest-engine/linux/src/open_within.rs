//! Opening a path that leads nowhere but into one folder, whatever its links and `..` say.

use rustix::{
    fs::{self as rfs, Mode, OFlags, ResolveFlags},
    io::Errno,
    path::Arg,
};
use std::os::fd::{AsFd, OwnedFd};

/// How often the kernel may ask for another attempt before it is believed.
const ATTEMPTS: usize = 1000;

/// `openat2` of something that exists. The kernel gives up on a `..` while anything anywhere is being renamed
/// or mounted; it means nothing but "again".
pub(crate) fn open_within(
    root: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        match rfs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}
