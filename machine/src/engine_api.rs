//! The one question we ask a machine's engine ourselves: its version. Everything else is the business
//! of Docker's clients.

use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// Longest answer we read, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;

/// The engine's version, or none when it does not say within `limit`.
pub(crate) async fn version(socket: &Path, limit: Duration) -> Option<String> {
    let answer = timeout(limit, get(socket, "/version")).await.ok()?.ok()?;
    body_version(&answer)
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
async fn get(socket: &Path, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: machine\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn body_version(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1) != Some("200") {
        return None;
    }
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    document.get("Version")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_a_good_answer_only() {
        let answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Version\":\"1.2.3\"}";
        assert_eq!(body_version(answer).as_deref(), Some("1.2.3"));
        assert_eq!(body_version(b"HTTP/1.0 500 No\r\n\r\n{\"Version\":\"1\"}"), None);
        assert_eq!(body_version(b"nonsense"), None);
    }
}
