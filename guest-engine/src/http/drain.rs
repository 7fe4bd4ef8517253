//! Request bodies that a handler gives up on are still read for a moment.
//!
//! A client that is sending sees a broken pipe instead of the answer when the server closes with its bytes
//! unread.

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::runtime::Handle;

/// How long a client may go on sending what nobody wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// The body, with the rest of it drained when it is dropped before its end.
pub(super) fn drained(body: Body) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::new(Drained { body, runtime: Handle::current(), ended: false }),
    }
}

struct Drained {
    body: Body,
    runtime: Handle,
    ended: bool,
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        let mut rest = mem::take(&mut self.body).into_data_stream();
        self.runtime.spawn(async move {
            let all = async { while let Some(Ok(_)) = rest.next().await {} };
            // Whoever sends longer than this sees the connection close.
            tokio::time::timeout(PATIENCE, all).await.ok();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[tokio::test]
    async fn what_is_left_is_read() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        let pieces = stream::iter(0..5).map(move |n| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![n]))
        });
        let mut body = drained(Body::from_stream(pieces)).into_data_stream();
        body.next().await.unwrap().unwrap();
        drop(body);
        tokio::time::timeout(Duration::from_secs(10), async {
            while seen.load(Ordering::SeqCst) < 5 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
