//! The shim: one small single-threaded process per container and per exec, a re-exec of our own binary.
//!
//! It has libcontainer create the process (which must never happen in a multi-threaded program), holds
//! its stdio or terminal, writes its log, serves attached clients, reaps it and records its end. It does
//! not depend on the engine's life: the engine finds it again by its socket.
//!
//! ```text
//!   engine ──spawn──▶ shim ──fork, setsid──▶ shim' ──libcontainer──▶ process at the gate
//!      ▲                │exits                 │ prints "created"
//!      └────────────────┴── socket ────────────┘ start, wait, attach, resize, signal
//! ```

#![expect(unsafe_code, reason = "fork, and giving freed memory back to the kernel")]

mod client;
pub(crate) mod config;
mod event_loop;
pub(crate) mod exit_record;
mod gate;
mod log;
mod lookup;
mod process;
mod propagation;
pub(crate) mod protocol;
pub(crate) mod rlimits;
mod stdio;
mod trace;

use self::{
    config::{CONFIG_FILE, SOCKET_FILE, ShimConfig},
    log::Log,
    protocol::{Reply, line},
};
use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{ForkResult, fork, setsid},
};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Runs `machine-engine shim FOLDER`. Must be called before the process has a second thread.
///
/// The first process exits at once; what goes on is its child, in a session of its own.
pub fn main(args: &[OsString]) -> ExitCode {
    let [folder] = args else { return ExitCode::from(2) };
    // SAFETY: there is one thread, so the child may do everything the parent might.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => ExitCode::SUCCESS,
        Ok(ForkResult::Child) => {
            let folder = PathBuf::from(folder);
            match prepare(&folder) {
                Ok(session) => match event_loop::run(session) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(_) => ExitCode::FAILURE,
                },
                Err(ShimError::Log(error)) => {
                    report(&Reply::NotLogged { message: error.to_string() });
                    ExitCode::FAILURE
                }
                Err(error) => {
                    report(&Reply::Failed { message: process::chain(&error) });
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            report(&Reply::Failed { message: format!("fork: {}", error.desc()) });
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("Could not read {}", path.display())]
    Config {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("Could not become a process of its own")]
    Detach(#[source] Errno),
    #[error("Could not listen at {}", path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What the log driver says.
    #[error("{0}")]
    Log(io::Error),
    #[error(transparent)]
    Create(#[from] process::CreateError),
}

fn prepare(folder: &Path) -> Result<event_loop::Session, ShimError> {
    setsid().map_err(ShimError::Detach)?;
    // The container's first process is a grandchild; on a host whose init is not ours it would go there.
    prctl::set_child_subreaper(true).map_err(ShimError::Detach)?;
    // Shown by `ps`; nothing depends on it.
    let _shown = prctl::set_name(c"machine-shim");
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None).map_err(ShimError::Detach)?;
    let children = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(ShimError::Detach)?;

    let path = folder.join(CONFIG_FILE);
    let broken = |source| ShimError::Config { path: path.clone(), source };
    let text = fs::read(&path).map_err(broken)?;
    let config: ShimConfig = serde_json::from_slice(&text).map_err(|error| broken(error.into()))?;
    drop(text);
    let mut log = Log::open(&config.output).map_err(ShimError::Log)?;

    // Socket paths end at 108 bytes: names are taken relative to the folder.
    let unreachable = |source| ShimError::Listen { path: folder.join(SOCKET_FILE), source };
    env::set_current_dir(folder).map_err(unreachable)?;
    let listener = listen().map_err(unreachable)?;
    let created = process::create(folder, &config)?;
    if let Some(log) = &mut log {
        log.begin().map_err(|error| {
            event_loop::abandon(created.pid);
            ShimError::Log(error)
        })?;
    }
    env::set_current_dir("/").map_err(unreachable)?;

    report(&Reply::Created { pid: created.pid.as_raw().unsigned_abs() });
    // Whoever reads the report waits for its end.
    stdio::silence().map_err(unreachable)?;
    // SAFETY: malloc_trim only gives free memory back. libcontainer's work needed far more than we will.
    unsafe { libc::malloc_trim(0) };
    Ok(event_loop::Session {
        folder: folder.to_owned(),
        config,
        listener,
        children,
        gate: Some(created.gate),
        pid: created.pid,
        streams: created.streams,
        log,
    })
}

fn listen() -> io::Result<UnixListener> {
    let listener = UnixListener::bind(SOCKET_FILE)?;
    // The folder is closed to others as well.
    fs::set_permissions(SOCKET_FILE, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells whoever spawned us. Nobody listening any more is no error: the socket is there.
fn report(reply: &Reply) {
    let mut stdout = io::stdout();
    let _unheard = stdout.write_all(&line(reply)).and_then(|()| stdout.flush());
}
