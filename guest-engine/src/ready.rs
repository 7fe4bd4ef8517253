//! What a service and who started it say to each other over descriptors: that the service may begin, by
//! the end of a stream, and that it answers, by one byte.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Waits until the other end of the pipe `fd` is closed. A service started early has its program in
/// memory by the time it may begin.
pub fn wait_to_begin(fd: i32) -> io::Result<()> {
    let mut pipe = File::open(format!("/proc/self/fd/{fd}"))?;
    nix::unistd::close(fd)?;
    pipe.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Writes the byte to descriptor `fd` and closes it, so that no child of the service inherits it.
pub fn tell(fd: i32) -> io::Result<()> {
    let mut pipe = OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"))?;
    pipe.write_all(b"\n")?;
    nix::unistd::close(fd)?;
    Ok(())
}

/// Tells systemd, where it waits for that (`Type=notify`), that the service is ready.
pub fn tell_systemd() -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let bytes = name.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn it_begins_when_the_pipe_is_closed() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let service = std::thread::spawn(move || wait_to_begin(read.into_raw_fd()));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!service.is_finished());
        drop(write);
        service.join().unwrap().unwrap();
    }

    #[test]
    fn one_byte_and_then_the_end() {
        let (read, write) = nix::unistd::pipe().unwrap();
        tell(write.into_raw_fd()).unwrap();
        let mut told = Vec::new();
        File::from(read).read_to_end(&mut told).unwrap();
        assert_eq!(told, b"\n");
    }
}
