//! Where a machine's Engine API is reached from here: the unix socket, or TCP with TLS on both sides.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// An Engine API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Socket(PathBuf),
    /// TCP with TLS.
    Tls(TlsEndpoint),
}

/// TCP with TLS, in the files Docker's clients take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsEndpoint {
    /// `HOST:PORT`.
    pub address: String,
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The client's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The folder that holds copies of all three, as `DOCKER_CERT_PATH` wants it.
    pub folder: PathBuf,
}

/// An endpoint cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// TCP, the unix socket or the handshake failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A certificate file cannot be used.
    #[error("Could not read {}", .path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The certificates cannot be used.
    #[error("The certificates cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Both directions of a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Endpoint {
    /// As Docker's clients take it.
    pub fn url(&self) -> String {
        match self {
            Self::Socket(path) => socket_url(path),
            Self::Tls(endpoint) => endpoint.url(),
        }
    }

    /// Connects, and over TLS verifies whom it is talking to.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, TlsError> {
        Ok(match self {
            Self::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tls(endpoint) => Box::new(endpoint.connect().await?),
        })
    }
}

impl TlsEndpoint {
    /// As Docker's clients take it.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Connects, shows the client's certificate and verifies the server's.
    pub async fn connect(&self) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, TlsError> {
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(connector.connect(name, stream).await?)
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, source }
        };
        let certificates = |path: &Path| {
            let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.map_err(pem(path))
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authority)? {
            roots.add(authority)?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(pem(&self.key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, key)?)
    }
}

/// A socket as Docker's clients take it.
pub fn socket_url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
