//! Randomness given to the kernel from outside.
#![expect(unsafe_code, reason = "RNDADDENTROPY is an ioctl")]

use std::fs::OpenOptions;
use std::io;

/// The most that one call passes on; more would add nothing.
const MAX: usize = 512;

/// `struct rand_pool_info` of `<linux/random.h>` with room for [`MAX`] bytes.
#[repr(C)]
struct PoolInfo {
    entropy_count: nix::libc::c_int,
    buf_size: nix::libc::c_int,
    buf: [u8; MAX],
}

// The request number encodes the size of the header alone (two ints), not of the bytes behind it.
const RNDADDENTROPY: nix::libc::c_ulong =
    nix::request_code_write!(b'R', 0x03, 2 * size_of::<nix::libc::c_int>());

/// Adds `bytes` to the kernel's random generator and credits all of them: they must be secret and
/// uniformly random. Bytes after the first 512 are not used. Needs `CAP_SYS_ADMIN`.
pub fn add(bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len().min(MAX);
    let bytes = &bytes[..length];
    let length = i32::try_from(length).map_err(io::Error::other)?;
    let mut pool = PoolInfo { entropy_count: length * 8, buf_size: length, buf: [0; MAX] };
    pool.buf[..bytes.len()].copy_from_slice(bytes);
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    // SAFETY: the kernel reads the header and `buf_size` bytes behind it, all inside `pool`, which
    // outlives the call; the descriptor is open.
    let result =
        unsafe { nix::libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&random), RNDADDENTROPY, &raw const pool) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
