//! Every file this driver keeps in a machine's folder, named here and nowhere else.

/// What the driver remembers of the instance (`record.rs`); the instance exists while it does.
pub(crate) const RECORD: &str = "kvm.json";
/// The record while it is being written.
pub(crate) const RECORD_PARTIAL: &str = "kvm.json.partial";
/// Locked while the instance is created, started or removed.
pub(crate) const LOCK: &str = "kvm.lock";
/// The data disk: a sparse raw file.
pub(crate) const DISK: &str = "disk.raw";
/// The data disk while it is being formatted.
pub(crate) const DISK_PARTIAL: &str = "disk.raw.partial";
/// Written and kept locked by QEMU: the authority on whether the VM runs.
pub(crate) const PID: &str = "qemu.pid";
/// What QEMU had to say on its standard error.
pub(crate) const QEMU_LOG: &str = "qemu.log";
/// QEMU's monitor.
pub(crate) const QMP_SOCKET: &str = "qmp.sock";
/// The host's end of the seed channel.
pub(crate) const SEED_SOCKET: &str = "seed.sock";
/// The host's end of the port that asks for an orderly power-off.
pub(crate) const POWER_SOCKET: &str = "power.sock";
/// The guest's serial console since power-on.
pub(crate) const CONSOLE: &str = "console.log";
/// The console of the boot before.
pub(crate) const CONSOLE_BEFORE: &str = "console.log.1";

/// What `remove` deletes, in this order: the record last but one, so that a removal that was cut
/// short is found and repeated.
pub(crate) const ALL: [&str; 12] = [
    DISK,
    DISK_PARTIAL,
    RECORD_PARTIAL,
    PID,
    QEMU_LOG,
    QMP_SOCKET,
    SEED_SOCKET,
    POWER_SOCKET,
    CONSOLE,
    CONSOLE_BEFORE,
    RECORD,
    LOCK,
];
