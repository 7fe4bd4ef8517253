//! SSH to the hosts of git repositories. The client's agent says who we are; who they are, only keys prove that the
//! client or this machine's `ssh_known_hosts` lists: nobody is trusted at first sight.

use super::{CONNECT, PATIENCE, known_hosts};
use crate::{
    build::buildkit::BuildClient,
    error::{EngineError, Result},
    image::load::pipe,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use gix::{Url, bstr::ByteSlice, protocol::transport::Protocol, url::Scheme};
use gix_transport::client::git::{ConnectMode, blocking_io::Connection};
use russh::{
    ChannelMsg, ChannelReadHalf, Preferred,
    client::{self, Handle, Handler},
    keys::{
        Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate,
        agent::{AgentIdentity, client::AgentClient},
    },
};
use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::io::SyncIoBridge;

/// The agent that is asked, as BuildKit has it.
const AGENT: &str = "default";
/// The secret that lists the keys of hosts, in the form of OpenSSH's `known_hosts`.
const KNOWN_HOSTS: &str = "SSH_KNOWN_HOSTS";
/// The same for everybody on this machine.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";
/// Who logs in where the URL does not say.
const USER: &str = "git";
const PORT: u16 = 22;
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What waits between us and the agent.
const AGENT_PIPE: usize = 16 * 1024;
/// Bytes of what the server's program complains about that are kept.
const COMPLAINTS: usize = 2048;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    user: String,
    host: String,
    port: u16,
    path: String,
}

/// A thread that blocks asks for a conversation with `git-upload-pack` at a place.
pub(super) struct Call {
    place: Place,
    answer: oneshot::Sender<Result<Conversation>>,
}

/// Takes calls.
pub(super) type Line = mpsc::Sender<Call>;

/// With the program at the other end.
pub(super) struct Conversation {
    reader: pipe::Reader,
    writer: Box<dyn Write + Send>,
    complaints: Arc<Mutex<String>>,
}

impl Place {
    /// `None` for what is not reached by SSH.
    pub(super) fn of(url: &str) -> Option<Self> {
        let url: Url = gix::url::parse(url).ok()?;
        let host = url.host().filter(|_| url.scheme == Scheme::Ssh)?;
        let path = url.path.to_str().ok()?;
        // `/~user/…` is in that user's home.
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('~')).unwrap_or(path);
        let odd = host.starts_with('-') || path.is_empty() || path.starts_with('-');
        (!odd).then(|| Self {
            user: url.user().unwrap_or(USER).to_owned(),
            host: host.to_owned(),
            port: url.port.unwrap_or(PORT),
            path: path.to_owned(),
        })
    }

    /// What is to be run there.
    fn command(&self) -> String {
        format!("git-upload-pack '{}'", self.path.replace('\'', "'\\''").replace('!', "'\\!'"))
    }
}

impl Conversation {
    /// Begins one, from a thread that blocks.
    pub(super) fn begin(line: &Line, place: Place) -> Result<Self> {
        let gone = || EngineError::system("Nobody answers for SSH any more");
        let (answer, conversation) = oneshot::channel();
        line.blocking_send(Call { place, answer }).map_err(|_| gone())?;
        conversation.blocking_recv().map_err(|_| gone())?
    }

    /// As git's own protocol goes over it.
    pub(super) fn transport(self, url: &gix::Url) -> Connection<pipe::Reader, Box<dyn Write + Send>> {
        let path = url.path.clone();
        Connection::new(
            self.reader,
            self.writer,
            Protocol::V2,
            path,
            None::<(String, Option<u16>)>,
            ConnectMode::Process,
            false,
        )
        .custom_url(Some(url.to_bstring()))
    }

    /// What the other end complained about; empty when it did not.
    pub(super) fn complaints(complaints: &Mutex<String>) -> String {
        complaints.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned()
    }

    /// Where these are put.
    pub(super) fn complaining(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.complaints)
    }
}

/// Connects whoever calls, and carries what the servers say, until it is dropped.
pub(super) async fn serve(client: Option<&dyn BuildClient>, mut calls: mpsc::Receiver<Call>) {
    let mut carrying: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(Call { place, answer }) = calls.recv() => {
                let begun = begin(client, &place).await.map(|(conversation, carried)| {
                    carrying.push(Box::pin(carried));
                    conversation
                });
                // A caller that was cancelled does not wait any more.
                drop(answer.send(begun));
            }
            Some(()) = carrying.next() => {}
            else => return std::future::pending().await,
        }
    }
}

async fn begin(
    client: Option<&dyn BuildClient>,
    place: &Place,
) -> Result<(Conversation, impl Future<Output = ()> + Send + use<>)> {
    let Some(client) = client else {
        return Err(EngineError::invalid(format!(
            "{}: git over SSH needs the SSH agent of a client that builds with BuildKit (docker buildx build --ssh default)",
            place.host
        )));
    };
    if !client.has_agent(AGENT).await? {
        return Err(EngineError::invalid(format!(
            "no SSH key {AGENT:?} forwarded from the client: {} is asked over SSH, which takes --ssh {AGENT}",
            place.host
        )));
    }
    let mut handle = connected(client, place).await?;
    logged_in(client, &mut handle, &place.user, &place.host).await?;
    let failed = |error: russh::Error| lost(place, &error);
    let channel = handle.channel_open_session().await.map_err(failed)?;
    // Servers that do not take it speak an older version.
    channel.set_env(false, "GIT_PROTOCOL", "version=2").await.map_err(failed)?;
    channel.exec(false, place.command()).await.map_err(failed)?;
    let (from, to) = channel.split();
    let writer = SyncIoBridge::new(Box::pin(to.make_writer()));
    let (feeder, reader) = pipe::channel();
    let complaints = Arc::new(Mutex::new(String::new()));
    let conversation = Conversation { reader, writer: Box::new(writer), complaints: Arc::clone(&complaints) };
    Ok((conversation, carry(from, feeder, complaints, handle)))
}

/// Everything that comes from the program, until it ends. The connection lives as long.
async fn carry(
    mut from: ChannelReadHalf,
    feeder: pipe::Feeder,
    complaints: Arc<Mutex<String>>,
    _connection: Handle<Peer>,
) {
    while let Some(message) = from.wait().await {
        let goes_on = match message {
            ChannelMsg::Data { data } => feeder.send(Ok(data)).await,
            ChannelMsg::ExtendedData { data, .. } => {
                let mut said = complaints.lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() < COMPLAINTS {
                    said.push_str(&String::from_utf8_lossy(&data));
                }
                true
            }
            ChannelMsg::Close => false,
            _ => true,
        };
        if !goes_on {
            return;
        }
    }
}

/// Connects to a host that proves who it is.
async fn connected(client: &dyn BuildClient, place: &Place) -> Result<Handle<Peer>> {
    let Place { host, port, .. } = place;
    let mut known = tokio::fs::read_to_string(SYSTEM_KNOWN_HOSTS).await.unwrap_or_default();
    if let Some(own) = client.secret(KNOWN_HOSTS).await? {
        known.push('\n');
        known.push_str(&String::from_utf8_lossy(&own));
    }
    let keys = known_hosts::keys(&known, host, *port);
    let config = Arc::new(client::Config {
        nodelay: true,
        inactivity_timeout: Some(PATIENCE),
        keepalive_interval: Some(KEEPALIVE),
        preferred: Preferred { key: algorithms(&keys), ..Preferred::DEFAULT },
        ..client::Config::default()
    });
    let unreached = |error: io::Error| {
        EngineError::invalid(format!("Could not connect to {host} port {port}")).because(error)
    };
    let socket = timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await;
    let socket = socket.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unreached)?;
    let peer = Peer { host: host.clone(), keys };
    match timeout(PATIENCE, client::connect_stream(config, socket, peer)).await {
        Ok(Ok(handle)) => Ok(handle),
        Ok(Err(Refusal::Ssh(error))) => Err(lost(place, &error)),
        Ok(Err(Refusal::Unknown(told))) => Err(EngineError::invalid(told)),
        Err(_) => Err(unreached(io::ErrorKind::TimedOut.into())),
    }
}

/// Those of the keys that are known: one of another kind could only be another host's.
fn algorithms(keys: &[PublicKey]) -> Cow<'static, [Algorithm]> {
    let mut algorithms = Vec::new();
    for key in keys {
        match key.algorithm() {
            // The key is one thing, the hash it signs with another.
            Algorithm::Rsa { .. } => algorithms
                .extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) })),
            algorithm => algorithms.push(algorithm),
        }
    }
    match algorithms.is_empty() {
        // Any: it is only asked in order to tell what it would have been.
        true => Preferred::DEFAULT.key,
        false => Cow::Owned(algorithms),
    }
}

/// Proves who we are, with whichever key of the agent the host takes.
async fn logged_in(
    client: &dyn BuildClient,
    handle: &mut Handle<Peer>,
    user: &str,
    host: &str,
) -> Result<()> {
    let (ours, theirs) = tokio::io::duplex(AGENT_PIPE);
    let failed = |error: &dyn std::fmt::Display| {
        EngineError::invalid(format!("Could not log in to {host} with the client's SSH agent: {error}"))
    };
    let login = async {
        let mut agent = AgentClient::connect(ours);
        let identities = agent.request_identities().await.map_err(|e| failed(&e))?;
        let hash = handle.best_supported_rsa_hash().await.map_err(|e| failed(&e))?.flatten();
        for identity in identities {
            let answer = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    let hash = hash.filter(|_| key.algorithm().is_rsa());
                    handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    let hash = hash.filter(|_| certificate.algorithm().is_rsa());
                    handle.authenticate_certificate_with(user, certificate, hash, &mut agent).await
                }
            };
            match answer {
                Ok(answer) if answer.success() => return Ok(()),
                Ok(_) => {}
                // A key that does not sign, because its owner said no perhaps: there may be others.
                Err(error) if !handle.is_closed() => tracing::debug!(%error, "The agent did not sign"),
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(EngineError::invalid(format!(
            "{user}@{host}: Permission denied (publickey): it takes no key of the client's SSH agent"
        )))
    };
    tokio::select! {
        done = timeout(PATIENCE, login) => done.unwrap_or_else(|_| Err(failed(&"it takes too long"))),
        ended = client.agent(AGENT, Box::new(theirs)) => {
            ended?;
            Err(failed(&"the agent hung up"))
        }
    }
}

fn lost(place: &Place, error: &russh::Error) -> EngineError {
    EngineError::invalid(format!("Could not speak SSH with {} port {}: {error}", place.host, place.port))
}

/// Knows who the other end is to be.
struct Peer {
    host: String,
    keys: Vec<PublicKey>,
}

/// Why a connection did not come to be.
#[derive(Debug)]
enum Refusal {
    Ssh(russh::Error),
    Unknown(String),
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl Handler for Peer {
    type Error = Refusal;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Err(Refusal::Unknown(format!("{} shows a certificate instead of a host key", self.host)));
        };
        if self.keys.iter().any(|known| known.key_data() == key.key_data()) {
            return Ok(true);
        }
        let shown = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        Err(Refusal::Unknown(match self.keys.is_empty() {
            true => format!(
                "the host key of {} is not known: it shows {shown}; hand over the keys that you know with \
                 --secret id={KNOWN_HOSTS},src=$HOME/.ssh/known_hosts",
                self.host
            ),
            false => format!("the host key of {} is not the one that is known: it shows {shown}", self.host),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_what_git_takes_for_them() {
        let place = |url: &str| {
            let Place { user, host, port, path } = Place::of(url)?;
            Some(format!("{user} {host} {port} {path}"))
        };
        for (url, expected) in [
            ("git@github.com:a/b.git", "git github.com 22 a/b.git"),
            ("me@host:/srv/b.git", "me host 22 /srv/b.git"),
            ("ssh://host/srv/b", "git host 22 /srv/b"),
            ("ssh://me@host:2222/~you/b.git", "me host 2222 ~you/b.git"),
        ] {
            assert_eq!(place(url).as_deref(), Some(expected), "{url}");
        }
        for other in ["https://host/a.git", "git://host/a", "/a/b", "ssh://host", "git@host:-u"] {
            assert_eq!(place(other), None, "{other}");
        }
        let odd = Place::of("git@host:it's!.git").unwrap();
        assert_eq!(odd.command(), "git-upload-pack 'it'\\''s'\\!'.git'");
    }
}
