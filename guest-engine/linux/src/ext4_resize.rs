//! Growing a mounted ext4 file system.
#![expect(unsafe_code, reason = "EXT4_IOC_RESIZE_FS is an ioctl")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

// `_IOW('f', 16, __u64)` of `<linux/ext4.h>`.
const EXT4_IOC_RESIZE_FS: nix::libc::c_ulong = nix::request_code_write!(b'f', 16, size_of::<u64>());

/// Grows the mounted file system that `root` (its root folder, open) belongs to to `blocks` blocks of
/// its own block size. The size that it has already is not an error; a smaller one is.
pub fn grow(root: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64, which outlives the call; the descriptor is open.
    let result = unsafe { nix::libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
