//! Bytes between a channel and a stream, both ways at once, each way ending on its own.
//!
//! An end of one direction is passed on as an end of that direction alone. The channel's *close*
//! (or the loss of the connection) ends both at once, even when the stream is silent.

use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER: usize = 64 << 10;

/// Whether the other side can still be talked to.
#[derive(Debug, PartialEq, Eq)]
enum Peer {
    Finished,
    Gone,
}

/// Relays until both directions have ended or the channel is gone, then closes the channel, with an
/// exit status if there is one to tell.
pub(super) async fn relay(
    channel: Channel<Msg>,
    stream: impl AsyncRead + AsyncWrite + Send,
    exit_status: Option<u32>,
) {
    let (mut channel_reader, channel_writer) = channel.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut out = channel_writer.make_writer();
    {
        let inward = receive(&mut channel_reader, &mut writer);
        let outward = async {
            let _ = copy(&mut reader, &mut out).await;
            let _ = channel_writer.eof().await;
        };
        tokio::pin!(inward);
        tokio::pin!(outward);
        let ended = tokio::select! {
            peer = &mut inward => Some(peer),
            () = &mut outward => None,
        };
        match ended {
            None => {
                inward.await;
            }
            Some(Peer::Gone) => {}
            Some(Peer::Finished) => outward.await,
        }
    }
    if let Some(status) = exit_status {
        let _ = channel_writer.exit_status(status).await;
    }
    let _ = channel_writer.close().await;
}

/// What the client sends, until it says that this is all, or is gone. A stream that takes nothing
/// any more does not end the connection: what it has to say may still be on its way.
async fn receive(from: &mut ChannelReadHalf, to: &mut (impl AsyncWrite + Unpin)) -> Peer {
    let mut broken = false;
    loop {
        match from.wait().await {
            Some(ChannelMsg::Data { data }) if !broken => broken = to.write_all(&data).await.is_err(),
            Some(ChannelMsg::Eof) => {
                let _ = to.shutdown().await;
                return Peer::Finished;
            }
            Some(ChannelMsg::Close) | None => return Peer::Gone,
            Some(_) => {}
        }
    }
}

/// Copies and flushes whenever the source pauses; the channel's window is the back-pressure.
pub(super) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}
