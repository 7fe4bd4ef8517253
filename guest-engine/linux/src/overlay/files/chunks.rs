//! Bytes from a thread that writes to a task that reads, in large pieces and with a bound.

use bytes::Bytes;
use engine::ports::ArchiveStream;
use futures_util::stream;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Less than what the allocator asks the kernel for each time.
const PIECE: usize = 120 * 1024;
/// Pieces that may wait.
const QUEUE: usize = 16;

/// The writing end.
#[derive(Debug)]
pub(super) struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Chunks {
    pub(super) fn new() -> (Self, ArchiveStream) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (Self { sender, piece: Vec::new() }, Box::pin(pieces))
    }

    /// Sends what `work` writes; its failure ends the stream with an error, so that half an archive does
    /// not look like a whole one. The stream ends when this is dropped.
    pub(super) fn fill(&mut self, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if let Err(error) = work(self).and_then(|()| self.flush())
            // The reader has gone.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::warn!(%error, "An archive of a container's files could not be completed");
            drop(self.sender.blocking_send(Err(error)));
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE);
        }
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
