//! A layer on its way out: its tar as a stream of pieces, made by a thread and checked at the end.

use super::{DIFF_FOLDER, Metadata, diff, system, tar_split};
use bytes::{Bytes, BytesMut};
use engine::{EngineError, error::Result, ports::LayerTar};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// Bytes of a piece, less than what the allocator asks the kernel for each time, and how many may wait.
const PIECE: usize = 120 * 1024;
const QUEUE: usize = 8;

/// Begins to write the layer in `folder`.
pub(super) fn stream(folder: PathBuf, metadata: Metadata) -> Result<LayerTar> {
    let size = match metadata.tar_size {
        Some(size) => size,
        None => {
            let mut count = Count(0);
            write(&folder, &mut count)?;
            count.0
        }
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender, piece: BytesMut::with_capacity(PIECE), hash: Sha256::new() };
        let written = write(&folder, &mut pieces).and_then(|()| pieces.finish(&metadata.diff_id));
        if let Err(error) = written {
            // Nobody reads any more, usually because of the same.
            drop(pieces.sender.blocking_send(Err(io::Error::other(error.to_string()))));
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    Ok(LayerTar { size, bytes: Box::pin(pieces) })
}

fn write(folder: &Path, to: &mut impl Write) -> Result<()> {
    let failed = |error: io::Error| system("Could not read a layer", error);
    let diff = File::open(folder.join(DIFF_FOLDER)).map_err(failed)?;
    if tar_split::exists(folder) {
        return tar_split::write(folder, &diff, to);
    }
    // Made here, by the same writer.
    diff::write(diff.as_fd(), diff::Kind::Changes, to).map(|_| ()).map_err(failed)
}

struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
    hash: Sha256,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.hash.update(&piece);
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The last piece leaves only when everything was right.
    fn finish(&mut self, diff_id: &str) -> Result<()> {
        let mut found = String::from("sha256:");
        let mut hash = self.hash.clone();
        hash.update(&self.piece);
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _written = write!(found, "{byte:02x}");
        }
        if found != diff_id {
            return Err(EngineError::system(format!(
                "layer {diff_id} is damaged on disk: its content is {found}"
            )));
        }
        self.send().map_err(|error| system("Could not hand a layer out", error))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
