//! `GET /_ping`, asked the way a client would.

use super::{TunnelError, forward, pool::Pool};
use russh::ChannelMsg;
use std::time::Duration;
use tokio::time::timeout;

/// The engine answers this without doing anything; an emulated guest under load may be slow to.
const LIMIT: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: machine\r\nConnection: close\r\n\r\n";
/// No status line is longer.
const STATUS_LINE: usize = 128;

pub(super) async fn ping(pool: &Pool, target: &str) -> Result<(), TunnelError> {
    timeout(LIMIT, exchange(pool, target)).await.map_err(|_| TunnelError::Silent { limit: LIMIT })?
}

async fn exchange(pool: &Pool, target: &str) -> Result<(), TunnelError> {
    let (connection, channel) = forward::open(pool, target).await?;
    let (mut reader, writer) = channel.split();
    let request = bytes::Bytes::from_static(REQUEST);
    writer.data_bytes(request).await.map_err(|error| TunnelError::Ssh(error.into()))?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => answer.extend_from_slice(&data),
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => break,
            Some(_) => {}
        }
    }
    // An SSH server closes a channel once both its directions have ended. Not before the answer: HTTP servers take
    // the end of a client's words for its leaving.
    _ = writer.eof().await;
    if forward::closed(&mut reader, &writer).await {
        pool.give_back(connection);
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim().to_owned();
    if is_ok(&line) { Ok(()) } else { Err(TunnelError::Ping { answer: line }) }
}

fn is_ok(status_line: &str) -> bool {
    let mut words = status_line.split(' ');
    words.next().is_some_and(|version| version.starts_with("HTTP/1.")) && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use super::is_ok;

    #[test]
    fn only_a_plain_200_is_an_answer() {
        assert!(is_ok("HTTP/1.1 200 OK"));
        for other in ["", "HTTP/1.1 503 Service Unavailable", "200", "HTTP/1.1", "SSH-2.0-x 200"] {
            assert!(!is_ok(other), "{other}");
        }
    }
}
