//! Children that have ended, whatever ended them: nix has no names for real-time signals, and loses the end
//! of a process that one of them killed.

use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait};
pub use rustix::{io::Errno, process::WaitStatus};

/// Takes the next child that has ended; never waits. `None` when there is none for now, [`Errno::CHILD`] when
/// there are no children at all.
pub fn next() -> Result<Option<(Pid, WaitStatus)>, Errno> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if status.exited() || status.signaled() => {
                return Ok(Some((Pid::from_raw(pid.as_raw_nonzero().get()), status)));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The exit code of what has ended, as a shell counts it.
pub(crate) fn code(status: WaitStatus) -> i32 {
    let killed = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(killed).unwrap_or_default()
}
