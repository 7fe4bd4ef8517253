//! A file of an HTTP server.

use crate::{
    error::{EngineError, Result},
    registry::{Failure, describe},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use reqwest::{Client, Response, StatusCode, Url, header};
use std::io;

/// Bytes of an error page that are shown.
const SHOWN: usize = 1024;

/// One that has begun: the server said that it has it.
#[derive(Debug)]
pub(in crate::build) struct Download {
    response: Response,
}

impl Download {
    pub(super) async fn begin(client: &Client, url: &Url) -> Result<Self> {
        let shown = without_password(url);
        let response = client.get(url.clone()).send().await.map_err(|e| unreached(url, &e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Self { response });
        }
        let readable = response.headers().get(header::CONTENT_TYPE);
        let readable = readable.is_none_or(|kind| kind.to_str().is_ok_and(|kind| !kind.contains("html")));
        let mut page = response.bytes().await.unwrap_or_default();
        page.truncate(SHOWN);
        let mut message = format!("failed to GET {shown} with status {status}");
        if readable && !page.is_empty() {
            message.push_str(&format!(": {}", String::from_utf8_lossy(&page).trim()));
        }
        Err(match status {
            StatusCode::NOT_FOUND => EngineError::not_found(message),
            _ => EngineError::invalid(message),
        })
    }

    /// The last part of its URL; empty when that has none.
    pub(in crate::build) fn name(url: &Url) -> String {
        let last = url.path().rsplit('/').next().unwrap_or_default();
        percent_decoded(last).replace('/', "_")
    }

    /// When the server says that it was changed, in seconds.
    pub(in crate::build) fn modified(&self) -> Option<i64> {
        let text = self.response.headers().get(header::LAST_MODIFIED)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp().as_second())
    }

    /// Its content.
    pub(in crate::build) fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        Box::pin(self.response.bytes_stream().map(|piece| piece.map_err(io::Error::other)))
    }
}

/// No answer: why.
fn unreached(url: &Url, error: &reqwest::Error) -> EngineError {
    let mut shown = url.clone();
    // Only URLs that cannot have one refuse.
    let _has_none = shown.set_password(None);
    EngineError::invalid(Failure::of_request(&describe("Get", &shown), error).to_string())
}

pub(super) fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Only URLs that cannot have one refuse.
        let _has_none = shown.set_password(Some("xxxxx"));
    }
    shown.to_string()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_urls_last_part() {
        for (url, name) in
            [("http://a/b/c.txt?q=1#x", "c.txt"), ("http://a/b%20c%2", "b c%2"), ("http://a/", "")]
        {
            assert_eq!(Download::name(&url.parse().unwrap()), name, "{url}");
        }
        assert_eq!(without_password(&"http://me:pw@a/b".parse().unwrap()), "http://me:xxxxx@a/b");
    }
}
