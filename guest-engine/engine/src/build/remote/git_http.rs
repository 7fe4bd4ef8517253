//! git's smart protocol over our own HTTP client, for a thread that blocks.

use bytes::{Buf, Bytes};
use gix::error::Result;
use gix_transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use std::{
    any::Any,
    io::{self, BufRead, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::runtime::Handle;

/// One conversation with a server.
#[derive(Debug)]
pub(super) struct Wire {
    client: Client,
    runtime: Handle,
    /// Only for the server it is meant for.
    token: Option<(String, HeaderValue)>,
    /// Where the server sent us to instead.
    moved: Option<String>,
}

/// A request that is sent when its answer is first looked at: by then it is complete.
#[derive(Debug)]
struct Exchange {
    runtime: Handle,
    request: Option<RequestBuilder>,
    body: Vec<u8>,
    response: Option<Response>,
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Exchange>>);

/// What is sent.
#[derive(Debug)]
pub(super) struct Sent(Shared);

/// The answer's headers as lines.
#[derive(Debug)]
pub(super) struct Headers {
    exchange: Shared,
    lines: Option<io::Cursor<Vec<u8>>>,
}

/// The answer.
#[derive(Debug)]
pub(super) struct Body {
    exchange: Shared,
    piece: Bytes,
    ended: bool,
}

impl Wire {
    /// `token` is for one origin only.
    pub(super) fn new(client: Client, runtime: Handle, token: Option<(String, HeaderValue)>) -> Self {
        Self { client, runtime, token, moved: None }
    }

    fn request<'a>(
        &self,
        method: reqwest::Method,
        url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str> + 'a>,
    ) -> RequestBuilder {
        let mut request = self.client.request(method, url);
        for line in headers {
            if let Some((name, value)) = line.as_ref().split_once(':') {
                request = request.header(name.trim(), value.trim());
            }
        }
        let origin = url.parse::<Url>().map(|url| url.origin().ascii_serialization());
        match &self.token {
            Some((server, token)) if origin.is_ok_and(|origin| origin == *server) => {
                request.header(AUTHORIZATION, token.clone())
            }
            _ => request,
        }
    }
}

impl Http for Wire {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = Sent;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<GetResponse<Headers, Body>> {
        let shared = Shared::new(self, self.request(reqwest::Method::GET, url, headers));
        let reached = shared.with(|exchange| exchange.begun().map(|response| response.url().to_string()));
        let reached = reached.map_err(gix::Error::from_error)?;
        if reached != url
            && let Some(tail) = url.strip_prefix(base_url)
            && let Some(base) = reached.strip_suffix(tail)
        {
            self.moved = Some(base.to_owned());
        }
        let (headers, body) = shared.answer();
        Ok(GetResponse { headers, body })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> Result<PostResponse<Headers, Body, Sent>> {
        let shared = Shared::new(self, self.request(reqwest::Method::POST, url, headers));
        let (headers, body) = shared.answer();
        Ok(PostResponse { post_body: Sent(shared), headers, body })
    }

    fn configure(&mut self, _config: &dyn Any) -> Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.moved.clone()
    }
}

impl Shared {
    fn new(wire: &Wire, request: RequestBuilder) -> Self {
        Self(Arc::new(Mutex::new(Exchange {
            runtime: wire.runtime.clone(),
            request: Some(request),
            body: Vec::new(),
            response: None,
        })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Exchange) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self) -> (Headers, Body) {
        let headers = Headers { exchange: self.clone(), lines: None };
        (headers, Body { exchange: self.clone(), piece: Bytes::new(), ended: false })
    }
}

impl Exchange {
    fn begun(&mut self) -> io::Result<&mut Response> {
        if let Some(request) = self.request.take() {
            let request = request.body(std::mem::take(&mut self.body));
            let response = self.runtime.block_on(request.send()).map_err(|error| innermost(&error))?;
            match response.status() {
                status if status.is_success() => self.response = Some(response),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(io::Error::other(
                        "the server wants to know who asks, or there is no such repository",
                    ));
                }
                status => return Err(io::Error::other(format!("the server answered {status}"))),
            }
        }
        self.response.as_mut().ok_or_else(|| io::Error::other("the request failed before"))
    }
}

fn innermost(error: &reqwest::Error) -> io::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    io::Error::other(cause.to_string())
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.with(|exchange| exchange.body.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.lines.is_none() {
            let lines = self.exchange.with(|exchange| {
                let mut lines = Vec::new();
                for (name, value) in exchange.begun()?.headers() {
                    lines.extend_from_slice(name.as_str().as_bytes());
                    lines.push(b':');
                    lines.extend_from_slice(value.as_bytes());
                    lines.push(b'\n');
                }
                Ok::<_, io::Error>(lines)
            })?;
            self.lines = Some(io::Cursor::new(lines));
        }
        match &mut self.lines {
            Some(lines) => lines.fill_buf(),
            None => Ok(&[]),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() && !self.ended {
            let piece = self.exchange.with(|exchange| {
                let runtime = exchange.runtime.clone();
                runtime.block_on(exchange.begun()?.chunk()).map_err(|error| innermost(&error))
            })?;
            match piece {
                Some(piece) => self.piece = piece,
                None => self.ended = true,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount);
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

fn read_buffered(from: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let there = from.fill_buf()?;
    let length = there.len().min(buffer.len());
    buffer[..length].copy_from_slice(&there[..length]);
    from.consume(length);
    Ok(length)
}
