//! Ctrl-C and its kin, for commands that have something to put in order before they end.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Where interrupts come from.
#[derive(Clone, Debug, Default)]
pub enum Interrupts {
    /// SIGINT, SIGTERM and SIGHUP of this process. From the first [`Interrupts::listen`] on they no
    /// longer end it.
    #[default]
    Signals,
    /// Counted by a test.
    Counted(watch::Receiver<u32>),
}

/// Hears interrupts from the moment it was made.
#[derive(Debug)]
pub struct Listener {
    count: watch::Receiver<u32>,
}

impl Interrupts {
    /// Begins to listen; must be called inside a runtime.
    pub fn listen(&self) -> Listener {
        let count = match self {
            Self::Signals => count_signals(),
            Self::Counted(count) => count.clone(),
        };
        Listener { count }
    }
}

impl Listener {
    /// Waits for the next interrupt that has not been waited for.
    pub async fn next(&mut self) {
        if self.count.changed().await.is_err() {
            // Nobody is left who could interrupt.
            std::future::pending::<()>().await;
        }
    }
}

fn count_signals() -> watch::Receiver<u32> {
    let (sender, receiver) = watch::channel(0);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Without a handler the signal ends the process, as it does for every other command.
        let Ok(mut signals) = signal(kind) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
    }
    receiver
}
