//! When to end: the first SIGTERM or SIGINT asks for an orderly end, SIGUSR1 for one of the containers as
//! well.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What signals have asked for.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Cancelled at the first signal.
    pub stop: CancellationToken,
    /// Cancelled before `stop` when the containers are to end too.
    pub with_containers: CancellationToken,
}

/// Listens from now on.
pub fn on_signal() -> io::Result<Told> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut everything = signal(SignalKind::user_defined1())?;
    let told = Told::default();
    let teller = told.clone();
    tokio::spawn(async move {
        tokio::select! {
            // First: whoever asks for everything may have a supervisor that says SIGTERM right after.
            biased;
            _ = everything.recv() => teller.with_containers.cancel(),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        teller.stop.cancel();
    });
    Ok(told)
}
