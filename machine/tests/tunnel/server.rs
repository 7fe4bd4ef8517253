//! An SSH server as the guest's: one key may log in, unix sockets can be reached, commands are faked.

use guest_contract::paths;
use machine::ssh::keys::{self, MachineKeys};
use machine_drivers::{Access, EngineHome, SshEndpoint, SshKeys};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure,
    keys::{PrivateKey, PublicKey},
    server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey},
};
use std::{
    net::{Shutdown, TcpStream as StdTcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::Notify,
    task::JoinHandle,
};

/// A machine's folder with keys, and where its engine's socket really is.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) root: TempDir,
    pub(crate) directory: PathBuf,
    pub(crate) engine: PathBuf,
    pub(crate) keys: MachineKeys,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::within("m")
    }

    /// A machine in a folder of this name below a private one.
    pub(crate) fn within(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let keys = keys::generate(&directory).unwrap();
        let engine = root.path().join("engine.sock");
        Self { root, directory, engine, keys }
    }
}

/// A running server. Dropping it resets every connection, as a dead VM does.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    accept: JoinHandle<()>,
    connections: Arc<Mutex<Vec<StdTcpStream>>>,
}

impl Server {
    /// Shows `keys.host_private`, lets `keys.client_public` in, and leads every socket to `engine`.
    pub(crate) async fn start(keys: &MachineKeys, engine: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(server::Config {
            keys: vec![PrivateKey::from_openssh(&keys.host_private).unwrap()],
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            inactivity_timeout: None,
            nodelay: true,
            ..server::Config::default()
        });
        let client = PublicKey::from_openssh(&keys.client_public).unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&connections);
        let engine = engine.to_owned();
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = stream.into_std().unwrap();
                let copy = stream.try_clone().unwrap();
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let guest = Guest { client: client.clone(), engine: engine.clone() };
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, guest).await {
                        _ = session.await;
                    }
                    // Our copies would keep the connection open.
                    _ = copy.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, accept, connections }
    }

    pub(crate) fn endpoint(&self) -> SshEndpoint {
        SshEndpoint { host: "127.0.0.1".to_owned(), port: self.port, user: "root".to_owned() }
    }

    pub(crate) fn access(&self, seed_socket: Option<PathBuf>) -> Access {
        Access {
            ssh: self.endpoint(),
            ip: "127.0.0.1".to_owned(),
            seed_socket,
            keys: SshKeys::default(),
            engine: EngineHome::Guest,
        }
    }

    /// How many connections were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
        for connection in self.connections.lock().unwrap().iter() {
            _ = connection.shutdown(Shutdown::Both);
        }
    }
}

struct Guest {
    client: PublicKey,
    engine: PathBuf,
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let known = key.public_key.key_data() == self.client.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let path = match socket_path {
            paths::KEEPER_SOCKET => self.engine.with_file_name("keeper.sock"),
            _ => self.engine.clone(),
        };
        match UnixStream::connect(path).await {
            Ok(engine) => {
                reply.accept().await;
                tokio::spawn(carry(channel, engine));
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    /// Every address has a program that says where it was reached and then repeats what it hears.
    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        let (near, far) = UnixStream::pair()?;
        let greeting = format!("{host}:{port}\n");
        tokio::spawn(async move {
            let (mut input, mut output) = far.into_split();
            output.write_all(greeting.as_bytes()).await?;
            tokio::io::copy(&mut input, &mut output).await
        });
        tokio::spawn(carry(channel, near));
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        match data {
            b"exit 7" => session.exit_status_request(channel, 7)?,
            b"die" => session.exit_signal_request(channel, russh::Sig::KILL, false, "", "")?,
            b"vanish" => return Err(russh::Error::Disconnect),
            _ => session.exit_status_request(channel, 0)?,
        }
        session.eof(channel)?;
        session.close(channel)
    }
}

async fn carry(channel: Channel<Msg>, engine: UnixStream) {
    let (mut reader, writer) = channel.split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let ended = Notify::new();
    let up = async {
        loop {
            match reader.wait().await {
                Some(ChannelMsg::Data { data }) => to_engine.write_all(&data).await?,
                Some(ChannelMsg::Eof) => {
                    ended.notify_one();
                    to_engine.shutdown().await?;
                }
                Some(ChannelMsg::Close) | None => return Ok::<(), std::io::Error>(()),
                Some(_) => {}
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match from_engine.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    if writer.data_bytes(buffer[..count].to_vec()).await.is_err() {
                        break;
                    }
                }
            }
        }
        _ = writer.eof().await;
        // As sshd does: a channel closes when both directions have ended.
        ended.notified().await;
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
    }
    _ = writer.close().await;
}
