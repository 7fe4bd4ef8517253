//! The accept loop: HTTP/1.1 with upgrades and half-close, HTTP/2 by prior knowledge, on unix sockets.
//!
//! One task per connection. Heads are bounded in size and time, idle connections are closed, and the
//! number of connections is bounded: beyond it new ones wait in the kernel's backlog. When `stop` is
//! cancelled no new connection is accepted, idle ones close, and answers in progress get a little time.

use super::{peer::Peer, service};
use axum::{Router, extract::Request};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A docker CLI uses five for a `run`; compose some dozens.
const MAX_CONNECTIONS: usize = 4096;
/// From the first byte (or the end of the previous answer) to the end of the next head. Also what closes
/// idle keep-alive connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(180);
/// Bytes of one request head.
const HEAD_LIMIT: usize = 256 * 1024;
/// What answers in progress get when the server stops.
const GRACE: Duration = Duration::from_secs(3);
/// Pause after a failed accept (out of descriptors): try again, do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, then returns once the connections have ended or [`GRACE`] is over.
pub async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    serve_connection(stream, router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::info!(open = connections.len(), "Closing connections that are still busy");
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve_connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128).keep_alive_interval(None);
    let peer = match Peer::of(&stream) {
        Ok(peer) => Arc::new(peer),
        Err(error) => return tracing::warn!(%error, "Could not watch a connection"),
    };
    let watched = Arc::clone(&peer);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, peer) = (router.clone(), Arc::clone(&watched));
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            Ok::<_, Infallible>(service::handle(router, request).await)
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        // Half-close is allowed, so hyper goes on when it reads the end; a quiet stream (`docker events`)
        // would never notice that nobody listens any more.
        () = peer.gone() => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client's doing nearly always: it went away or did not speak HTTP.
        tracing::debug!(%error, "Connection ended early");
    }
}
