//! The driver's power port: a line that says [`POWER_OFF`] asks for an orderly end.

use super::virtio_port::{self, Event};
use super::{log, shutdown::Shutdown};
use guest_contract::paths::{POWER_OFF, POWER_PORT};
use std::time::{Duration, Instant};

/// Listens until the end. A VM without the port is powered off by its SSH server or by force.
pub(super) fn listen(shutdown: &Shutdown) {
    let mut lines = match virtio_port::open(POWER_PORT, Instant::now() + Duration::from_secs(10)) {
        Ok((_port, lines)) => lines,
        Err(error) => return log::line(format_args!("{error}")),
    };
    loop {
        match lines.next(Duration::from_secs(3600)) {
            Ok(Event::Line(line)) if line == POWER_OFF => shutdown.begin("the host asks for it"),
            Ok(Event::Line(_)) => log::line(format_args!("Unknown line on the power port")),
            Ok(Event::Changed) => {}
            Err(error) => {
                log::line(format_args!("Could not read the power port: {error}"));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}
