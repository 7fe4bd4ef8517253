//! Carries standard input to a socket of this host and what comes back to standard output: for a keeper, where the
//! host's own SSH server may not connect to sockets, by its settings or by SELinux's policy.

use guest_contract::host::DIALLED;
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

/// As much as SSH sends at once.
const BUFFER: usize = 32 * 1024;

/// Returns when the other end has nothing more to say. `target` is the path of a unix socket, or an address with a
/// port.
pub fn run(target: &str) -> io::Result<()> {
    if target.starts_with('/') {
        let socket = UnixStream::connect(target)?;
        let ends = (socket.try_clone()?, socket.try_clone()?);
        carry(ends, move || socket.shutdown(Shutdown::Write))
    } else {
        let socket = TcpStream::connect(target)?;
        socket.set_nodelay(true)?;
        let ends = (socket.try_clone()?, socket.try_clone()?);
        carry(ends, move || socket.shutdown(Shutdown::Write))
    }
}

fn carry<T: Read + Write + Send + 'static>(
    (mut from, mut to): (T, T),
    hang_up: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    // Apart from what the other end says, which may be the first to speak.
    io::stderr().write_all(DIALLED.as_bytes())?;
    // Descriptors of their own: Rust's standard output waits for the end of a line.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    thread::spawn(move || {
        // The other end may have had enough; then this process is at its end, too.
        drop(copy(&mut input, &mut to));
        drop(hang_up());
    });
    copy(&mut from, &mut output)
}

/// Not `io::copy`, which splices: Linux keeps a pipe locked meanwhile, and its reader waits until the socket has said
/// something, whatever else it has to do.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
