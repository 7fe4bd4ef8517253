//! A blob on its way here: resumed where a connection broke, given up when nothing comes any more.

use super::{Access, Failure, Session, backoff::Backoff, session::describe};
use crate::image::config;
use bytes::{Buf, Bytes};
use reqwest::{Method, Response, StatusCode, Url, header};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// See the module. Gives exactly as many bytes as were announced; what they are is checked by who reads.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    session: &'a Session,
    url: Url,
    access: Access,
    digest: String,
    size: u64,
    got: u64,
    /// Of the current connection: bytes that we have already.
    skip: u64,
    response: Option<Response>,
    backoff: Backoff,
}

impl<'a> Download<'a> {
    /// Nothing is asked for yet.
    pub(crate) fn new(session: &'a Session, name: &str, digest: &str, size: u64) -> Result<Self, Failure> {
        if !config::is_sha256(digest) {
            return Err(Failure::Content(format!("digest {digest:?} is not supported")));
        }
        Ok(Self {
            session,
            url: session.url(&format!("{name}/blobs/{digest}"))?,
            access: Access::Pull(name.to_owned()),
            digest: digest.to_owned(),
            size,
            got: 0,
            skip: 0,
            response: None,
            backoff: Backoff::default(),
        })
    }

    /// The next bytes, `None` behind the last. `waiting` hears of every pause before another attempt.
    pub(crate) async fn next(&mut self, mut waiting: impl FnMut(Duration)) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.got == self.size {
                return Ok(None);
            }
            match self.piece().await {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    self.backoff.reset();
                    return Ok(Some(piece));
                }
                Err(failure) => {
                    self.response = None;
                    let Some(delay) = self.backoff.after(&failure) else { return Err(self.named(failure)) };
                    tracing::debug!(%failure, ?delay, digest = self.digest, "The download goes on later");
                    waiting(delay);
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn piece(&mut self) -> Result<Bytes, Failure> {
        if self.response.is_none() {
            self.response = Some(self.open().await?);
        }
        let Some(response) = &mut self.response else { return Ok(Bytes::new()) };
        let what = || describe("Get", &self.url);
        let piece = tokio::time::timeout(self.session.patience, response.chunk())
            .await
            .map_err(|_| Failure::Stalled { what: what() })?
            .map_err(|error| Failure::of_request(&what(), &error))?;
        let Some(mut piece) = piece else {
            let cause = format!("unexpected EOF after {} of {} bytes", self.got, self.size);
            return Err(Failure::Unreachable { what: what(), cause });
        };
        let skipped = self.skip.min(piece.len() as u64);
        self.skip -= skipped;
        piece.advance(usize::try_from(skipped).unwrap_or(piece.len()));
        if piece.len() as u64 > self.size - self.got {
            return Err(Failure::Content(format!("it is longer than the {} bytes announced", self.size)));
        }
        self.got += piece.len() as u64;
        Ok(piece)
    }

    async fn open(&mut self) -> Result<Response, Failure> {
        let got = self.got;
        let response = self
            .session
            .send_once(Method::GET, &self.url, &self.access, |request| match got {
                0 => request,
                got => request.header(header::RANGE, format!("bytes={got}-")),
            })
            .await?;
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT;
        if resumed {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
            if range.is_some_and(|range| !range.starts_with(&format!("bytes {got}-"))) {
                return Err(Failure::Content("the registry sent another part than asked for".to_owned()));
            }
        }
        // Some do not know ranges: what we have comes again.
        self.skip = if resumed { 0 } else { got };
        let expected = self.size - if resumed { got } else { 0 };
        match response.content_length() {
            Some(length) if length != expected => Err(Failure::Content(format!(
                "the registry has {length} bytes where {expected} were announced"
            ))),
            _ => Ok(response),
        }
    }

    fn named(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Content(why) => Failure::Content(format!("blob {}: {why}", self.digest)),
            Failure::Refused { status: StatusCode::NOT_FOUND, .. } => {
                Failure::Content(format!("blob {} is not in the registry: {failure}", self.digest))
            }
            Failure::Refused { .. } => Failure::Content(format!("blob {}: {failure}", self.digest)),
            // These name its URL.
            other => other,
        }
    }
}

impl Session {
    /// A small blob as a whole, checked.
    pub(crate) async fn small_blob(
        &self,
        name: &str,
        digest: &str,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, Failure> {
        if size > limit {
            return Err(Failure::Content(format!("blob {digest} is larger than {limit} bytes")));
        }
        let mut download = Download::new(self, name, digest, size)?;
        let (mut bytes, mut hash) = (Vec::new(), Sha256::new());
        while let Some(piece) = download.next(|_| {}).await? {
            hash.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        let found = config::named(hash.finalize().as_ref());
        if found != digest {
            return Err(Failure::Content(format!(
                "blob verification failed for digest {digest}: its content is {found}"
            )));
        }
        Ok(bytes)
    }
}
