//! A pseudo-terminal: the outer end for the server, the inner one for the program.

use engine_linux::async_descriptor;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The outer end. Clones are the same terminal; the program is hung up with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Pty {
    outer: Arc<AsyncFd<OwnedFd>>,
}

/// Columns, rows and, where known, pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub columns: u32,
    pub rows: u32,
    pub width: u32,
    pub height: u32,
}

impl Pty {
    /// Opens a terminal of this size. The inner end is for the program's three streams.
    pub(super) fn open(size: Size) -> io::Result<(Self, OwnedFd)> {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&outer)?;
        let inner =
            ioctl_tiocgptpeer(&outer, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        let flags = rustix::fs::fcntl_getfl(&outer)?;
        rustix::fs::fcntl_setfl(&outer, flags | OFlags::NONBLOCK)?;
        let pty = Self { outer: Arc::new(async_descriptor::register(outer)?) };
        pty.resize(size)?;
        Ok((pty, inner))
    }

    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        let clamp = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: clamp(size.rows),
            ws_col: clamp(size.columns),
            ws_xpixel: clamp(size.width),
            ws_ypixel: clamp(size.height),
        };
        Ok(tcsetwinsize(self.outer.get_ref(), size)?)
    }
}

impl AsyncRead for Pty {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.outer.poll_read_ready(cx))?;
            let read =
                guard.try_io(|outer| Ok(rustix::io::read(outer.get_ref(), buf.initialize_unfilled())?));
            match read {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Linux's way to say that the last inner end was closed.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Pty {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.outer.poll_write_ready(cx))?;
            match guard.try_io(|outer| Ok(rustix::io::write(outer.get_ref(), buf)?)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
