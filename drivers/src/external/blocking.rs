//! A question to another process from where nobody can await.

use std::thread;
use tokio::runtime::Builder;

/// Runs `future` to its end, inside a runtime or outside one.
///
/// # Panics
/// Where the process may have no more threads.
pub fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    thread::scope(|scope| {
        let ran =
            scope.spawn(|| Builder::new_current_thread().enable_time().build().map(|r| r.block_on(future)));
        match ran.join() {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => panic!("no runtime for a question to a driver's process: {error}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
