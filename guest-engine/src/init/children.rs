//! The processes of PID 1: its own services, and every orphan that Linux hands to it. One thread
//! waits for all of them, so that nobody's exit is taken by somebody else.

use super::log;
use engine_linux::reaped::{self, Errno};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Status(i32),
    /// A signal's number: those of real time have no name.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// The services by process, and where to tell that one ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    waiting: Arc<Mutex<HashMap<Pid, Sender<Exit>>>>,
}

impl Children {
    /// Starts a process whose end comes out of the receiver. `prepare` runs, and what it made is
    /// dropped, while no other process can be started: descriptors that only this child may inherit
    /// are opened for inheritance there.
    pub(super) fn spawn<T>(
        &self,
        command: &mut Command,
        prepare: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(Child, Receiver<Exit>)> {
        // The lock keeps the reaper from taking an exit before it is known whose it is.
        let mut waiting = self.lock();
        let inherited = prepare()?;
        // PID 1 blocks its signals and a child would inherit that.
        let blocked = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let child = command.spawn();
        let restored = blocked.thread_set_mask();
        drop(inherited);
        // A signal that came in between was lost: have the reaper look in any case.
        let _ = kill(Pid::this(), Signal::SIGCHLD);
        restored?;
        let child = child?;
        let (sender, receiver) = channel();
        waiting.insert(pid(&child), sender);
        Ok((child, receiver))
    }

    /// Takes the exits of all children that have ended; never waits. True when no child is left at
    /// all, which in PID 1 means: no process of user space but itself.
    pub(super) fn reap(&self) -> bool {
        let mut waiting = self.lock();
        loop {
            let (pid, status) = match reaped::next() {
                Ok(Some(ended)) => ended,
                Ok(None) => return false,
                Err(Errno::CHILD) => return true,
                Err(error) => {
                    log::line(format_args!("Could not reap: {error}"));
                    return false;
                }
            };
            if let Some(service) = waiting.remove(&pid) {
                let exit = match status.terminating_signal() {
                    Some(number) => Exit::Signal(number),
                    None => Exit::Status(status.exit_status().unwrap_or_default()),
                };
                let _ = service.send(exit);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, Sender<Exit>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process number of a child in nix's type.
pub(super) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
