//! What listens on a published port of this host.
//!
//! Most traffic never gets here: rules translate it on its way. The listener keeps the port from other
//! programs, and carries what rules cannot: IPv6, and containers that reach a published port by an address
//! of this host.

use engine::ports::{PortSpec, Protocol};
use nix::libc;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, UdpSocket},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

/// How long a container may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a client of UDP is remembered, as dockerd's proxy does.
const IDLE: Duration = Duration::from_secs(90);
/// How many clients of UDP one port remembers; more are not heard.
const MOST_CLIENTS: usize = 1024;
const BACKLOG: i32 = 1024;
const LARGEST_DATAGRAM: usize = 65535;

/// Ends, and gives the port back, when it is dropped.
#[derive(Debug)]
pub(super) struct Listener(Option<AbortHandle>);

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Takes the port; `None` when somebody has it.
pub(super) fn open(port: &PortSpec) -> io::Result<Option<Listener>> {
    let socket = match bound(port) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => return Ok(None),
        // A host without IPv6 has nobody who could come by it.
        Err(error) if port.host.is_ipv6() && port.host.ip().is_unspecified() && is_absent(&error) => {
            return Ok(Some(Listener(None)));
        }
        Err(error) => return Err(error),
    };
    let target = port.container;
    let task = match port.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::from_std(StdListener::from(socket))?;
            tokio::spawn(carry_streams(listener, target))
        }
        Protocol::Udp => {
            let socket = UdpSocket::from_std(StdSocket::from(socket))?;
            tokio::spawn(carry_datagrams(Arc::new(socket), target))
        }
    };
    Ok(Some(Listener(Some(task.abort_handle()))))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bound(port: &PortSpec) -> io::Result<OwnedFd> {
    let family = if port.host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match port.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if port.host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if port.protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &port.host)?;
    if port.protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

async fn carry_streams(listener: TcpListener, target: SocketAddr) {
    // They end with the listener, as the container behind it does.
    let mut carried = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                carried.spawn(carry(client, target));
                while carried.try_join_next().is_some() {}
            }
            // No descriptors left: others may give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr) {
    let Ok(Ok(mut server)) = timeout(CONNECT, TcpStream::connect(target)).await else { return };
    // Either side may break off at any time.
    drop(copy_bidirectional(&mut client, &mut server).await);
}

async fn carry_datagrams(socket: Arc<UdpSocket>, target: SocketAddr) {
    let clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut carried = JoinSet::new();
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        // An error is the echo of an earlier datagram that nobody took.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        while carried.try_join_next().is_some() {}
        let known = clients.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let server = match known {
            Some(server) => server,
            None => {
                let Ok(server) = towards(target).await else { continue };
                let server = Arc::new(server);
                let mut clients_now = clients.lock().unwrap_or_else(PoisonError::into_inner);
                if clients_now.len() >= MOST_CLIENTS {
                    continue;
                }
                clients_now.insert(client, server.clone());
                carried.spawn(carry_back(socket.clone(), client, server.clone(), clients.clone()));
                server
            }
        };
        // Waits for room only: `try_send` loses the first datagram of a socket that the reactor
        // has not seen writable yet. What the kernel refuses is lost, as datagrams may be.
        drop(server.send(&buffer[..length]).await);
    }
}

async fn towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn carry_back(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    server: Arc<UdpSocket>,
    clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
) {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    while let Ok(received) = timeout(IDLE, server.recv(&mut buffer)).await {
        match received {
            Ok(length) => drop(socket.try_send_to(&buffer[..length], client)),
            // Nobody listens in the container now; it may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
}
