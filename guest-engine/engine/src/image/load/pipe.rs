//! Bytes between async tasks and the blocking thread that reads archives, with bounded queues.

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream};
use std::{
    future::Future,
    io::{self, Read},
    time::Duration,
};
use tokio::{io::AsyncRead, sync::mpsc};
use tokio_util::io::StreamReader;

/// Pieces that may wait; with [`PIECE`] the bound in bytes.
const QUEUE: usize = 16;
const PIECE: usize = 64 * 1024;
/// For what is sent in vain.
const LINGER: Duration = Duration::from_secs(2);

/// The blocking end of [`feed`].
pub(crate) struct Reader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

/// The async end of [`channel`].
pub(crate) struct Feeder(mpsc::Sender<io::Result<Bytes>>);

impl Feeder {
    /// Says whether anybody is still reading.
    pub(crate) async fn send(&self, piece: io::Result<Bytes>) -> bool {
        self.0.send(piece).await.is_ok()
    }
}

/// Connects async work to a blocking reader.
pub(crate) fn channel() -> (Feeder, Reader) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    (Feeder(sender), Reader { pieces, current: Bytes::new() })
}

/// Connects an async stream to a blocking reader. The future carries the bytes.
pub(crate) fn feed(
    mut source: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
) -> (impl Future<Output = ()> + Send, Reader) {
    let (feeder, reader) = channel();
    let feed = async move {
        let mut wanted = true;
        while let Some(piece) = source.next().await {
            let failed = piece.is_err();
            wanted = wanted && feeder.send(piece).await;
            if failed {
                break;
            }
        }
    };
    (feed, reader)
}

/// Does the work that reads what `feed` carries. Work that ends early, of a bad archive mostly, does not wait
/// for a client that stalls; but the client may go on sending for a moment: one whose connection is cut
/// while it sends does not read why.
pub(crate) async fn fed<T>(
    feed: impl Future<Output = ()> + Send + 'static,
    work: impl Future<Output = T>,
) -> T {
    let mut feed = Box::pin(feed);
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => {
            tokio::spawn(tokio::time::timeout(LINGER, feed));
            done
        }
        () = &mut feed => work.await,
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The blocking end of [`bytes`].
pub(crate) struct Writer(mpsc::Sender<io::Result<Bytes>>);

/// Connects a blocking writer to an async reader.
pub(crate) fn bytes() -> (Writer, impl AsyncRead + Send + Unpin) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (Writer(sender), StreamReader::new(Box::pin(pieces)))
}

impl Writer {
    /// Sends everything that `source` has. The reader sees the error when `source` fails: half a layer
    /// must not look like a whole one. A reader that stops early is no error here; it says why itself.
    pub(crate) fn copy(self, source: &mut dyn Read) -> io::Result<()> {
        self.send(source).map(|_| ())
    }

    /// The reader sees an error instead of an end.
    pub(crate) fn fail(&self, error: io::Error) {
        drop(self.0.blocking_send(Err(error)));
    }

    /// [`Writer::copy`], without the end. Says whether the reader is still there.
    pub(crate) fn send(&self, source: &mut dyn Read) -> io::Result<bool> {
        loop {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            while filled < PIECE {
                match source.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        drop(self.0.blocking_send(Err(io::Error::new(e.kind(), e.to_string()))));
                        return Err(e);
                    }
                }
            }
            piece.truncate(filled);
            if filled == 0 {
                return Ok(true);
            }
            if self.0.blocking_send(Ok(piece.into())).is_err() {
                return Ok(false);
            }
        }
    }
}
