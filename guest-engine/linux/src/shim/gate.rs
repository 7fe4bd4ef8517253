//! The gate a created process waits at, and what it says when it cannot go through.
//!
//! libcontainer's own start (a socket inside its state folder) exists only for a container's first
//! process, and its errors lose their sources on the way. So every process, first or exec, runs our
//! [`Executor`]: it waits for one message on a socket pair, then becomes the program. The shim's end sees
//! the end of the stream when the `exec` succeeded (the other end closes with it) and otherwise what went
//! wrong. Before that, the process's own error events (`trace`) come through the same socket.

#![expect(unsafe_code, reason = "close_range and the reset of a signal's disposition have no safe wrapper")]

use super::lookup;
use crate::seccomp;
use libcontainer::{
    oci_spec::runtime::Spec,
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
    },
    unistd::execve,
};
use std::{
    collections::HashMap,
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::OnceLock,
};

/// `HOME` as libcontainer looked it up in the container's `/etc/passwd`. The process that reads it is
/// the one that set it, single-threaded, moments before its `exec`.
static HOME: OnceLock<String> = OnceLock::new();

/// First byte of what comes through the gate: a sentence for the user…
pub(super) const SENTENCE: u8 = b'S';
/// …or an error event from inside libcontainer.
pub(super) const EVENT: u8 = b'E';

/// The shim's end.
#[derive(Debug)]
pub(super) struct Gate(OwnedFd);

/// The process's end.
#[derive(Clone, Debug)]
pub(super) struct GatedExecutor {
    fd: RawFd,
    /// Installed last.
    seccomp: Option<Vec<u8>>,
}

/// What the shim's end has heard so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The process has become the program, or died.
    End,
    Sentence(String),
    Event(String),
}

/// Both ends. The second must stay open until the process has been created.
pub(super) fn pair() -> io::Result<(Gate, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Gate(ours), theirs))
}

impl Gate {
    /// Lets the process go on.
    pub(super) fn open(&self) -> io::Result<()> {
        send(self.0.as_raw_fd(), b"go", MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// The next message, without waiting.
    pub(super) fn hear(&self) -> io::Result<Heard> {
        let mut buffer = [0_u8; 4096];
        match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Heard::End),
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[1..length]).into_owned();
                Ok(if buffer[0] == SENTENCE { Heard::Sentence(text) } else { Heard::Event(text) })
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Heard::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `text` to the shim; nobody listening is no error.
pub(super) fn tell(fd: RawFd, kind: u8, text: &str) {
    let mut message = Vec::with_capacity(text.len() + 1);
    message.push(kind);
    message.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(4000)]);
    let _sent = send(fd, &message, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
}

impl GatedExecutor {
    pub(super) fn new(theirs: &OwnedFd, seccomp: Option<Vec<u8>>) -> Self {
        Self { fd: theirs.as_raw_fd(), seccomp }
    }

    fn run(&self, spec: &Spec) -> Result<std::convert::Infallible, String> {
        let process = spec.process().as_ref().ok_or("the process is missing")?;
        let args = process.args().as_deref().unwrap_or_default();
        let name = args.first().ok_or("the command is empty")?;
        let mut env = process.env().clone().unwrap_or_default();
        let path = lookup::executable(name, &env)?;
        if let Some(home) = HOME.get()
            && !env.iter().any(|entry| entry.len() > "HOME=".len() && entry.starts_with("HOME="))
        {
            env.push(format!("HOME={home}"));
        }
        let c = |text: &[u8]| {
            CString::new(text).map_err(|_| "a NUL byte in the command or environment".to_owned())
        };
        let path_text = path.as_os_str().as_encoded_bytes();
        let program = c(path_text)?;
        let args = args.iter().map(|arg| c(arg.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let env = env.iter().map(|entry| c(entry.as_bytes())).collect::<Result<Vec<_>, _>>()?;

        // Everything but the gate: libcontainer's exec waits for the end of its own pipe, which must
        // come when the process is created, not when it has been started.
        close_all_but(self.fd);
        let mut go = [0_u8; 8];
        match recv(self.fd, &mut go, MsgFlags::empty()) {
            Ok(length) if length > 0 => {}
            _ => return Err("the shim has gone".to_owned()),
        }
        // Rust ignores SIGPIPE and the shim blocks SIGCHLD; both would be inherited.
        // SAFETY: the default disposition runs none of our code.
        let _reset = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
        let _unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        // Here, because libcontainer, built without libseccomp, installs none, and for an exec it never
        // would. The CAP_SYS_ADMIN that it takes (see `let_install_seccomp`) ends with the `execve`.
        if let Some(program) = &self.seccomp {
            seccomp::install(program).map_err(|error| format!("unable to init seccomp: {}", error.desc()))?;
        }
        match execve(&program, &args, &env) {
            Err(Errno::ENOEXEC) => Err(format!("exec {}: exec format error", path.display())),
            Err(Errno::ENOENT) => Err(format!("exec {}: no such file or directory", path.display())),
            Err(Errno::EACCES) => Err(format!("exec {}: permission denied", path.display())),
            Err(error) => Err(format!("exec {}: {}", path.display(), error.desc().to_lowercase())),
            Ok(never) => match never {},
        }
    }
}

impl Executor for GatedExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        match self.run(spec) {
            Err(sentence) => {
                tell(self.fd, SENTENCE, &sentence);
                Err(ExecutorError::Other(sentence))
            }
            Ok(never) => match never {},
        }
    }

    // Called in the container, as its user, before the process is reported as created.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref();
        let name = process.and_then(|p| p.args().as_ref()).and_then(|args| args.first());
        let env = process.and_then(|p| p.env().as_deref()).unwrap_or_default();
        let found = match name {
            Some(name) => lookup::executable(name, env),
            None => Err("the command is empty".to_owned()),
        };
        match found {
            Ok(_) => Ok(()),
            Err(sentence) => {
                tell(self.fd, SENTENCE, &sentence);
                Err(ExecutorValidationError::ArgValidationError(sentence))
            }
        }
    }

    // The environment goes to `execve` in its own order; our own stays as it is.
    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        if let Some(home) = envs.get("HOME") {
            let _already_set = HOME.set(home.clone());
        }
        Ok(())
    }
}

fn close_all_but(fd: RawFd) {
    let fd = fd.unsigned_abs();
    // SAFETY: close_range takes no pointers. The descriptors belong to objects of the shim this process
    // was cloned from; none of them is used again here, for an `exec` or an exit is all that follows.
    unsafe {
        if fd > 3 {
            libc::syscall(libc::SYS_close_range, 3_u32, fd - 1, 0_u32);
        }
        libc::syscall(libc::SYS_close_range, fd + 1, u32::MAX, 0_u32);
    }
}
