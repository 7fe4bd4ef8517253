//! A descriptor that the runtime waits for.
#![expect(unsafe_code, reason = "tokio cannot know that a descriptor type keeps its number")]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the runtime of the caller.
pub fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor and names the same one until it is dropped, and the
    // caller gets no mutable access that could replace it while it is registered.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
