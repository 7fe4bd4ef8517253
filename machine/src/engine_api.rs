//! The one question we ask a machine's engine ourselves: its version. Everything else is the business
//! of Docker's clients.

use crate::endpoint::{Endpoint, TlsError};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Longest answer we read, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;

/// The engine did not say its version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nobody is there, or not whom we look for.
    #[error("Could not connect to {url}")]
    Connect {
        url: String,
        #[source]
        source: TlsError,
    },
    /// The connection broke.
    #[error("The engine at {url} hung up")]
    Lost {
        url: String,
        #[source]
        source: std::io::Error,
    },
    /// It said something else.
    #[error("The engine at {url} did not say its version")]
    Answer { url: String },
    /// It is too slow.
    #[error("The engine at {url} did not answer within {:.1} s", .limit.as_secs_f64())]
    Silent { url: String, limit: Duration },
}

/// The engine's version, if it says so within `limit`.
pub(crate) async fn version(endpoint: &Endpoint, limit: Duration) -> Result<String, ApiError> {
    let url = endpoint.url();
    let asked = timeout(limit, async {
        let stream =
            endpoint.connect().await.map_err(|source| ApiError::Connect { url: url.clone(), source })?;
        let answer =
            get(stream, "/version").await.map_err(|source| ApiError::Lost { url: url.clone(), source })?;
        body_version(&answer).ok_or_else(|| ApiError::Answer { url: url.clone() })
    });
    asked.await.unwrap_or_else(|_| Err(ApiError::Silent { url: url.clone(), limit }))
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: machine\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer).await {
        // TLS without its goodbye; the body says itself whether it is whole.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
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
