//! Builds that want the same step at the same time: one makes it, the others wait and find it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// Steps that are being made, of all builds.
#[derive(Debug, Default)]
pub(in crate::build) struct SharedWork(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// Held while a step is being made.
pub(super) type Making = OwnedMutexGuard<()>;

impl SharedWork {
    /// The right to make a step, and whether it had to be waited for: then somebody else may have made it.
    pub(super) async fn claim(&self, digest: &str) -> (Making, bool) {
        let lock = {
            let mut making = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            making.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(making.entry(digest.to_owned()).or_default())
        };
        match Arc::clone(&lock).try_lock_owned() {
            Ok(making) => (making, false),
            Err(_) => (lock.lock_owned().await, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_makes_and_the_other_waits() {
        let work = Arc::new(SharedWork::default());
        let (first, waited) = work.claim("a").await;
        assert!(!waited && !work.claim("b").await.1, "only the same step is waited for");
        let other = tokio::spawn({
            let work = Arc::clone(&work);
            async move { work.claim("a").await.1 }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(other.await.unwrap());
        assert!(!work.claim("a").await.1);
    }
}
