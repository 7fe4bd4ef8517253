//! One authenticated SSH connection to one machine.

use super::{
    SshError, keys,
    trust::{self, HostTrust},
};
use guest_contract::host;
use machine_drivers::{Access, EngineHome, SshEndpoint};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, Disconnect, Preferred, cipher,
    client::{self, Msg},
    keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use std::{borrow::Cow, fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout},
};

/// TCP connect. User networking and clouds answer or refuse far sooner.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Key exchange and authentication: milliseconds on a real CPU, seconds in an emulated one under load.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);
/// One request and its answer on an established connection.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Bytes in flight per channel before the receiver must speak.
const WINDOW: u32 = 4 * 1024 * 1024;
/// Largest packet russh can receive; fewer packets, fewer wake-ups.
const PACKET: u32 = 65535;
/// Messages russh keeps for a reader that lags, beyond which the whole connection waits for it. With
/// [`PACKET`] this bounds what a stalled client costs us: 4 MiB.
const BACKLOG: usize = 64;

/// Makes connections to one machine: knows where it is, our key and its key.
#[derive(Clone)]
pub struct Connector {
    endpoint: SshEndpoint,
    config: Arc<client::Config>,
    key: Arc<PrivateKey>,
    trust: Arc<HostTrust>,
    /// There is a program of ours that can be asked to connect to sockets.
    dials: bool,
}

impl Connector {
    /// Reads the keys: the machine's own from its folder, unless the driver names others. Does not connect.
    pub fn new(access: &Access, directory: &Path) -> Result<Self, SshError> {
        let trust = HostTrust::of(&access.keys, directory)?;
        Ok(Self {
            endpoint: access.ssh.clone(),
            config: Arc::new(config(&trust)),
            key: Arc::new(trust::client_key(&access.keys, directory)?),
            trust: Arc::new(trust),
            dials: access.engine == EngineHome::Host,
        })
    }

    /// The first contact to a host whose key nobody can tell: pins whatever it shows to whoever accepts our key
    /// there, and returns its fingerprint. `None` when the key is known: then there is nothing to find out.
    pub async fn pin(access: &Access, directory: &Path) -> Result<Option<String>, SshError> {
        let is_unknown = access.keys.host.is_empty() && access.keys.first_contact;
        if !is_unknown || keys::read_pinned(directory)?.is_some() {
            return Ok(None);
        }
        let trust = HostTrust::first_contact();
        let contact = Self {
            endpoint: access.ssh.clone(),
            config: Arc::new(config(&trust)),
            key: Arc::new(trust::client_key(&access.keys, directory)?),
            trust: Arc::new(trust),
            dials: false,
        };
        contact.connect().await?.close().await;
        let Some(key) = contact.trust.found() else { return Err(SshError::Lost) };
        keys::pin(directory, &key)?;
        Ok(Some(key.fingerprint(HashAlg::Sha256).to_string()))
    }

    /// Connects, verifies the host key and logs in. Has its own deadlines.
    pub async fn connect(&self) -> Result<Connection, SshError> {
        let SshEndpoint { host, port, user } = &self.endpoint;
        let refused = |source| SshError::Connect { host: host.clone(), port: *port, source };
        let socket = timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_| SshError::Timeout { what: "Connecting to the SSH server", limit: CONNECT_LIMIT })?
            .map_err(refused)?;
        // Small API requests must not wait for the acknowledgement of the previous one.
        socket.set_nodelay(true).map_err(refused)?;

        let (alive, gone) = watch::channel(());
        let peer = Peer { expected: Arc::clone(&self.trust), _alive: alive };
        let handshake = async {
            let mut handle = client::connect_stream(Arc::clone(&self.config), socket, peer).await?;
            let hash = if self.key.algorithm().is_rsa() {
                handle.best_supported_rsa_hash().await?.flatten()
            } else {
                None
            };
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.key), hash);
            if handle.authenticate_publickey(user, key).await?.success() {
                Ok(handle)
            } else {
                Err(SshError::Refused { user: user.clone() })
            }
        };
        let handle = timeout(HANDSHAKE_LIMIT, handshake)
            .await
            .map_err(|_| SshError::Timeout { what: "The SSH handshake", limit: HANDSHAKE_LIMIT })??;
        Ok(Connection { handle, since: Instant::now(), gone, dials: self.dials })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// An authenticated connection. Dropping it closes it.
pub struct Connection {
    handle: client::Handle<Peer>,
    since: Instant,
    gone: watch::Receiver<()>,
    dials: bool,
}

impl Connection {
    /// Whether the session still runs, as far as is known without asking.
    pub fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Time since it was authenticated.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Resolves when the session has ended, for whatever reason.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut gone = self.gone.clone();
        // Nothing is ever sent: the sender lives in the session and dies with it.
        async move { while gone.changed().await.is_ok() {} }
    }

    /// Opens a channel to a unix socket inside the machine. [`SshError::Target`] when nothing listens
    /// there: worth a retry on the same connection.
    pub async fn open_socket(&self, path: &str) -> Result<Channel<Msg>, SshError> {
        let opening = self.handle.channel_open_direct_streamlocal(path);
        let opened = opened(timeout(REQUEST_LIMIT, opening).await, path);
        self.or_dial(opened, path).await
    }

    /// Opens a channel to a TCP address as the machine sees it.
    pub async fn open_address(&self, target: SocketAddr) -> Result<Channel<Msg>, SshError> {
        let (host, port) = (target.ip().to_string(), u32::from(target.port()));
        let opening = self.handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0);
        let opened = opened(timeout(REQUEST_LIMIT, opening).await, &target.to_string());
        self.or_dial(opened, &target.to_string()).await
    }

    /// A host's SSH server may be kept from connecting to sockets, by its settings or by SELinux's policy. What runs
    /// for us there is not.
    async fn or_dial(
        &self,
        opened: Result<Channel<Msg>, SshError>,
        target: &str,
    ) -> Result<Channel<Msg>, SshError> {
        match opened {
            Err(SshError::Target { .. } | SshError::Denied { .. }) if self.dials => {}
            opened => return opened,
        }
        let places =
            host::LIBRARIES.map(|library| format!("{library}/{}/engine-*", host::PROGRAMS)).join(" ");
        let command = format!(
            "sh -c 'for file in {places}; do [ ! -x \"$file\" ] || exec \"$file\" dial {target}; done'"
        );
        let mut channel = self.open_session().await?;
        channel.exec(false, command).await?;
        let dialled = async {
            // The account's shell may have something to say first.
            let mut said = Vec::new();
            while !said.ends_with(host::DIALLED.as_bytes()) {
                match channel.wait().await {
                    Some(ChannelMsg::ExtendedData { data, .. }) => said.extend_from_slice(&data),
                    Some(ChannelMsg::WindowAdjusted { .. }) => {}
                    _ => return false,
                }
            }
            true
        };
        match timeout(REQUEST_LIMIT, dialled).await {
            Ok(true) => Ok(channel),
            Ok(false) => Err(SshError::Target { target: target.to_owned() }),
            Err(_) => Err(SshError::Timeout { what: "Opening a channel", limit: REQUEST_LIMIT }),
        }
    }

    /// Opens a channel to a TCP port, as the machine sees it.
    pub(super) async fn open_tcp(&self, host: &str, port: u16) -> Result<Channel<Msg>, SshError> {
        let open = self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        match timeout(REQUEST_LIMIT, open).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(_))) => {
                Err(SshError::Target { target: format!("{host} port {port}") })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(SshError::Timeout { what: "Opening a channel", limit: REQUEST_LIMIT }),
        }
    }

    /// Opens a channel for a command or a shell.
    pub(super) async fn open_session(&self) -> Result<Channel<Msg>, SshError> {
        timeout(REQUEST_LIMIT, self.handle.channel_open_session())
            .await
            .map_err(|_| SshError::Timeout { what: "Opening a session", limit: REQUEST_LIMIT })?
            .map_err(Into::into)
    }

    /// Says goodbye, so that the server does not log a broken connection.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        // Best effort: the peer may be gone already.
        _ = timeout(Duration::from_secs(1), goodbye).await;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("age", &self.age())
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

/// The session's side of [`Connection`]: accepts the pinned host key only.
struct Peer {
    expected: Arc<HostTrust>,
    _alive: watch::Sender<()>,
}

impl client::Handler for Peer {
    type Error = SshError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        let offered = offered.public_key();
        if self.expected.accepts(&offered) {
            return Ok(true);
        }
        Err(SshError::HostKey {
            expected: self.expected.expected(),
            offered: offered.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

fn config(trust: &HostTrust) -> client::Config {
    client::Config {
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: BACKLOG,
        nodelay: true,
        // A `docker events` may be silent for days.
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        preferred: Preferred {
            key: trust.algorithms().map_or(Preferred::DEFAULT.key, Cow::Owned),
            // AES-GCM has hardware support nearly everywhere and is twice as fast as ChaCha20 there.
            cipher: Cow::Borrowed(&[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305]),
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

fn opened(
    result: Result<Result<Channel<Msg>, russh::Error>, tokio::time::error::Elapsed>,
    target: &str,
) -> Result<Channel<Msg>, SshError> {
    match result {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => {
            Err(SshError::Target { target: target.to_owned() })
        }
        Ok(Err(russh::Error::ChannelOpenFailure(_))) => Err(SshError::Denied { what: "to open a channel" }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(SshError::Timeout { what: "Opening a channel", limit: REQUEST_LIMIT }),
    }
}
