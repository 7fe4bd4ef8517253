//! The three streams of a process: pipes, or a terminal that the process makes inside its container and
//! hands over through a socket.

#![expect(unsafe_code, reason = "a descriptor that arrives over a socket has to be adopted")]

use super::config::{CONSOLE_FILE, ShimConfig, Size};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
    unistd::{Uid, fchown, pipe2},
};
use rustix::termios::{Winsize, tcsetwinsize};
use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixListener,
    },
};

/// Room in an output pipe. Four times the default: a chatty process sleeps less often.
const PIPE_BYTES: i32 = 256 * 1024;

/// The shim's ends. None of them ever blocks.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub stdin: Option<File>,
    pub stdout: Option<File>,
    pub stderr: Option<File>,
    pub terminal: Option<OwnedFd>,
}

/// The process's ends, to be given to libcontainer.
#[derive(Debug)]
pub(super) struct ProcessEnds {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Pipes for a process without a terminal.
pub(super) fn pipes(config: &ShimConfig) -> io::Result<(Streams, ProcessEnds)> {
    let owner = Some(Uid::from_raw(config.uid));
    let (stdin, stdin_write) = if config.stdin {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fchown(&read, owner, None)?;
        (read, Some(nonblocking(write)?))
    } else {
        (OwnedFd::from(File::open("/dev/null")?), None)
    };
    let output = || -> io::Result<(File, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        // Refused only above the user's pipe quota; the default size works as well.
        let _refused = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        fchown(&write, owner, None)?;
        Ok((nonblocking(read)?, write))
    };
    let (stdout_read, stdout) = output()?;
    let (stderr_read, stderr) = output()?;
    let streams =
        Streams { stdin: stdin_write, stdout: Some(stdout_read), stderr: Some(stderr_read), terminal: None };
    Ok((streams, ProcessEnds { stdin, stdout, stderr }))
}

/// Where the terminal will be handed over; the current folder is the shim's.
pub(super) fn console_listener() -> io::Result<UnixListener> {
    UnixListener::bind(CONSOLE_FILE)
}

/// Takes the terminal that the process has made by now.
pub(super) fn terminal(listener: &UnixListener, config: &ShimConfig) -> io::Result<Streams> {
    listener.set_nonblocking(true)?;
    let (socket, _) = listener.accept()?;
    let mut byte = [0_u8; 64];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
    )?;
    let descriptor = message
        .cmsgs()?
        .find_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no terminal was handed over"))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let master = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let output = nonblocking(master)?;
    if let Some(size) = config.size {
        resize(&output, size)?;
    }
    Ok(Streams {
        stdin: if config.stdin { Some(output.try_clone()?) } else { None },
        stderr: None,
        terminal: Some(OwnedFd::from(output.try_clone()?)),
        stdout: Some(output),
    })
}

/// Sets the window of a terminal.
pub(super) fn resize(terminal: &impl AsFd, size: Size) -> io::Result<()> {
    let window = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, window)?)
}

/// Points our own three streams at `/dev/null`.
pub(super) fn silence() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

fn nonblocking(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}
