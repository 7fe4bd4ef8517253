//! Calls that must not be made twice are carried to their end even when whoever made them goes away, as
//! at Ctrl-C: only then can what they made be found and taken back.

use std::{sync::LazyLock, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How many are on their way, in this process.
static ON_THEIR_WAY: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));
/// Longer than one attempt lasts.
const LIMIT: Duration = Duration::from_secs(60);

struct OnItsWay;

impl OnItsWay {
    fn new() -> Self {
        ON_THEIR_WAY.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        ON_THEIR_WAY.send_modify(|count| *count -= 1);
    }
}

/// Awaits `call`, which goes on when this future is dropped.
pub(super) async fn to_the_end<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> T {
    let on_its_way = OnItsWay::new();
    let carried = tokio::spawn(async move {
        let outcome = call.await;
        drop(on_its_way);
        outcome
    });
    match carried.await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits until none is on its way any more; whether there was one.
pub(crate) async fn settled() -> bool {
    let mut count = ON_THEIR_WAY.subscribe();
    if *count.borrow() == 0 {
        return false;
    }
    // Only the process's end drops the sender.
    drop(timeout(LIMIT, count.wait_for(|count| *count == 0)).await);
    true
}
