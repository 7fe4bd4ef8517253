//! The QEMU process: started so that it outlives us, found by the lock on its pid file.
#![expect(unsafe_code, reason = "session and umask are set between fork and exec; a pidfd is polled")]

use crate::{files, folder::file_error};
use machine_drivers::DriverError;
use nix::{
    sys::stat::{Mode, umask},
    unistd::setsid,
};
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal,
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
    time::timeout,
};

/// A QEMU that was running when it was looked for; the descriptor stays its own, whatever becomes of
/// the pid.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    descriptor: OwnedFd,
}

/// The process that holds the lock on the folder's pid file, if any.
pub(crate) fn find(directory: &Path) -> Result<Option<Process>, DriverError> {
    let path = directory.join(files::PID);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("read", &path)(error)),
    };
    let failed = |error: rustix::io::Errno| file_error("examine", &path)(error.into());
    loop {
        let Some(pid) = holder(&file).map_err(failed)? else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Only if it still holds the lock is the descriptor that process and no later one.
            Ok(descriptor) if holder(&file).map_err(failed)? == Some(pid) => {
                return Ok(Some(Process { pid, descriptor }));
            }
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn holder(file: &File) -> rustix::io::Result<Option<Pid>> {
    Ok(fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?.and_then(|lock| lock.pid))
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended; `false` after `limit`.
    pub(crate) async fn ended(&self, limit: Duration) -> io::Result<bool> {
        // SAFETY: the borrow keeps the descriptor open and the same as long as it is registered.
        let descriptor = unsafe { AsyncFd::register(self.descriptor.as_fd()) }?;
        match timeout(limit, descriptor.readable()).await {
            Ok(ended) => ended.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Ends it without asking.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Starts QEMU in `directory`, in a session of its own and without our terminal. Its standard error
/// goes to the folder's log; whatever it creates is for its user only.
pub(crate) fn spawn(qemu: &Path, arguments: &[OsString], directory: &Path) -> Result<Child, DriverError> {
    let path = directory.join(files::QEMU_LOG);
    let log = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(file_error("write", &path))?;
    let mut command = Command::new(qemu);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(false);
    // SAFETY: setsid and umask are async-signal-safe, and nothing else happens in the child.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            umask(Mode::from_bits_truncate(0o077));
            Ok(())
        });
    }
    command
        .spawn()
        .map_err(|error| DriverError::Provider { what: format!("{} cannot be run: {error}", qemu.display()) })
}

/// The last thing QEMU said before it ended, without its own name in front.
pub(crate) fn last_words(directory: &Path) -> String {
    let text = fs::read(directory.join(files::QEMU_LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let said = line.split_once(": ").filter(|(name, _)| name.contains("qemu")).map_or(line, |(_, said)| said);
    said.trim_end_matches('.').to_owned()
}
