//! Connections to a shim.

use crate::shim::{
    config::SOCKET_FILE,
    protocol::{Reply, Request, line},
};
use bytes::{Bytes, BytesMut};
use engine::ports::{OutputFrame, OutputStream, RuntimeError, StreamKind};
use futures_util::stream;
use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// A shim answers out of a loop that never waits.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Both directions of a connection whose request has been sent.
pub(super) struct Connection {
    pub reader: BufReader<OwnedReadHalf>,
    pub writer: OwnedWriteHalf,
}

impl Connection {
    /// Connects to the shim of `folder` and sends it `request`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused`: there is no shim.
    pub(super) async fn open(folder: &Path, request: &Request) -> io::Result<Self> {
        // The path may be longer than a socket address; the one through /proc never is.
        let handle = File::open(folder)?;
        let address = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", handle.as_raw_fd()));
        let stream = UnixStream::connect(address).await?;
        let (reader, mut writer) = stream.into_split();
        writer.write_all(&line(request)).await?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, reader), writer })
    }

    /// The next reply; `None` when the shim has gone.
    pub(super) async fn reply(&mut self) -> io::Result<Option<Reply>> {
        let mut text = Vec::new();
        match self.reader.read_until(b'\n', &mut text).await {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        };
        Ok(Some(serde_json::from_slice(&text)?))
    }
}

/// One request, one reply. `None` when there is no shim any more.
pub(super) async fn ask(folder: &Path, request: &Request) -> Result<Option<Reply>, RuntimeError> {
    let asked = timeout(ANSWER_DEADLINE, async { Connection::open(folder, request).await?.reply().await });
    match asked.await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) if no_shim(&error) => Ok(None),
        Ok(Err(error)) => Err(RuntimeError::System(format!("could not reach the shim: {error}"))),
        Err(_) => Err(RuntimeError::System("the shim did not answer in time".to_owned())),
    }
}

/// The error says that nobody listens there.
pub(super) fn no_shim(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

/// The frames of an attached connection. `writer` is only kept open.
pub(super) fn frames(reader: BufReader<OwnedReadHalf>, writer: Option<OwnedWriteHalf>) -> OutputStream {
    Box::pin(stream::unfold(Some((reader, writer)), |state| async {
        let (mut reader, writer) = state?;
        match frame(&mut reader).await {
            Ok(Some(frame)) => Some((Ok(frame), Some((reader, writer)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

async fn frame(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<OutputFrame>> {
    let mut header = [0_u8; 8];
    match reader.read_exact(&mut header).await {
        Ok(_) => {}
        // A shim that is killed ends its streams in the middle of whatever it was doing.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let stream = if header[0] == 2 { StreamKind::Stderr } else { StreamKind::Stdout };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let mut data = BytesMut::zeroed(length);
    reader.read_exact(&mut data).await?;
    Ok(Some(OutputFrame { stream, data: Bytes::from(data) }))
}
