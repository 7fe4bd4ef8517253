//! Children that have ended, whatever ended them: nix has no names for real-time signals, and loses the end
//! of a process that one of them killed.

use nix::unistd::Pid;
use rustix::{
    io::Errno,
    process::{WaitOptions, wait},
};

/// Takes the next child that has ended, with its exit code as a shell counts it; `None` when there is none
/// for now.
pub(crate) fn next() -> Option<(Pid, i32)> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let killed = || status.terminating_signal().map(|signal| 128 + signal);
                if let Some(code) = status.exit_status().or_else(killed) {
                    return Some((Pid::from_raw(pid.as_raw_nonzero().get()), code));
                }
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
