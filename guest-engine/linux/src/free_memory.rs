//! What a long-running process has freed goes back to the kernel.
#![expect(unsafe_code, reason = "glibc's settings have no other door")]

/// Bytes from which an allocation is a mapping of its own, which goes when it is freed; what is free at the end of
/// a heap may be as much.
const OWN_MAPPING: nix::libc::c_int = 128 * 1024;

/// To be called before there are other threads. glibc's own choice raises the limit to whatever was freed last:
/// then each thread's heap keeps megabytes of the pieces of layers that came by.
pub fn give_back() {
    // SAFETY: mallopt only sets numbers of the allocator, and nobody allocates at the same time.
    let set = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
    debug_assert_eq!(set, 1, "glibc takes this number");
}
