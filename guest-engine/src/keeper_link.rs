//! The engine's end of the conversation with the keeper about published ports (`guest_contract::ports`).
//!
//! One keeper is listened to at a time, the latest: a machine has one, and a new one comes only when the
//! old is gone. A container that publishes ports waits for its answer, but not for ever; without a keeper
//! nobody is asked.

mod datagrams;

use crate::socket_access::SocketAccess;
use async_trait::async_trait;
use engine::ports::{HostPorts, PortSpec, Protocol};
use guest_contract::ports::{Errand, LONGEST_LINE, PortAnswer, PortNews, PortProtocol, PublishedPort};
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long a container waits for the keeper's answer before it starts without.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever connects may take to say why.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// What is open on the user's host, and who opens it.
#[derive(Debug, Default)]
pub struct KeeperLink(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: BTreeSet<PublishedPort>,
    keeper: Option<mpsc::UnboundedSender<PortNews>>,
    waiting: HashMap<u64, oneshot::Sender<Option<String>>>,
    last_id: u64,
}

#[async_trait]
impl HostPorts for KeeperLink {
    async fn open(&self, ports: &[PortSpec]) -> Result<(), String> {
        let answer = {
            let mut state = self.state();
            state.open.extend(ports.iter().map(published));
            state.last_id += 1;
            let id = state.last_id;
            let news = PortNews::Open { id, ports: ports.iter().map(published).collect() };
            let told = state.keeper.as_ref().is_some_and(|keeper| keeper.send(news).is_ok());
            if !told {
                return Ok(());
            }
            let (sender, answer) = oneshot::channel();
            state.waiting.insert(id, sender);
            answer
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Some(refused))) => {
                self.forget(ports);
                Err(refused)
            }
            Ok(Ok(None)) => Ok(()),
            // It went away, or is stuck; a new one hears of these ports first thing.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("The keeper did not answer; published ports may be missing on its host");
                Ok(())
            }
        }
    }

    fn close(&self, ports: &[PortSpec]) {
        let closed = self.forget(ports);
        if let Some(keeper) = self.state().keeper.as_ref().filter(|_| !closed.is_empty()) {
            // A keeper that is gone has nothing open.
            drop(keeper.send(PortNews::Close { ports: closed }));
        }
    }

    fn remember(&self, ports: &[PortSpec]) {
        self.state().open.extend(ports.iter().map(published));
    }
}

impl KeeperLink {
    /// Meets keepers at `path` for ever; besides root's, those whom `access` names.
    pub(crate) async fn serve(self: Arc<Self>, path: &Path, access: SocketAccess) -> io::Result<()> {
        drop(fs::remove_file(path));
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        access.give(path)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let link = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = link.welcome(stream).await {
                            tracing::debug!(%error, "A keeper left");
                        }
                    });
                }
                // No descriptors left: others may give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn welcome(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let errand = timeout(INTRODUCTION, read_line(&mut reader)).await??;
        match serde_json::from_str(&errand)? {
            Errand::Ports => self.talk(reader, writer).await,
            Errand::Datagrams { to } => datagrams::carry(reader, writer, to).await,
        }
    }

    async fn talk(
        &self,
        mut reader: BufReader<impl AsyncReadExt + Unpin>,
        mut writer: impl AsyncWriteExt + Unpin,
    ) -> io::Result<()> {
        let (sender, mut news) = mpsc::unbounded_channel();
        {
            let mut state = self.state();
            drop(sender.send(PortNews::All { ports: state.open.iter().copied().collect() }));
            state.keeper = Some(sender);
            // Who asked the last keeper goes on without its answer.
            state.waiting.clear();
        }
        let tell = async {
            while let Some(news) = news.recv().await {
                let line = format!("{}\n", serde_json::to_string(&news)?);
                writer.write_all(line.as_bytes()).await?;
            }
            io::Result::Ok(())
        };
        let hear = async {
            loop {
                let answer: PortAnswer = serde_json::from_str(&read_line(&mut reader).await?)?;
                if let Some(waiting) = self.state().waiting.remove(&answer.id) {
                    // Whoever waited may have run out of patience.
                    drop(waiting.send(answer.refused));
                }
            }
        };
        tokio::select! {
            ended = tell => ended,
            ended = hear => ended,
        }
    }

    fn forget(&self, ports: &[PortSpec]) -> Vec<PublishedPort> {
        let mut state = self.state();
        ports.iter().map(published).filter(|port| state.open.remove(port)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn published(port: &PortSpec) -> PublishedPort {
    let protocol = match port.protocol {
        Protocol::Tcp => PortProtocol::Tcp,
        Protocol::Udp => PortProtocol::Udp,
    };
    PublishedPort { protocol, address: port.host }
}

async fn read_line(reader: &mut BufReader<impl AsyncReadExt + Unpin>) -> io::Result<String> {
    let mut line = String::new();
    let read = (&mut *reader).take(LONGEST_LINE as u64).read_line(&mut line).await?;
    if read == 0 || !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ports::HostPorts;

    fn port(number: u16) -> PortSpec {
        PortSpec {
            protocol: Protocol::Tcp,
            host: ([0, 0, 0, 0], number).into(),
            container: ([172, 17, 0, 2], 80).into(),
        }
    }

    #[tokio::test]
    async fn a_keeper_hears_everything_and_its_refusal_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper.sock");
        let link = Arc::new(KeeperLink::default());
        link.open(&[port(1)]).await.unwrap();
        link.remember(&[port(2)]);
        let server = {
            let (link, path) = (link.clone(), path.clone());
            tokio::spawn(async move { link.serve(&path, SocketAccess::default()).await })
        };
        let stream = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        writer.write_all(b"{\"errand\":\"ports\"}\n").await.unwrap();
        let mut news =
            async || -> PortNews { serde_json::from_str(&read_line(&mut reader).await.unwrap()).unwrap() };
        assert!(matches!(news().await, PortNews::All { ports } if ports.len() == 2));
        let asked = tokio::spawn({
            let link = link.clone();
            async move { link.open(&[port(3)]).await }
        });
        let PortNews::Open { id, .. } = news().await else { panic!("not asked") };
        let answer = PortAnswer { id, refused: Some("taken".to_owned()) };
        writer.write_all(format!("{}\n", serde_json::to_string(&answer).unwrap()).as_bytes()).await.unwrap();
        assert_eq!(asked.await.unwrap(), Err("taken".to_owned()));
        link.close(&[port(3), port(1)]);
        assert_eq!(news().await, PortNews::Close { ports: vec![published(&port(1))] });
        server.abort();
    }
}
