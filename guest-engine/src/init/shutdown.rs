//! The orderly end of the guest, by whoever asks for it first: the power port, or a signal to PID 1
//! as `poweroff`, `halt` and `reboot` of a shell send it.
//!
//! Engine stopped (it stops the containers) → everything killed → disk written and unmounted → off.

use super::services::Services;
use super::{disk, log};
use nix::sys::reboot::{RebootMode, reboot};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the engine has to stop its containers.
const ENGINE_GRACE: Duration = Duration::from_secs(10);
/// What killed processes have to go; then the disk is unmounted under them.
const KILL_GRACE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    services: Services,
    begun: Arc<AtomicBool>,
}

impl Shutdown {
    pub(super) fn new(services: Services) -> Self {
        Self { services, begun: Arc::default() }
    }

    /// Begins the end and returns at once. A second call does nothing.
    pub(super) fn begin(&self, why: &str) {
        if self.begun.swap(true, Ordering::AcqRel) {
            return;
        }
        log::line(format_args!("powering off: {why}"));
        let services = self.services.clone();
        super::thread("shutdown", move || {
            let stop = std::panic::AssertUnwindSafe(|| services.stop_engine(ENGINE_GRACE));
            let _ = std::panic::catch_unwind(stop);
            services.kill_everything(KILL_GRACE);
            disk::unmount_data();
            log::line(format_args!("off"));
            power_off();
        });
    }
}

/// Ends the VM. A machine without a power switch (QEMU's `microvm` without ACPI) is restarted
/// instead, which QEMU takes for its end under `-no-reboot`.
fn power_off() {
    for mode in [RebootMode::RB_POWER_OFF, RebootMode::RB_AUTOBOOT] {
        let Err(error) = reboot(mode);
        log::line(format_args!("Could not end the VM: {error}"));
    }
}
