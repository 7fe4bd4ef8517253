//! Forwarded connections: the client names a TCP address or a Unix socket in the guest.

use super::relay::relay;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Target {
    Tcp(String, u32),
    Unix(PathBuf),
}

/// Connects first and accepts the channel then: a client learns at once that nobody listens.
pub(super) async fn run(channel: Channel<Msg>, reply: ChannelOpenHandle, target: Target) {
    match target {
        Target::Tcp(host, port) => {
            let Ok(port) = u16::try_from(port) else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            match timeout(CONNECT_DEADLINE, TcpStream::connect((host, port))).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    reply.accept().await;
                    relay(channel, stream, None).await;
                }
                _ => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        }
        Target::Unix(path) => match timeout(CONNECT_DEADLINE, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => {
                reply.accept().await;
                relay(channel, stream, None).await;
            }
            _ => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        },
    }
}
