//! Against the real kernel: containers under shims, overlay mounts, bridges and address translation.
//! Needs root and `/bin/busybox` (Debian's busybox-static). Cleans up after itself; network tests run in
//! network namespaces of their own.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod files;
mod harness;
mod layers;
mod lifecycle;
mod links;
mod stdio;
mod survival;
