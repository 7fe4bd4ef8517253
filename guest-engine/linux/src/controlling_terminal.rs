//! A child process as the leader of its own session, with a terminal of its own.
#![expect(unsafe_code, reason = "setsid and TIOCSCTTY must run between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the child of `command` a session leader whose controlling terminal is its standard input,
/// which must be the inner end of a pty.
pub fn take(command: &mut Command) -> &mut Command {
    // SAFETY: both calls are async-signal-safe system calls; nothing is allocated or locked.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            if nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        })
    }
}

/// Makes the child of `command` a session leader without a terminal, so that signals can be sent to
/// all that it starts.
pub fn detach(command: &mut Command) -> &mut Command {
    // SAFETY: setsid is an async-signal-safe system call; nothing is allocated or locked.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        })
    }
}
