//! Connections that stop being HTTP: attach and exec-start turn into a two-way byte stream.
//!
//! With `Upgrade` in the request the answer is `101 UPGRADED` and the stream is the connection itself:
//! bytes that the client sent right behind its headers are not lost, and either side may half-close.
//! Without it dockerd answers `200 OK` and takes the connection over all the same; hyper cannot, so such
//! a client gets the output as the body of a `200` and has no stdin. docker CLI, docker-py, bollard and
//! testcontainers all send `Upgrade`.

use super::{frames::Framing, peer::Peer, version::ApiVersion};
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, Response as HttpResponse, StatusCode, header, request::Parts},
    response::Response,
};
use hyper::{ext::ReasonPhrase, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::{
    io::ReaderStream,
    sync::{CancellationToken, DropGuard},
};

/// How many bytes may wait for a client that reads the output as a plain body.
const BODY_BUFFER: usize = 64 * 1024;
/// What the rest of the work gets once the client is gone and its input has been read.
const GRACE: Duration = Duration::from_secs(1);
/// How long a client may go on sending after the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The extractor: what the request allows.
#[derive(Debug)]
pub struct Hijack {
    upgrade: Option<OnUpgrade>,
    peer: Option<Arc<Peer>>,
    version: ApiVersion,
}

/// The client's side of a hijacked connection.
pub struct HijackedIo {
    /// What the client sends; ends when it half-closes. Empty without `Upgrade`. Drop it when input is
    /// not wanted.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the client sees; shutting it down half-closes.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl HijackedIo {
    /// Ends the conversation: the client sees the end, and what it still sends is nobody's.
    pub async fn close(mut self) {
        // The client may be gone; then there is nobody left to tell.
        self.writer.shutdown().await.ok();
        discard(self.reader);
    }
}

/// Reads to the end what nobody wants, for a while. A connection that is closed with input unread is reset,
/// and its client loses output that it has not read yet.
pub fn discard(mut reader: Box<dyn AsyncRead + Send + Unpin>) {
    tokio::spawn(tokio::time::timeout(FAREWELL, async move {
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.ok();
    }));
}

impl fmt::Debug for HijackedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HijackedIo").finish_non_exhaustive()
    }
}

impl Hijack {
    /// Whether the client can send anything.
    pub fn has_input(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Answers, then hands the connection to `serve` in a task of its own. The connection closes when
    /// `serve` returns. `serve` is dropped when the client is gone altogether and all that it had sent
    /// has been read (or the reader dropped). Everything that can fail with a status must have been checked before.
    pub fn respond<F, S>(self, framing: Framing, serve: F) -> Response
    where
        F: FnOnce(HijackedIo) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let content_type = HeaderValue::from_static(framing.content_type(self.version));
        let Some(upgrade) = self.upgrade else {
            let (body, writer) = tokio::io::duplex(BODY_BUFFER);
            tokio::spawn(serve(HijackedIo {
                reader: Box::new(tokio::io::empty()),
                writer: Box::new(writer),
            }));
            let mut response = HttpResponse::new(Body::from_stream(ReaderStream::new(body)));
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            return response;
        };
        let peer = self.peer;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(io) => {
                    let (inner, writer) = tokio::io::split(TokioIo::new(io));
                    let ended = CancellationToken::new();
                    let reader = Input { inner, ended: Some(ended.clone().drop_guard()) };
                    let io = HijackedIo { reader: Box::new(reader), writer: Box::new(writer) };
                    tokio::select! {
                        () = serve(io) => {}
                        () = abandoned(peer, ended) => tracing::debug!("Client of a hijacked connection left"),
                    }
                }
                // The client left between request and answer.
                Err(error) => tracing::debug!(%error, "Connection was not taken over"),
            }
        });
        let mut response = HttpResponse::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Hijack {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let version = ApiVersion::from_request_parts(parts, state).await?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let asked = parts.headers.contains_key(header::UPGRADE);
        let peer = parts.extensions.get::<Arc<Peer>>().cloned();
        Ok(Self { upgrade: upgrade.filter(|_| asked), peer, version })
    }
}

async fn abandoned(peer: Option<Arc<Peer>>, input_ended: CancellationToken) {
    match peer {
        Some(peer) => peer.gone().await,
        None => std::future::pending().await,
    }
    input_ended.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// The client's input, which tells when it has ended or nobody wants it.
struct Input<R> {
    inner: R,
    ended: Option<DropGuard>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        match &polled {
            Poll::Ready(Ok(())) if room == 0 || buffer.filled().len() > before => {}
            Poll::Ready(_) => drop(self.ended.take()),
            Poll::Pending => {}
        }
        polled
    }
}
