//! The host's end of the seed channel: framing and reading of `guest_contract::channel`.
//!
//! What is said when is the keeper's (`keeper/seed.rs`).

use crate::keeper::socket;
use futures_util::StreamExt;
use guest_contract::{GuestMessage, HostMessage};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::timeout,
};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

/// A guest has no reason to send a longer line.
const LONGEST_LINE: usize = 64 * 1024;
/// The VM monitor takes our bytes even while the guest is not listening.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// The channel is not there or broke.
#[derive(Debug, thiserror::Error)]
pub enum GuestChannelError {
    /// Nobody listens: the VM monitor is not running.
    #[error("Could not connect to the seed channel {}", .path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A message could not be sent.
    #[error("Could not send to the guest")]
    Send(#[source] io::Error),
    /// The guest's messages could not be read.
    #[error("Could not read from the guest")]
    Receive(#[source] LinesCodecError),
}

/// An open seed channel.
#[derive(Debug)]
pub struct GuestChannel {
    reader: FramedRead<OwnedReadHalf, LinesCodec>,
    writer: OwnedWriteHalf,
}

impl GuestChannel {
    /// Connects to the VM monitor's socket at `path`, of any length.
    pub async fn connect(path: &Path) -> Result<Self, GuestChannelError> {
        let stream = socket::connect(path)
            .await
            .map_err(|source| GuestChannelError::Connect { path: path.to_owned(), source })?;
        let (reader, writer) = stream.into_split();
        let codec = LinesCodec::new_with_max_length(LONGEST_LINE);
        Ok(Self { reader: FramedRead::new(reader, codec), writer })
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &HostMessage) -> Result<(), GuestChannelError> {
        let mut line = serde_json::to_vec(message).map_err(|error| GuestChannelError::Send(error.into()))?;
        line.push(b'\n');
        timeout(SEND_LIMIT, self.writer.write_all(&line))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(GuestChannelError::Send)
    }

    /// The guest's next message; `None` when the VM is gone. Lines that are none are skipped: a guest
    /// newer than we are may know more. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<GuestMessage>, GuestChannelError> {
        while let Some(line) = self.reader.next().await {
            let line = match line {
                Ok(line) => line,
                // A VM monitor that is killed resets the connection.
                Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(GuestChannelError::Receive(error)),
            };
            match serde_json::from_str(&line) {
                Ok(message) => return Ok(Some(message)),
                Err(error) => tracing::warn!(%error, "the guest sent a line that is no message"),
            }
        }
        Ok(None)
    }
}
