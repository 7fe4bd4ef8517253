//! The driver against a pretended QEMU and, where no guest is needed, the real one; its disks against
//! e2fsck.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "helpers of tests, outside of a test function"
)]

mod conformance;
mod disk;
mod failure;
mod fake_qemu;
mod image;
mod real_qemu;
