//! Fetches one file over HTTP into memory: bounded, with deadlines, three tries and back-off.

use crate::report;
use std::time::Duration;

/// Tries before giving up; the pause doubles after each.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest silence in the middle of a transfer.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("Could not set up the HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("Could not fetch {url}")]
    Transfer { url: String, source: reqwest::Error },
    #[error("The mirror answered {status} for {url}")]
    Status { url: String, status: reqwest::StatusCode },
    #[error("{url} is larger than the {limit} bytes that it may have")]
    TooLarge { url: String, limit: u64 },
}

impl DownloadError {
    /// Whether the same request may succeed a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Transfer { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::Client(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// An HTTP client for one build.
#[derive(Debug)]
pub(crate) struct Downloader {
    client: reqwest::Client,
}

impl Downloader {
    /// Proxies come from the usual environment variables.
    pub(crate) fn new() -> Result<Self, DownloadError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("machine-images/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .read_timeout(READ_DEADLINE)
            // What is hashed is the file as stored, never a transfer encoding of it.
            .no_gzip()
            .build()
            .map_err(DownloadError::Client)?;
        Ok(Self { client })
    }

    /// The body of `url`, of at most `limit` bytes.
    pub(crate) async fn fetch(&self, url: &str, limit: u64) -> Result<Vec<u8>, DownloadError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.fetch_once(url, limit).await {
                Err(error) if error.is_passing() => {
                    report::warning(&format!("{error}; trying again in {} s", pause.as_secs()));
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.fetch_once(url, limit).await
    }

    /// As [`Self::fetch`] with a single try that ends within `deadline`: for a file that there is
    /// another copy of.
    pub(crate) async fn fetch_briefly(
        &self,
        url: &str,
        limit: u64,
        deadline: Duration,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        match tokio::time::timeout(deadline, self.fetch_once(url, limit)).await {
            Ok(outcome) => outcome.map(Some),
            Err(_elapsed) => Ok(None),
        }
    }

    async fn fetch_once(&self, url: &str, limit: u64) -> Result<Vec<u8>, DownloadError> {
        // The URL stands in our own sentence already.
        let transfer = |source: reqwest::Error| DownloadError::Transfer {
            url: url.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.client.get(url).send().await.map_err(transfer)?;
        if !response.status().is_success() {
            return Err(DownloadError::Status { url: url.to_owned(), status: response.status() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transfer)? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(DownloadError::TooLarge { url: url.to_owned(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
