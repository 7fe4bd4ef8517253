//! Whether the client is still there.
//!
//! A client may close its sending half and go on reading, so reading the end does not mean that it
//! left. The kernel tells the two apart: a connection that is closed both ways hangs up.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
};

/// Watches one connection; holds it open until dropped.
#[derive(Debug)]
pub(super) struct Peer(AsyncFd<OwnedFd>);

impl Peer {
    #[expect(deprecated, reason = "Unsound only for descriptors that can close early; this one is owned")]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        // Registered for urgent data, which unix sockets do not have: what remains are hang-up and error,
        // which are always reported.
        AsyncFd::with_interest(stream.as_fd().try_clone_to_owned()?, Interest::PRIORITY).map(Self)
    }

    /// Returns when both directions are closed, or the connection is broken.
    pub(super) async fn gone(&self) {
        // An error means that the runtime is ending: the same for the caller.
        drop(self.0.ready(Interest::PRIORITY).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{io::AsyncWriteExt, time::timeout};

    #[tokio::test]
    async fn half_closed_is_not_gone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        theirs.write_all(b"last words").await.unwrap();
        theirs.shutdown().await.unwrap();
        assert!(timeout(Duration::from_millis(50), peer.gone()).await.is_err());
        drop(theirs);
        timeout(Duration::from_secs(5), peer.gone()).await.unwrap();
    }
}
