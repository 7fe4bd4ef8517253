//! Local machines under QEMU: KVM where it works, emulation (TCG) where it does not.
//!
//! A machine is a folder (`files.rs` names all that is in it) and, while it runs, one QEMU process
//! that outlives whoever started it. Whether it runs is decided by the lock that QEMU itself holds on
//! its pid file, never by a bare pid. What was asked of it last stands in `kvm.json`, so that a VM
//! that lost its power without being asked is told from one that was stopped.
//!
//! ```text
//!   create ─▶ disk.raw, kvm.json ─▶ start ─▶ QEMU ──power.sock "poweroff"──▶ stopped
//!                                     ▲       │ └──QMP quit, SIGKILL────────▶ stopped
//!                                     │       ├──guest powers itself off────▶ stopped
//!                                     └───────┴──anything else──────────────▶ error
//! ```

mod accel;
mod command_line;
mod console;
mod disk;
mod driver;
mod ext4;
mod files;
mod folder;
mod image;
mod kernel;
mod network;
mod power;
mod process;
mod qmp;
mod record;
mod sizes;
mod socket;
mod start;

pub use driver::KvmDriver;
