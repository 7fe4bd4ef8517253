//! One connection to a shim: a request being read, somebody waiting for an answer, or an attached client
//! with its bounded buffer.

use super::{
    log::Source,
    protocol::{MAX_REQUEST, Reply, Request, line},
};
use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// How much an attached client may be behind before it holds the process back.
const BACKLOG: usize = 1024 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: UnixStream,
    role: Role,
    /// What has been written for it and not been taken yet; `sent` bytes of it are gone.
    backlog: Vec<u8>,
    sent: usize,
    gone: bool,
}

/// What a connection is for.
#[derive(Debug)]
enum Role {
    Asking(Vec<u8>),
    Starting,
    Waiting,
    Attached { stdin: bool, stdout: bool, stderr: bool },
    Answered,
}

impl Client {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, role: Role::Asking(Vec::new()), backlog: Vec::new(), sent: 0, gone: false })
    }

    /// The request, once it is complete.
    pub(super) fn request(&mut self) -> Option<Request> {
        let Role::Asking(text) = &mut self.role else { return None };
        // Byte by byte, because raw stdin may follow an `attach` at once. Requests are short.
        let mut byte = [0_u8; 1];
        loop {
            match self.socket.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => break,
                Ok(1) if text.len() < MAX_REQUEST => text.push(byte[0]),
                Err(error) if would_block(&error) => return None,
                _ => {
                    self.gone = true;
                    return None;
                }
            }
        }
        match serde_json::from_slice(text) {
            Ok(request) => Some(request),
            Err(error) => {
                self.answer(&Reply::Failed { message: format!("malformed request: {error}") });
                None
            }
        }
    }

    /// Sends the last reply of this connection.
    pub(super) fn answer(&mut self, reply: &Reply) {
        self.role = Role::Answered;
        self.queue(&line(reply));
    }

    /// Promises an answer when the process has been started, or not.
    pub(super) fn wait_for_start(&mut self) {
        self.role = Role::Starting;
    }

    /// Answers with the pid now and with the end later.
    pub(super) fn wait_for_exit(&mut self, pid: u32) {
        self.role = Role::Waiting;
        self.queue(&line(&Reply::Created { pid }));
    }

    /// From now on output goes here.
    pub(super) fn attach(&mut self, stdin: bool, stdout: bool, stderr: bool) {
        self.role = Role::Attached { stdin, stdout, stderr };
        self.queue(&line(&Reply::Attached { stdin }));
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.role, Role::Asking(_))
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.role, Role::Starting)
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.role, Role::Waiting)
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.role, Role::Attached { .. })
    }

    /// It may still send stdin.
    pub(super) fn gives_stdin(&self) -> bool {
        matches!(self.role, Role::Attached { stdin: true, .. })
    }

    /// So far behind that the process has to wait for it.
    pub(super) fn is_behind(&self) -> bool {
        self.pending() >= BACKLOG
    }

    pub(super) fn pending(&self) -> usize {
        self.backlog.len() - self.sent
    }

    /// Nothing more will come of it.
    pub(super) fn is_done(&self) -> bool {
        self.gone || (matches!(self.role, Role::Answered) && self.pending() == 0)
    }

    pub(super) fn drop_when_idle(&mut self) {
        self.gone = true;
    }

    /// Passes output on to an attached client.
    pub(super) fn output(&mut self, source: Source, data: &[u8]) {
        let Role::Attached { stdout, stderr, .. } = self.role else { return };
        let (wanted, kind) = match source {
            Source::Stdout => (stdout, 1),
            Source::Stderr => (stderr, 2),
        };
        if !wanted || data.is_empty() || self.gone {
            return;
        }
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
        let header = [kind, 0, 0, 0, length[0], length[1], length[2], length[3]];
        let mut taken = 0;
        if self.pending() == 0 {
            taken = match self.socket.write_vectored(&[IoSlice::new(&header), IoSlice::new(data)]) {
                Ok(taken) => taken,
                Err(error) if would_block(&error) => 0,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            };
        }
        if taken < header.len() {
            self.backlog.extend_from_slice(&header[taken..]);
            self.backlog.extend_from_slice(data);
        } else {
            self.backlog.extend_from_slice(&data[taken - header.len()..]);
        }
    }

    /// Writes what the socket takes of the backlog.
    pub(super) fn flush(&mut self) {
        while self.pending() > 0 {
            match self.socket.write(&self.backlog[self.sent..]) {
                Ok(taken) => self.sent += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if would_block(&error) => {
                    if self.sent > BACKLOG / 2 {
                        self.backlog.drain(..self.sent);
                        self.sent = 0;
                    }
                    return;
                }
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        // The memory goes back: a client that was slow once is not slow for ever.
        self.backlog = Vec::new();
        self.sent = 0;
    }

    /// Reads stdin from an attached client. `Ok(0)`: it will send no more.
    pub(super) fn read_stdin(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(buffer);
        match &read {
            Err(error) if would_block(error) => return read,
            Ok(length) if *length > 0 => return read,
            Ok(_) => {}
            Err(_) => self.gone = true,
        }
        if let Role::Attached { stdin, .. } = &mut self.role {
            *stdin = false;
        }
        Ok(0)
    }

    /// The other side has closed the connection altogether.
    pub(super) fn hang_up(&mut self) {
        self.gone = true;
    }

    /// Tells an attached client that there will be no more output.
    pub(super) fn end(&mut self) {
        // It may be gone already.
        let _closed = self.socket.shutdown(Shutdown::Write);
    }

    fn queue(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
        self.flush();
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_is_behind_once_its_buffer_is_full_and_catches_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours).unwrap();
        client.attach(false, true, false);
        let chunk = [b'x'; 64 * 1024];
        let mut frames = 0_usize;
        while !client.is_behind() {
            client.output(Source::Stdout, &chunk);
            frames += 1;
        }
        client.output(Source::Stderr, b"not asked for");
        let mut read = vec![0; 256 * 1024];
        let mut total = 0;
        while client.pending() > 0 {
            total += theirs.read(&mut read).unwrap();
            client.flush();
        }
        client.end();
        loop {
            match theirs.read(&mut read).unwrap() {
                0 => break,
                length => total += length,
            }
        }
        let greeting = line(&Reply::Attached { stdin: false }).len();
        assert_eq!(total, greeting + frames * (chunk.len() + 8));
    }
}
