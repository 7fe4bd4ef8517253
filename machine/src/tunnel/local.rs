//! Clients on the unix socket: whoever may open it is the user.

use super::{
    Tunnel,
    forward::{self, Client},
};
use std::os::fd::AsFd;
use tokio::net::{UnixListener, UnixStream};

/// Serves `listener` for ever.
pub(super) async fn serve(tunnel: &Tunnel, listener: UnixListener) {
    super::accept(|| listener.accept(), |(client, _)| carry(tunnel.clone(), client)).await;
}

async fn carry(tunnel: Tunnel, client: UnixStream) {
    let watched = client.as_fd().try_clone_to_owned();
    let (input, output) = client.into_split();
    let gone = forward::hung_up(watched);
    if let Err(error) = forward::forward(Client { input, output, gone }, &tunnel.pool, &tunnel.target).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a client was not served");
    }
}
