//! The keeper's control socket. Several commands may ask at the same time; none waits for another.

use super::protocol::{KeeperStatus, LONGEST_LINE, Request};
use futures_util::{SinkExt, StreamExt};
use std::{io, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{
    codec::{Framed, LinesCodec, LinesCodecError},
    sync::CancellationToken,
};

/// A command sends its request at once and reads what it asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until `stop` is cancelled, by a request or by the keeper, and then until everyone has heard the
/// last status.
pub(super) async fn serve(
    listener: UnixListener,
    status: watch::Receiver<KeeperStatus>,
    stop: CancellationToken,
) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (status, stop) = (status.clone(), stop.clone());
                    clients.spawn(async move {
                        if let Err(error) = answer(stream, status, &stop).await {
                            tracing::debug!(%error, "a command left in the middle");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a command");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
    drop((listener, status));
    while clients.join_next().await.is_some() {}
}

async fn answer(
    stream: UnixStream,
    mut status: watch::Receiver<KeeperStatus>,
    stop: &CancellationToken,
) -> Result<(), LinesCodecError> {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_LINE));
    let Ok(Some(line)) = timeout(PATIENCE, lines.next()).await else {
        return Ok(());
    };
    let Ok(request) = serde_json::from_str(&line?) else {
        // A command newer than we are; the end of the connection tells it.
        return Ok(());
    };
    match request {
        Request::Status => {
            let now = status.borrow().clone();
            send(&mut lines, &now).await
        }
        Request::Watch => loop {
            let now = status.borrow_and_update().clone();
            send(&mut lines, &now).await?;
            if !matches!(now, KeeperStatus::Starting { .. }) {
                return Ok(());
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return Ok(()) },
                // The command sends nothing more: this is its end.
                _ = lines.next() => return Ok(()),
            }
        },
        Request::Stop => {
            stop.cancel();
            // The connection lives as long as the keeper, so its end means ours.
            while status.changed().await.is_ok() {}
            Ok(())
        }
    }
}

async fn send(
    lines: &mut Framed<UnixStream, LinesCodec>,
    status: &KeeperStatus,
) -> Result<(), LinesCodecError> {
    let line = serde_json::to_string(status).map_err(io::Error::from)?;
    timeout(PATIENCE, lines.send(line))
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}
