//! One client, from accept to close.
//!
//! Both directions are copied at their own pace and end on their own: the client's end of input
//! (`docker run -i < file`) becomes the channel's, and the other way round. Back-pressure is the
//! window's: a client that does not read stops its own SSH connection and nobody else's.

use super::pool::Pool;
use crate::ssh::{Connection, SshError};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::OwnedFd,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

/// How long a client waits for an engine that restarts.
const ENGINE_LIMIT: Duration = Duration::from_secs(5);
/// The engine's and the server's answer to a client's end; without it the connection is not used again.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// Read from the client at once: fits one SSH packet.
const CHUNK: usize = 60 * 1024;
/// Packets written to the client at once.
const BATCH: usize = 16;

/// A client: what it says, what it hears, and how to tell that it has gone when it has said its last word.
pub(super) struct Client<I, O, G> {
    pub(super) input: I,
    pub(super) output: O,
    pub(super) gone: G,
}

/// Carries `client` to `target`. Returns when both ends are done, or an error when it could not begin.
pub(super) async fn forward<I, O, G>(
    client: Client<I, O, G>,
    pool: &Pool,
    target: &str,
) -> Result<(), SshError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    G: Future<Output = ()>,
{
    let (connection, channel) = open(pool, target).await?;
    carry(client, pool, connection, channel).await;
    Ok(())
}

/// Carries `client` to a TCP address in the machine. Nobody waits for a program that does not listen (yet).
pub(super) async fn forward_to_address<I, O, G>(
    client: Client<I, O, G>,
    pool: &Pool,
    target: SocketAddr,
) -> Result<(), SshError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    G: Future<Output = ()>,
{
    let mut connection = pool.take().await?;
    let mut channel = connection.open_address(target).await;
    // A warm connection may have died unnoticed.
    if let Err(SshError::Lost | SshError::Timeout { .. }) = channel {
        connection = pool.take().await?;
        channel = connection.open_address(target).await;
    }
    match channel {
        Ok(channel) => {
            carry(client, pool, connection, channel).await;
            Ok(())
        }
        Err(error) => {
            if let SshError::Target { .. } = error {
                pool.give_back(connection);
            }
            Err(error)
        }
    }
}

async fn carry<I, O, G>(client: Client<I, O, G>, pool: &Pool, connection: Connection, channel: Channel<Msg>)
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    G: Future<Output = ()>,
{
    let (mut reader, writer) = channel.split();
    // The client is closed in there: its close must not wait for the server's.
    copy(client, &mut reader, &writer).await;
    if closed(&mut reader, &writer).await && connection.is_alive() {
        pool.give_back(connection);
    } else {
        connection.close().await;
    }
}

/// A channel to `target`; waits for an engine that is just restarting.
pub(super) async fn open(pool: &Pool, target: &str) -> Result<(Connection, Channel<Msg>), SshError> {
    let deadline = Instant::now() + ENGINE_LIMIT;
    let mut pause = Duration::from_millis(20);
    let mut connection = pool.take().await?;
    loop {
        let error = match connection.open_socket(target).await {
            Ok(channel) => return Ok((connection, channel)),
            Err(error) => error,
        };
        if Instant::now() + pause > deadline {
            return Err(error);
        }
        match error {
            SshError::Target { .. } => sleep(pause).await,
            // A warm connection may have died unnoticed.
            SshError::Lost | SshError::Timeout { .. } => connection = pool.take().await?,
            other => return Err(other),
        }
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Ends the channel after its input has ended. Whether the server closed it by itself, so that the
/// connection holds nothing of it any more; once we close it first, russh does not tell of the server's
/// answer.
pub(super) async fn closed(reader: &mut ChannelReadHalf, writer: &ChannelWriteHalf<Msg>) -> bool {
    let farewell = async { while !matches!(reader.wait().await, Some(ChannelMsg::Close) | None) {} };
    let agreed = timeout(CLOSE_LIMIT, farewell).await.is_ok();
    if !agreed {
        // Fails when the session has ended, which closes it as well.
        _ = writer.close().await;
    }
    agreed
}

/// Returns when the server closed the channel, the session ended or the client left.
async fn copy<I, O, G>(client: Client<I, O, G>, reader: &mut ChannelReadHalf, writer: &ChannelWriteHalf<Msg>)
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    G: Future<Output = ()>,
{
    let Client { input, output, gone } = client;
    let up = async {
        if upload(input, writer).await.is_ok() && writer.eof().await.is_ok() {
            // The client may have ended its input only, or be gone altogether; an idle
            // `docker logs -f` must not stay open in the engine when its terminal has been closed.
            gone.await;
        }
    };
    tokio::select! {
        () = up => {}
        _ = download(reader, output) => {}
    }
}

async fn upload(mut input: impl AsyncRead + Unpin, writer: &ChannelWriteHalf<Msg>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if (&mut input).take(CHUNK as u64).read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let chunk: Bytes = buffer.split().freeze();
        writer.data_bytes(chunk).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
    }
}

async fn download(reader: &mut ChannelReadHalf, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut batch = VecDeque::with_capacity(BATCH);
    loop {
        let mut message = Some(reader.wait().await);
        // What has arrived meanwhile goes out in the same system call.
        while let Some(Some(ChannelMsg::Data { data })) = message {
            batch.push_back(data);
            message = if batch.len() < BATCH { reader.wait().now_or_never() } else { None };
        }
        write_all(&mut output, &mut batch).await?;
        // TLS keeps what it has not been asked to send.
        output.flush().await?;
        match message {
            Some(Some(ChannelMsg::Eof)) => output.shutdown().await?,
            Some(Some(ChannelMsg::Close) | None) => return Ok(()),
            Some(Some(_)) | None => {}
        }
    }
}

async fn write_all(output: &mut (impl AsyncWrite + Unpin), batch: &mut VecDeque<Bytes>) -> io::Result<()> {
    // A packet of no data would be taken for a socket that accepts none.
    batch.retain(|data| !data.is_empty());
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); BATCH];
        for (slice, data) in slices.iter_mut().zip(batch.iter()) {
            *slice = IoSlice::new(data);
        }
        let mut written = output.write_vectored(&slices[..batch.len()]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = batch.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            batch.pop_front();
        }
    }
    Ok(())
}

/// Resolves when the peer of `socket`, a duplicate of the client's, has closed both directions.
pub(super) async fn hung_up(socket: io::Result<OwnedFd>) {
    // Only its readiness is looked at, which is the same for every kind of stream socket.
    let Ok(socket) = socket.and_then(|socket| UnixStream::from_std(socket.into())) else {
        return std::future::pending().await;
    };
    loop {
        match socket.ready(Interest::WRITABLE).await {
            Ok(ready) if !ready.is_write_closed() => {
                _ = socket.try_io(Interest::WRITABLE, || -> io::Result<()> {
                    Err(io::ErrorKind::WouldBlock.into())
                });
            }
            _ => return,
        }
    }
}
