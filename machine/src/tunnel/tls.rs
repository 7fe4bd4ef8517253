//! Clients over TCP, on this host's loopback: everybody here can knock, so both sides show certificates of
//! the store's authority.
//!
//! The certificates are read when they have changed, so renewing them needs no new keeper.

use super::{
    Tunnel,
    forward::{self, Client},
};
use crate::store::files;
use rustix::net::sockopt;
use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
};

/// A client that knows the way shows its certificate at once.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Strangers at the door at the same time; more wait outside.
const HANDSHAKES: usize = 64;

/// The TLS endpoint of one machine.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    directory: PathBuf,
    config: Mutex<Option<(Stamp, Arc<ServerConfig>)>>,
    strangers: Arc<Semaphore>,
}

/// When the files were changed last.
type Stamp = [Option<SystemTime>; 3];

/// The machine's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error("Could not read {}", .path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("The authority's certificate cannot be used")]
    Authority(#[source] VerifierBuilderError),
    #[error("The certificates cannot be used")]
    Tls(#[from] rustls::Error),
}

impl Door {
    /// The door of the machine in `directory`, whose certificates may still be missing.
    pub fn new(listener: TcpListener, directory: &Path) -> Self {
        Self {
            listener,
            directory: directory.to_owned(),
            config: Mutex::default(),
            strangers: Arc::new(Semaphore::new(HANDSHAKES)),
        }
    }

    /// Serves for ever.
    pub(super) async fn serve(&self, tunnel: &Tunnel) {
        let knock = || async {
            // Never closed, so the permit is always granted.
            let permit = Arc::clone(&self.strangers).acquire_owned().await.ok();
            let (client, _) = self.listener.accept().await?;
            io::Result::Ok((client, permit))
        };
        super::accept(knock, |(client, permit)| {
            let acceptor = self.acceptor();
            let tunnel = tunnel.clone();
            async move {
                let result = async { admit(acceptor?, client).await };
                let admitted = result.await;
                drop(permit);
                match admitted {
                    Ok(client) => carry(&tunnel, client).await,
                    Err(error) => tracing::info!(%error, "a client was not let in"),
                }
            }
        })
        .await;
    }

    fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let stamp = [files::CA, files::SERVER_CERT, files::SERVER_KEY]
            .map(|name| fs::metadata(self.directory.join(name)).and_then(|file| file.modified()).ok());
        let mut known = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = match &*known {
            Some((seen, config)) if *seen == stamp => Arc::clone(config),
            _ => {
                let config = Arc::new(config(&self.directory).map_err(io::Error::other)?);
                *known = Some((stamp, Arc::clone(&config)));
                config
            }
        };
        Ok(TlsAcceptor::from(config))
    }
}

type TlsClient = tokio_rustls::server::TlsStream<TcpStream>;

async fn admit(acceptor: TlsAcceptor, client: TcpStream) -> io::Result<TlsClient> {
    client.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&client, true)?;
    sockopt::set_tcp_keepidle(&client, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&client, KEEPALIVE)?;
    timeout(HANDSHAKE_LIMIT, acceptor.accept(client))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn carry(tunnel: &Tunnel, client: TlsClient) {
    let watched = client.get_ref().0.as_fd().try_clone_to_owned();
    let (input, output) = tokio::io::split(client);
    // Whether a client that ends its side of TCP still listens is only told by its kernel, when asked.
    let gone = forward::hung_up(watched);
    if let Err(error) = forward::forward(Client { input, output, gone }, &tunnel.pool, &tunnel.target).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a client was not served");
    }
}

fn config(directory: &Path) -> Result<ServerConfig, DoorError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| DoorError::Pem { path, source }
    };
    let certificates = |name: &str| {
        let path = directory.join(name);
        let found = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        found.map_err(pem(&path))
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(files::CA)? {
        roots.add(authority)?;
    }
    let key_path = directory.join(files::SERVER_KEY);
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(pem(&key_path))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(DoorError::Authority)?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(files::SERVER_CERT)?, key)?)
}
