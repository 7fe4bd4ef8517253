//! What PID 1 says: one line at a time on the console, with the time since power-on. Secrets never
//! come here.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::time::Duration;

static CONSOLE: OnceLock<File> = OnceLock::new();

/// Opens the console once `/dev` is there. Until then lines go to what the kernel gave as stderr.
pub(super) fn open() {
    // Non-blocking: a console that nobody drains must not stop PID 1.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    if let Ok(console) = OpenOptions::new().write(true).custom_flags(flags).open("/dev/console") {
        let _ = CONSOLE.set(console);
    }
}

/// Writes one line. Never fails: there is nowhere else to complain to.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let since = since_boot();
    let line = format!("[{:5}.{:03}] init: {text}\n", since.as_secs(), since.subsec_millis());
    let _ = match CONSOLE.get() {
        Some(mut console) => console.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// Time since the kernel started, sleep of the host included.
pub(super) fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// A panic of a thread of PID 1 is a line on the console, not a kernel panic.
pub(super) fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| line(format_args!("Internal error: {panic}"))));
}
