//! Getting one layer: downloaded, verified, decompressed and unpacked at the same time, and once only,
//! however many pulls wait for it.
//!
//! ```text
//!   registry ─Bytes▶ async: resume ─▶ thread: hash, decompress ─▶ thread: LayerStore::apply
//! ```
//! Queues between the three are bounded. The layer store sees the end of the layer only when the blob's
//! own digest was right. When the last pull that waits is gone the download is cut and nothing stays.

use super::{Images, load::pipe};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
    image::{config::named, load::decompressed},
    ports::LayerInfo,
    registry::{Download, Failure, Session},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes between two reports.
const REPORT: u64 = 256 * 1024;

/// A layer as a registry has it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub diff_id: String,
    /// Of the blob, compressed or not.
    pub digest: String,
    pub size: u64,
    /// The repository's path.
    pub name: String,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum State {
    Waiting,
    Downloading(u64),
    Retrying(Duration),
    Extracting,
    Done,
    Failed(ErrorKind, String),
}

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    running: Mutex<HashMap<String, Weak<Fetch>>>,
}

/// One that is under way. Cut when the last of who waits for it lets go.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) state: watch::Receiver<State>,
    _cut: DropGuard,
}

impl Images {
    /// Joins the fetch of a layer, or begins it. Says whether it is a new one.
    pub(super) fn fetch(self: &Arc<Self>, session: &Arc<Session>, wanted: &Wanted) -> (Arc<Fetch>, bool) {
        let mut running = self.fetches.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, fetch| fetch.strong_count() > 0);
        if let Some(fetch) = running.get(&wanted.diff_id).and_then(Weak::upgrade)
            && !matches!(*fetch.state.borrow(), State::Failed(..))
        {
            return (fetch, false);
        }
        let (sender, state) = watch::channel(State::Waiting);
        let cut = CancellationToken::new();
        let fetch = Arc::new(Fetch { state, _cut: cut.clone().drop_guard() });
        running.insert(wanted.diff_id.clone(), Arc::downgrade(&fetch));
        let (images, session, wanted) = (Arc::clone(self), Arc::clone(session), wanted.clone());
        tokio::spawn(async move {
            let adding = images.adding.read().await;
            let fetched = images.fetch_layer(&session, &wanted, &sender, &cut).await;
            drop(adding);
            sender.send_replace(match fetched {
                Ok(_) => State::Done,
                Err(error) => State::Failed(error.kind(), error.to_string()),
            });
            if cut.is_cancelled() {
                images.sweep_quietly().await;
            }
        });
        (fetch, true)
    }

    async fn fetch_layer(
        &self,
        session: &Session,
        wanted: &Wanted,
        state: &watch::Sender<State>,
        cut: &CancellationToken,
    ) -> Result<LayerInfo> {
        if let Some(layer) = self.layers.layer(&wanted.diff_id).await? {
            return Ok(layer);
        }
        let (feeder, blob) = pipe::channel();
        let (writer, tar) = pipe::bytes();
        let applying = self.layers.apply(Some(&wanted.diff_id), Box::new(tar));
        let digest = wanted.digest.clone();
        let decompressing = tokio::task::spawn_blocking(move || decompress(blob, &digest, &writer));
        let downloading = async {
            let result = download(session, wanted, state, cut, &feeder).await;
            if let Err(failure) = &result {
                // Half a blob must not look like a whole one.
                feeder.send(Err(io::Error::other(failure.to_string()))).await;
            }
            drop(feeder);
            result
        };
        let (downloaded, decompressed, applied) = tokio::join!(downloading, decompressing, applying);
        // The first of the three that failed knows why.
        if let Err(failure) = downloaded {
            return Err(failure.into());
        }
        match (decompressed, applied) {
            (Ok(Err(error)), _) => Err(EngineError::system(error.to_string())),
            (Err(error), _) => Err(EngineError::system("Decompressing ended early").because(error)),
            (Ok(Ok(())), Ok(layer)) => Ok(layer),
            (Ok(Ok(())), Err(error)) => {
                Err(EngineError::system(format!("failed to register layer {}", wanted.digest)).because(error))
            }
        }
    }

    /// For after something that failed or was given up.
    pub(super) async fn sweep_quietly(&self) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "Layers that nobody needs are still there");
        }
    }
}

async fn download(
    session: &Session,
    wanted: &Wanted,
    state: &watch::Sender<State>,
    cut: &CancellationToken,
    feeder: &pipe::Feeder,
) -> Result<(), Failure> {
    let mut download = Download::new(session, &wanted.name, &wanted.digest, wanted.size)?;
    let (mut got, mut reported) = (0, 0);
    state.send_replace(State::Downloading(0));
    loop {
        let next = download.next(|delay| {
            state.send_replace(State::Retrying(delay));
        });
        let piece = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(Failure::Content("the pull was cancelled".to_owned())),
            piece = next => piece?,
        };
        let Some(piece) = piece else { break };
        got += piece.len() as u64;
        if !feeder.send(Ok(piece)).await {
            // Who reads has found something wrong and says so.
            return Ok(());
        }
        if got - reported >= REPORT {
            reported = got;
            state.send_replace(State::Downloading(got));
        }
    }
    state.send_replace(State::Extracting);
    Ok(())
}

/// On a blocking thread: from the blob to the tar.
fn decompress(blob: pipe::Reader, digest: &str, writer: &pipe::Writer) -> io::Result<()> {
    let mut blob = Hashing { inner: blob, hash: Sha256::new() };
    let sent = match decompressed(&mut blob) {
        Ok(mut tar) => writer.send(&mut tar),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    let checked = match sent {
        // The layer store has failed, and says why.
        Ok(false) => return Ok(()),
        // The digest covers what a decoder does not look at.
        Ok(true) => io::copy(&mut blob, &mut io::sink()).map(|_| ()),
        Err(error) => Err(error),
    };
    let found = named(blob.hash.finalize().as_ref());
    let why = match checked {
        Ok(()) if found == digest => return Ok(()),
        Ok(()) => format!("its content is {found}"),
        Err(error) => error.to_string(),
    };
    let error = format!("filesystem layer verification failed for digest {digest}: {why}");
    writer.fail(io::Error::other(error.clone()));
    Err(io::Error::other(error))
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
