//! Takes connections and sees them through their login: few at a time, each within a deadline, so
//! that strangers cannot use up the server.

use super::Options;
use super::connection::Connection;
use russh::keys::PrivateKey;
use russh::server::{self, Config};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher};
use std::borrow::Cow;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections that have not logged in yet; more are closed at once. The tunnel opens a connection
/// for each stream, so this is far above what a person needs.
const MAX_LOGINS: usize = 128;
const LOGIN_GRACE: Duration = Duration::from_secs(10);
const MAX_ATTEMPTS: usize = 6;
const KEEPALIVE: Duration = Duration::from_secs(15);
/// After an error of `accept` (no descriptors left) the server waits instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the listener until the future is dropped.
pub async fn serve(listener: TcpListener, host_key: PrivateKey, options: Options) {
    let config = Arc::new(config(host_key));
    let options = Arc::new(options);
    let logins = Arc::new(Semaphore::new(MAX_LOGINS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match Arc::clone(&logins).try_acquire_owned() {
                Ok(permit) => {
                    let connection = run(stream, Arc::clone(&config), Arc::clone(&options), permit);
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%peer, %error, "connection ended");
                        }
                    });
                }
                Err(_) => tracing::warn!(%peer, "too many connections that have not logged in"),
            },
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn config(host_key: PrivateKey) -> Config {
    let ciphers = vec![cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
    Config {
        server_id: SshId::Standard(Cow::Owned(format!(
            "SSH-2.0-machine_{}",
            guest_contract::version::RELEASE
        ))),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(500),
        // The "none" attempt, with which every client begins, is no guess of a password.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: MAX_ATTEMPTS,
        keys: vec![host_key],
        preferred: Preferred { cipher: Cow::Owned(ciphers), ..Preferred::default() },
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

async fn run(
    stream: TcpStream,
    config: Arc<Config>,
    options: Arc<Options>,
    permit: OwnedSemaphorePermit,
) -> Result<(), russh::Error> {
    stream.set_nodelay(true)?;
    // Shutting the socket down ends the session whatever it is waiting for.
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    let (logged_in, login) = oneshot::channel();
    let connection = Connection::new(options, permit, logged_in).await;
    let grace = tokio::time::sleep(LOGIN_GRACE);
    tokio::pin!(grace);
    let session = tokio::select! {
        session = server::run_stream(config, stream, connection) => session?,
        () = &mut grace => return Err(russh::Error::ConnectionTimeout),
    };
    tokio::pin!(session);
    tokio::select! {
        ended = &mut session => return ended,
        () = &mut grace => {
            let _ = socket.shutdown(Shutdown::Both);
        }
        Ok(()) = login => {}
    }
    session.await
}
