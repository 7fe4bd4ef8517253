//! How long to wait before something is tried again, and when to stop trying.

use super::Failure;
use std::time::Duration;

/// How often in a row.
const ATTEMPTS: u32 = 5;
const FIRST: Duration = Duration::from_millis(500);
/// What a registry may ask us to wait for.
const LONGEST: Duration = Duration::from_secs(120);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something worked: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next attempt; `None` when there is no point in one.
    pub(super) fn after(&mut self, failure: &Failure) -> Option<Duration> {
        let asked = failure.retry_after();
        if !failure.may_pass() || asked.is_some_and(|asked| asked > LONGEST) {
            return None;
        }
        self.failures += 1;
        (self.failures < ATTEMPTS).then(|| asked.unwrap_or(FIRST * 2_u32.pow(self.failures - 1)))
    }
}
