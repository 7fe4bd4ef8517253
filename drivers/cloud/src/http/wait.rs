//! How long to wait before a call is made again.

use reqwest::header::HeaderMap;
use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// What the provider asks for: `Retry-After` in seconds, else, when the allowance is used up, the moment
/// it is renewed.
pub(super) fn asked(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    if let Some(seconds) = number("retry-after").filter(|seconds| *seconds >= 0.0) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if status != 429 {
        return None;
    }
    let reset = number("ratelimit-reset").or_else(|| number("x-ratelimit-reset"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::try_from_secs_f64(reset).ok().map(|reset| reset.saturating_sub(now))
}

/// Longer from time to time, and never the same for two who wait for the same.
pub(super) fn backoff(attempt: u32) -> Duration {
    let whole = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
    let random = RandomState::new().hash_one(attempt) % 1000;
    whole / 2 + whole / 2 * u32::try_from(random).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_providers_word_goes_first() {
        assert_eq!(asked(429, &headers(&[("Retry-After", "7".into())])), Some(Duration::from_secs(7)));
        assert_eq!(asked(503, &headers(&[("Retry-After", "2".into())])), Some(Duration::from_secs(2)));
        let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 30;
        let asked_for = asked(429, &headers(&[("RateLimit-Reset", soon.to_string())])).unwrap();
        assert!(asked_for <= Duration::from_secs(30) && asked_for > Duration::from_secs(25));
        let past = headers(&[("RateLimit-Reset", "1".into())]);
        assert_eq!((asked(429, &past), asked(200, &past)), (Some(Duration::ZERO), None));
        assert_eq!(asked(429, &headers(&[("Retry-After", "soon".into())])), None);
    }

    #[test]
    fn waits_grow_to_an_end() {
        assert!(backoff(1) <= Duration::from_millis(400) && backoff(1) >= Duration::from_millis(200));
        assert!(backoff(30) <= LONGEST && backoff(30) >= LONGEST / 2);
    }
}
