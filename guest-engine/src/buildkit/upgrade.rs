//! `Upgrade: h2c`: the connection becomes HTTP/2, with us as its server or as its client.

use axum::{
    Router,
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::{
    rt::{Read, ReadBufCursor, Write},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{rt::TokioExecutor, service::TowerToHyperService};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

/// Bytes that a peer may send ahead on one stream.
const WINDOW: u32 = 4 << 20;
/// Builds keep a stream or two each; probes come and go.
const STREAMS: u32 = 1024;

/// The extractor.
#[derive(Debug)]
pub(super) struct Upgrade(Option<OnUpgrade>);

impl Upgrade {
    /// Serves the connection.
    pub(super) fn serve(self, router: Router) -> Response {
        self.then(move |io| async move {
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_concurrent_streams(STREAMS)
                .serve_connection(io, TowerToHyperService::new(router))
                .await;
            if let Err(error) = served {
                // The client's doing nearly always: it went away.
                tracing::debug!(%error, "A gRPC connection ended early");
            }
        })
    }

    /// Becomes the connection's client. `use_channel` also gets a token that is cancelled when it ends.
    pub(super) fn connect(
        self,
        use_channel: impl FnOnce(Channel, CancellationToken) + Send + 'static,
    ) -> Response {
        self.then(move |io| async move {
            let gone = CancellationToken::new();
            let mut io = Some(Watched { io, _guard: gone.clone().drop_guard() });
            // It is there already, and there is only this one.
            let connector = tower::service_fn(move |_| {
                std::future::ready(io.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
            });
            let endpoint = Endpoint::from_static("http://session")
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            match endpoint.connect_with_connector(connector).await {
                Ok(channel) => use_channel(channel, gone),
                Err(error) => tracing::debug!(%error, "A session ended before it began"),
            }
        })
    }

    fn then<F, S>(self, work: F) -> Response
    where
        F: FnOnce(Upgraded) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let Some(upgrade) = self.0 else {
            return (StatusCode::BAD_REQUEST, "the request must ask for an upgrade to h2c").into_response();
        };
        tokio::spawn(async move {
            match upgrade.await {
                Ok(io) => work(io).await,
                Err(error) => tracing::debug!(%error, "A connection was not upgraded"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("h2c"));
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let asked = parts.headers.get(header::UPGRADE).is_some_and(|value| value == "h2c");
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        Ok(Self(upgrade.filter(|_| asked)))
    }
}

/// A connection that tells when it is let go of.
struct Watched {
    io: Upgraded,
    _guard: DropGuard,
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
