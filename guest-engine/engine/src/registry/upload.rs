//! Blobs on their way to a registry.

use super::{Access, Failure, Session, session::describe};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Body, Method, Response, StatusCode, Url, header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many times the patience with a download: storing takes a registry longer than sending.
const SLOWER: u32 = 4;

/// Where a blob is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    location: Url,
    access: Access,
}

impl Session {
    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, name: &str, digest: &str) -> Result<bool, Failure> {
        let url = self.url(&format!("{name}/blobs/{digest}"))?;
        let access = Access::Push(name.to_owned());
        match self.send(Method::HEAD, &url, &access, |request| request).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Takes a blob over from another repository of the registry. `false` when that is not possible.
    pub(crate) async fn mount(&self, name: &str, digest: &str, from: &str) -> Result<bool, Failure> {
        let mut url = self.url(&format!("{name}/blobs/uploads/"))?;
        url.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
        let access = Access::Mount(name.to_owned(), from.to_owned());
        let answer = self.send_once(Method::POST, &url, &access, empty).await;
        match answer {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            Ok(response) => {
                // It began an upload instead, which nobody will go on with.
                if let Ok(location) = self.location(&response) {
                    let access = Access::Push(name.to_owned());
                    drop(self.send_once(Method::DELETE, &location, &access, |request| request).await);
                }
                Ok(false)
            }
            // Not ours to read, perhaps; sending it works in any case.
            Err(failure) => {
                tracing::debug!(%failure, digest, from, "The blob was not taken over");
                Ok(false)
            }
        }
    }

    /// Sends a blob that is known as a whole.
    pub(crate) async fn put_blob(&self, name: &str, digest: &str, bytes: &[u8]) -> Result<(), Failure> {
        let upload = self.begin(name).await?;
        let url = upload.finish_url(digest);
        self.send(Method::PUT, &url, &upload.access, |request| {
            request.header(header::CONTENT_TYPE, "application/octet-stream").body(bytes.to_vec())
        })
        .await?;
        Ok(())
    }

    /// Makes room for a blob.
    pub(crate) async fn begin(&self, name: &str) -> Result<Upload, Failure> {
        let url = self.url(&format!("{name}/blobs/uploads/"))?;
        let access = Access::Push(name.to_owned());
        let response = self.send(Method::POST, &url, &access, empty).await?;
        Ok(Upload { location: self.location(&response)?, access })
    }

    /// Where an upload that broke off goes on, and how much the registry has of it. `None` when that is
    /// nothing.
    pub(crate) async fn resume(&self, upload: &Upload) -> Result<Option<(Upload, u64)>, Failure> {
        let answer = self.send_once(Method::GET, &upload.location, &upload.access, |request| request).await;
        let response = match answer {
            Ok(response) => response,
            // It forgets them in time.
            Err(failure) if !failure.may_pass() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let range = response.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let last = range.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok()).unwrap_or(0);
        let location = self.location(&response).unwrap_or_else(|_| upload.location.clone());
        // `0-0` may be one byte or none.
        Ok((last > 0).then(|| (Upload { location, access: upload.access.clone() }, last + 1)))
    }

    /// Sends bytes as they are made. The registry names where the rest goes.
    pub(crate) async fn send_stream(
        &self,
        upload: &mut Upload,
        bytes: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), Failure> {
        let moved = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&moved);
        let body = Body::wrap_stream(bytes.inspect(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let location = upload.location.clone();
        let sending = self.send_body(
            |client| {
                client
                    .patch(location.clone())
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .body(body)
            },
            &upload.location,
            &upload.access,
        );
        let what = describe("Patch", &upload.location);
        let response = self.watched(sending, &moved, &what).await?;
        upload.location = self.location(&response)?;
        Ok(())
    }

    /// Says what was sent.
    pub(crate) async fn finish(&self, upload: &Upload, digest: &str) -> Result<(), Failure> {
        let url = upload.finish_url(digest);
        let sending = self.send_body(
            |client| client.put(url.clone()).header(header::CONTENT_LENGTH, 0),
            &url,
            &upload.access,
        );
        self.watched(sending, &AtomicU64::new(0), &describe("Put", &url)).await?;
        Ok(())
    }

    /// Gives up when nothing moves for too long.
    async fn watched(
        &self,
        sending: impl Future<Output = Result<Response, Failure>>,
        moved: &AtomicU64,
        what: &str,
    ) -> Result<Response, Failure> {
        let patience: Duration = self.patience * SLOWER;
        tokio::pin!(sending);
        let mut before = moved.load(Ordering::Relaxed);
        loop {
            match tokio::time::timeout(patience, &mut sending).await {
                Ok(answer) => return answer,
                Err(_) => {
                    let now = moved.load(Ordering::Relaxed);
                    if now == before {
                        return Err(Failure::Stalled { what: what.to_owned() });
                    }
                    before = now;
                }
            }
        }
    }
}

impl Upload {
    fn finish_url(&self, digest: &str) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", digest);
        url
    }
}

/// Servers want to be told that there is no body.
fn empty(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header(header::CONTENT_LENGTH, 0)
}
