//! The first process of containers with `--init`: our own binary, mounted in the container under another
//! name. It starts the command, hands on signals, and reaps whatever loses its parent.
#![expect(unsafe_code, reason = "Waiting for any signal, real-time ones included, has no safe wrapper")]

use crate::reaped;
use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    unistd::{Pid, getpid, tcsetpgrp},
};
use std::{
    ffi::OsString,
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

/// The name under which the binary is this program.
pub const NAME: &str = "docker-init";

/// Signals that mean our own failure, and must not be blocked.
const OURS: [Signal; 7] = [
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Runs `[--] COMMAND ARGUMENT…` to its end; its exit code is ours.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let command = match arguments.split_first() {
        Some((first, rest)) if first == "--" => rest,
        Some((first, _)) if first == "--version" => {
            say(&mut io::stdout(), &format!("{NAME} {}", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        _ => arguments,
    };
    let Some((program, arguments)) = command.split_first() else {
        say(&mut io::stderr(), &format!("usage: {NAME} -- COMMAND [ARGUMENT...]"));
        return ExitCode::FAILURE;
    };
    let mut watched = SigSet::all();
    for own in OURS {
        watched.remove(own);
    }
    let mut inherited = SigSet::empty();
    if let Err(error) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&watched), Some(&mut inherited)) {
        say(&mut io::stderr(), &format!("{NAME}: could not block signals: {error}"));
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    // SAFETY: between fork and exec only system calls are made, on values of the child's own.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&inherited), None)?;
            take_terminal()
        })
    };
    match command.spawn() {
        Ok(child) => ExitCode::from(serve(Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)), &watched)),
        Err(error) => {
            say(&mut io::stderr(), &format!("{NAME}: exec {} failed: {error}", program.to_string_lossy()));
            ExitCode::from(match error.kind() {
                ErrorKind::NotFound => 127,
                ErrorKind::PermissionDenied => 126,
                _ => 1,
            })
        }
    }
}

/// The command's process group is the terminal's from the beginning, if there is a terminal.
fn take_terminal() -> io::Result<()> {
    // A group in the background that asks for the terminal would be stopped.
    // SAFETY: ignoring and restoring the default install no handler of ours.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn)? };
    let taken = tcsetpgrp(io::stdin(), getpid());
    // SAFETY: as above.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigDfl)? };
    match taken {
        Ok(()) | Err(Errno::ENOTTY | Errno::ENXIO | Errno::EBADF) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Hands signals to the command and reaps, until the command has ended.
fn serve(child: Pid, watched: &SigSet) -> u8 {
    loop {
        // SAFETY: the set is valid for the call, and nobody asks for details.
        let received = unsafe { libc::sigwaitinfo(watched.as_ref(), std::ptr::null_mut()) };
        match received {
            libc::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            // Stopping and continuing is between the terminal and the command's group.
            libc::SIGTTIN | libc::SIGTTOU => {}
            number if number > 0 => {
                // SAFETY: a number and a pid; the child is ours and not reaped yet.
                let _gone_meanwhile = unsafe { libc::kill(child.as_raw(), number) };
            }
            _ => {}
        }
    }
}

/// Takes every ended process; the command's code when it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = reaped::next() {
        if pid == child {
            code = u8::try_from(reaped::code(status) & 0xff).ok();
        }
    }
    code
}

fn say(to: &mut impl Write, text: &str) {
    // Nobody to tell when it is closed.
    drop(writeln!(to, "{text}"));
}
