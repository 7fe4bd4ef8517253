//! Output on the wire: a terminal's bytes go raw, two streams are multiplexed behind 8-byte headers.

use super::version::ApiVersion;
use bytes::{BufMut, Bytes, BytesMut};
use engine::ports::{OutputFrame, StreamKind};
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// How output is put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As it is: what a terminal wrote.
    Raw,
    /// `[stream, 0, 0, 0, length (4 bytes, big endian)]` before each piece.
    Multiplexed,
}

impl Framing {
    /// Terminals are raw, everything else is multiplexed.
    pub fn for_terminal(terminal: bool) -> Self {
        if terminal { Self::Raw } else { Self::Multiplexed }
    }

    /// The content type that announces it; multiplexing has a name of its own since API 1.42.
    pub fn content_type(self, version: ApiVersion) -> &'static str {
        match self {
            Self::Multiplexed if version.at_least(42) => "application/vnd.docker.multiplexed-stream",
            _ => "application/vnd.docker.raw-stream",
        }
    }

    /// The bytes of one piece of output.
    pub fn encode(self, stream: StreamKind, data: &Bytes) -> Bytes {
        match self {
            Self::Raw => data.clone(),
            Self::Multiplexed => {
                let mut framed = BytesMut::with_capacity(HEADER + data.len());
                framed.put_slice(&header(stream, data.len()));
                framed.put_slice(data);
                framed.freeze()
            }
        }
    }

    /// The bytes of several pieces, one behind the other.
    pub fn encode_all(self, frames: &[OutputFrame]) -> Bytes {
        let size = frames.iter().map(|frame| frame.data.len() + HEADER).sum();
        let mut all = BytesMut::with_capacity(size);
        for frame in frames {
            if self == Self::Multiplexed {
                all.put_slice(&header(frame.stream, frame.data.len()));
            }
            all.put_slice(&frame.data);
        }
        all.freeze()
    }

    /// Writes one piece of output and flushes it.
    pub async fn write<W: AsyncWrite + Unpin + ?Sized>(
        self,
        writer: &mut W,
        frame: &OutputFrame,
    ) -> io::Result<()> {
        writer.write_all(&self.encode(frame.stream, &frame.data)).await?;
        writer.flush().await
    }
}

const HEADER: usize = 8;

fn header(stream: StreamKind, length: usize) -> [u8; HEADER] {
    let stream = match stream {
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    // Pieces come from pipe and file reads: far below 4 GiB.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn multiplexed_pieces_carry_stream_and_length() {
        let frame = OutputFrame { stream: StreamKind::Stderr, data: Bytes::from_static(b"hi!") };
        let mut wire = Vec::new();
        Framing::for_terminal(false).write(&mut wire, &frame).await.unwrap();
        assert_eq!(wire, [2, 0, 0, 0, 0, 0, 0, 3, b'h', b'i', b'!']);
        assert_eq!(Framing::for_terminal(true).encode(frame.stream, &frame.data), "hi!");
    }

    #[test]
    fn old_clients_are_told_raw() {
        assert_eq!(
            Framing::Multiplexed.content_type(ApiVersion::new(1, 41)),
            "application/vnd.docker.raw-stream"
        );
        assert_eq!(
            Framing::Multiplexed.content_type(ApiVersion::new(1, 42)),
            "application/vnd.docker.multiplexed-stream"
        );
    }
}
