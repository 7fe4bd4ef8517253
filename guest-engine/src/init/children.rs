//! The processes of PID 1: its own services, and every orphan that Linux hands to it. One thread
//! waits for all of them, so that nobody's exit is taken by somebody else.

use super::log;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
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
    Signal(Signal),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Signal(signal) => write!(f, "{signal}"),
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
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, Exit::Status(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal)),
                Ok(WaitStatus::StillAlive) => return false,
                Err(Errno::ECHILD) => return true,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => {
                    log::line(format_args!("Could not reap: {error}"));
                    return false;
                }
            };
            if let Some(service) = waiting.remove(&pid) {
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
