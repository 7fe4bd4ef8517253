//! The machine's Engine API on this host, on a unix socket and over TLS: every accepted client is carried to
//! the engine's socket inside the machine.
//!
//! ```text
//!   docker ─▶ docker.sock ─▶ forward ─▶ own SSH connection ─▶ guest sshd ─▶ /var/run/docker.sock
//!                               ▲ take / give back
//!                             pool: a few warm, authenticated connections
//! ```
//!
//! One SSH connection per client: russh re-opens a channel's window when data arrives, not when it is
//! consumed, and then waits for a lagging reader inside the session. On a shared connection one paused
//! `docker logs -f` would stop every other client of the machine.

mod forward;
mod lines;
mod local;
mod ping;
mod pool;
mod tls;

pub use tls::Door;

use crate::ssh::{Connection, Connector, SshError};
pub(crate) use lines::Lines;
use pool::Pool;
use russh::{Channel, client::Msg};
use std::{io, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};
use tokio::{
    net::{TcpStream, UnixListener},
    task::JoinSet,
    time::sleep,
};

/// Connections made ahead: `docker run` opens three at once.
const WARM: usize = 4;
/// The same to a server that takes its time.
const WARM_PLAIN: usize = 8;

/// The engine did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The machine cannot be reached.
    #[error("Could not reach the engine over SSH")]
    Ssh(#[from] SshError),
    /// It answered something else.
    #[error("The engine answered its ping with {answer:?}")]
    Ping { answer: String },
    /// It did not answer.
    #[error("The engine did not answer its ping within {} s", .limit.as_secs())]
    Silent { limit: Duration },
}

/// The way to one machine's engine.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pool: Arc<Pool>,
    target: Arc<str>,
}

impl Tunnel {
    /// A tunnel to the unix socket `target` inside the machine. Nothing is connected yet.
    pub fn new(connector: Connector, target: &str) -> Self {
        Self { pool: Arc::new(Pool::new(connector, WARM)), target: target.into() }
    }

    /// The same through an SSH server of a distribution, whose handshakes cost a process and many
    /// milliseconds each: more connections are kept warm.
    pub fn to_plain_sshd(connector: Connector, target: &str) -> Self {
        Self { pool: Arc::new(Pool::new(connector, WARM_PLAIN)), target: target.into() }
    }

    /// Tries once, on a connection that later serves a client: does the engine answer `GET /_ping`?
    pub async fn ping(&self) -> Result<(), TunnelError> {
        ping::ping(&self.pool, &self.target).await
    }

    /// Has one connection ready. Returns at once when there is one.
    pub async fn connect(&self) -> Result<(), SshError> {
        let connection = self.pool.take().await?;
        self.pool.give_back(connection);
        Ok(())
    }

    /// Waits until so many connections are ready that one can be taken from the clients.
    pub(crate) async fn spare(&self) {
        self.pool.spare().await;
    }

    /// Talks to the unix socket `target` inside the machine.
    pub(crate) async fn converse(&self, target: &str) -> Result<Lines, SshError> {
        Lines::open(&self.pool, target).await
    }

    /// A stream of bytes to the unix socket `target` inside the machine, for as long as the connection is kept.
    pub(crate) async fn open(&self, target: &str) -> Result<(Connection, Channel<Msg>), SshError> {
        let connection = self.pool.take().await?;
        match connection.open_socket(target).await {
            Ok(channel) => Ok((connection, channel)),
            Err(error) => {
                if let SshError::Target { .. } = error {
                    self.pool.give_back(connection);
                }
                Err(error)
            }
        }
    }

    /// Carries `client` to a TCP address as the machine sees it. Returns when both ends are done.
    pub(crate) async fn carry(&self, client: TcpStream, target: SocketAddr) -> Result<(), SshError> {
        let watched = client.as_fd().try_clone_to_owned();
        let (input, output) = client.into_split();
        let client = forward::Client { input, output, gone: forward::hung_up(watched) };
        forward::forward_to_address(client, &self.pool, target).await
    }

    /// Whether the machine's SSH server was reached in the last while: `None`, or how long it has not
    /// been.
    pub fn unreachable_for(&self) -> Option<Duration> {
        self.pool.unreachable_for()
    }

    /// Serves `listener` and the TLS endpoint for ever. Dropping the future ends every client's connection.
    pub async fn serve(&self, listener: UnixListener, door: Option<&Door>) {
        let door = async {
            match door {
                Some(door) => door.serve(self).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = local::serve(self, listener) => {}
            () = door => {}
            () = self.pool.keep_warm() => {}
        }
    }
}

/// Accepts clients for ever, each carried by a task of its own that ends with this future.
async fn accept<C, A, F>(mut accept: impl FnMut() -> A, carry: impl Fn(C) -> F)
where
    A: Future<Output = io::Result<C>>,
    F: Future<Output = ()> + Send + 'static,
{
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept() => match accepted {
                Ok(client) => _ = clients.spawn(carry(client)),
                Err(error) => {
                    // Out of file descriptors, most likely; clients that leave free some.
                    tracing::warn!(%error, "could not accept a client");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}
