//! The name service of one sandbox: sockets in its namespace, answered by the engine's own threads.
//!
//! The sockets end with the engine; the next one opens new ones and points the sandbox's rule at them.

use super::{LinkError, session::inside};
use crate::nftables;
use engine::ports::{NameAnswer, Names, Upstream};
use nix::libc;
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::AbortHandle,
    time::timeout,
};

/// Asked for first: below what Linux hands out itself, so that a restarted engine mostly finds it free.
const USUAL_PORT: u16 = 30053;
/// How long one server has; a client asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client may keep a connection open without asking.
const IDLE: Duration = Duration::from_secs(10);
/// How many queries of one container may be on their way at once; more are not answered.
const MOST_QUERIES: usize = 256;
/// As many servers as `resolv.conf` may have.
const MOST_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;
/// Above any datagram that a resolver sends.
const LARGEST_DATAGRAM: usize = 8192;

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) struct NameServer([AbortHandle; 2]);

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Debug)]
struct Service {
    container: String,
    sandbox: PathBuf,
    names: Arc<dyn Names>,
    queries: Semaphore,
}

/// Opens the sockets and answers from now on.
pub(super) async fn serve(
    sandbox: &Path,
    container: &str,
    names: Arc<dyn Names>,
) -> Result<NameServer, LinkError> {
    let (udp, tcp) = inside(sandbox, async |_| {
        let address = |port| SocketAddr::from((nftables::NAME_SERVICE, port));
        let udp = StdSocket::bind(address(USUAL_PORT)).or_else(|_| StdSocket::bind(address(0)))?;
        let tcp = StdListener::bind(address(USUAL_PORT)).or_else(|_| StdListener::bind(address(0)))?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        nftables::redirect_names(udp.local_addr()?.port(), tcp.local_addr()?.port()).await?;
        Ok((udp, tcp))
    })
    .await?;
    let (udp, tcp) = (Arc::new(UdpSocket::from_std(udp)?), TcpListener::from_std(tcp)?);
    let service = Arc::new(Service {
        container: container.to_owned(),
        sandbox: sandbox.to_owned(),
        names,
        queries: Semaphore::new(MOST_QUERIES),
    });
    let datagrams = tokio::spawn(service.clone().serve_datagrams(udp)).abort_handle();
    let streams = tokio::spawn(service.serve_streams(tcp)).abort_handle();
    Ok(NameServer([datagrams, streams]))
}

impl Service {
    async fn serve_datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LARGEST_DATAGRAM];
        loop {
            // An error is the echo of an answer that its client did not wait for.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            match self.names.answer(&self.container, &buffer[..length], false) {
                NameAnswer::Ignore => {}
                // Not waited for: a client that does not read loses its answer.
                NameAnswer::Reply(reply) => drop(socket.try_send_to(&reply, client)),
                NameAnswer::Forward { upstream, failure } => {
                    let (service, socket) = (self.clone(), socket.clone());
                    let query = buffer[..length].to_vec();
                    tokio::spawn(async move {
                        let Ok(_permit) = service.queries.try_acquire() else { return };
                        let reply = service.forward(&upstream, &query, false).await.unwrap_or(failure);
                        drop(socket.try_send_to(&reply, client));
                    });
                }
            }
        }
    }

    async fn serve_streams(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let service = self.clone();
                    tokio::spawn(async move {
                        // A client that breaks off is no event.
                        drop(service.serve_stream(stream).await);
                    });
                }
                // No descriptors left: others may give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        let Ok(_permit) = self.queries.try_acquire() else { return Ok(()) };
        while let Ok(query) = timeout(IDLE, read_message(&mut stream)).await {
            let query = query?;
            let reply = match self.names.answer(&self.container, &query, true) {
                NameAnswer::Ignore => return Ok(()),
                NameAnswer::Reply(reply) => reply,
                NameAnswer::Forward { upstream, failure } => {
                    self.forward(&upstream, &query, true).await.unwrap_or(failure)
                }
            };
            write_message(&mut stream, &reply).await?;
        }
        Ok(())
    }

    /// Asks one server after the other; `None` when none has an answer.
    async fn forward(&self, upstream: &Upstream, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        let (servers, sandbox) = match upstream {
            Upstream::Host => (super::resolvers::of_the_engine(), None),
            Upstream::Servers(servers) => (servers.clone(), Some(self.sandbox.as_path())),
        };
        let mut last = None;
        for server in servers.into_iter().take(MOST_SERVERS) {
            let asked = async {
                match stream {
                    true => ask_by_stream(sandbox, server, query).await,
                    false => ask_by_datagram(sandbox, server, query).await,
                }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(reply)) if is_final(&reply) => return Some(reply),
                Ok(Ok(reply)) => last = Some(reply),
                Ok(Err(error)) => tracing::debug!(%error, %server, "Name server could not be asked"),
                Err(_) => tracing::debug!(%server, "Name server did not answer"),
            }
        }
        last
    }
}

/// Another server may know better than one that failed or refused.
fn is_final(reply: &[u8]) -> bool {
    const SERVER_FAILURE: u8 = 2;
    const REFUSED: u8 = 5;
    reply.get(3).is_some_and(|flags| !matches!(flags & 15, SERVER_FAILURE | REFUSED))
}

async fn ask_by_datagram(sandbox: Option<&Path>, server: IpAddr, query: &[u8]) -> Result<Vec<u8>, LinkError> {
    let open = move || -> io::Result<StdSocket> {
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = StdSocket::bind(any)?;
        socket.connect((server, DNS_PORT))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = match sandbox {
        None => open()?,
        Some(sandbox) => inside(sandbox, async move |_| Ok(open()?)).await?,
    };
    let socket = UdpSocket::from_std(socket)?;
    socket.send(query).await?;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // The answer to this query, not to one that somebody made up.
        if length > 3 && buffer[..2] == query[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_stream(sandbox: Option<&Path>, server: IpAddr, query: &[u8]) -> Result<Vec<u8>, LinkError> {
    let address = SocketAddr::from((server, DNS_PORT));
    let mut stream = match sandbox {
        None => TcpStream::connect(address).await?,
        Some(sandbox) => {
            let stream = inside(sandbox, async move |_| {
                let stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            });
            TcpStream::from_std(stream.await?)?
        }
    };
    write_message(&mut stream, query).await?;
    Ok(read_message(&mut stream).await?)
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
