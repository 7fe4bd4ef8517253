//! A connection to a log server. Failures read as Go's `net` words them, because that is what users of
//! `docker run` search for.

mod tls;

use engine::ports::LogServer;
use nix::sys::socket::{MsgFlags, recv};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::{
        fd::AsRawFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    time::Duration,
};

/// How long a server may take to accept.
const DIAL: Duration = Duration::from_secs(10);

/// One that is open.
pub(super) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<tls::TlsStream>),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

impl Connection {
    /// Connects.
    pub(super) fn dial(server: &LogServer) -> io::Result<Self> {
        match server {
            LogServer::Udp { host, port } => {
                let mut last = None;
                for address in resolve("udp", host, *port)? {
                    let any: IpAddr = match address {
                        SocketAddr::V4(_) => [0; 4].into(),
                        SocketAddr::V6(_) => [0; 16].into(),
                    };
                    let connected = UdpSocket::bind((any, 0)).and_then(|socket| {
                        socket.connect(address)?;
                        Ok(socket)
                    });
                    match connected {
                        Ok(socket) => return Ok(Self::Udp(socket)),
                        Err(error) => last = Some(failed("udp", &address.to_string(), &error)),
                    }
                }
                Err(last.unwrap_or_else(|| no_such_host("udp", host)))
            }
            LogServer::Tcp { host, port } => tcp(host, *port).map(Self::Tcp),
            LogServer::Tls { host, port, trust } => {
                let stream = tcp(host, *port)?;
                tls::connect(stream, host, trust).map(|stream| Self::Tls(Box::new(stream)))
            }
            LogServer::Unix { path } => UnixStream::connect(path)
                .map(Self::Unix)
                .map_err(|error| failed("unix", &path.display().to_string(), &error)),
            LogServer::UnixDatagram { path } => UnixDatagram::unbound()
                .and_then(|socket| socket.connect(path).map(|()| Self::UnixDatagram(socket)))
                .map_err(|error| failed("unixgram", &path.display().to_string(), &error)),
        }
    }

    /// The server has closed it: what would be written now would be lost without an error.
    pub(super) fn is_closed(&self) -> bool {
        let fd = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.get_ref().as_raw_fd(),
            Self::Udp(_) | Self::UnixDatagram(_) => return false,
        };
        match recv(fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error, nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR),
        }
    }

    /// Bounds every write.
    pub(super) fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(limit),
            Self::Unix(stream) => stream.set_write_timeout(limit),
            Self::Tls(stream) => stream.get_ref().set_write_timeout(limit),
            Self::Udp(_) | Self::UnixDatagram(_) => Ok(()),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => match socket.send(bytes) {
                // What an earlier datagram met; this one has not been sent yet.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => socket.send(bytes),
                other => other,
            },
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::UnixDatagram(socket) => socket.send(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            _ => Ok(()),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::UnixDatagram(socket) => socket.recv(buffer),
        }
    }
}

fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in resolve("tcp", host, port)? {
        match TcpStream::connect_timeout(&address, DIAL) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(failed("tcp", &address.to_string(), &error)),
        }
    }
    Err(last.unwrap_or_else(|| no_such_host("tcp", host)))
}

fn resolve(network: &str, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // Without a host it is this one.
    let host = if host.is_empty() { "localhost" } else { host };
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err(no_such_host(network, host)),
    }
}

fn no_such_host(network: &str, host: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("dial {network}: lookup {host}: no such host"))
}

fn failed(network: &str, address: &str, error: &io::Error) -> io::Error {
    let reason = match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "i/o timeout".to_owned(),
        _ => match error.raw_os_error() {
            Some(code) => format!("connect: {}", nix::errno::Errno::from_raw(code).desc().to_lowercase()),
            None => error.to_string(),
        },
    };
    io::Error::new(error.kind(), format!("dial {network} {address}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn failures_read_as_gos() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = LogServer::Tcp { host: "127.0.0.1".into(), port: free };
        let error = Connection::dial(&server).err().unwrap();
        assert_eq!(error.to_string(), format!("dial tcp 127.0.0.1:{free}: connect: connection refused"));
        let error = Connection::dial(&LogServer::Unix { path: "/absent".into() }).err().unwrap();
        assert_eq!(error.to_string(), "dial unix /absent: connect: no such file or directory");
    }

    #[test]
    fn a_server_that_went_away_is_noticed_before_the_next_write() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connection = Connection::dial(&LogServer::Tcp { host: "127.0.0.1".into(), port }).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(!connection.is_closed());
        drop(accepted);
        while !connection.is_closed() {
            std::thread::yield_now();
        }
    }
}
