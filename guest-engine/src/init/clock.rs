//! The wall clock. It comes with the seed and with every message of the keeper, and from the
//! emulated real-time clock before that.

use super::log;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::time::Duration;

/// Messages in flight are this late; correcting by less would only make the clock jump.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Sets the clock from the first seed. A seed that waited for the guest is up to as old as the boot,
/// so a clock within that span (the hardware gave it) is better than the seed.
pub(super) fn set_from_seed(unix_nanos: u64, waited_for_guest: bool) {
    let sent = Duration::from_nanos(unix_nanos);
    let Ok(now) = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from) else { return };
    let slack = if waited_for_guest { log::since_boot() } else { Duration::ZERO };
    if let Some(time) = correction(now, sent, slack) {
        set(time);
    }
}

/// Sets the clock from a message that has just been sent.
pub(super) fn correct(unix_nanos: u64) {
    let Ok(now) = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from) else { return };
    if let Some(time) = correction(now, Duration::from_nanos(unix_nanos), Duration::ZERO) {
        set(time);
    }
}

/// The time to set when `now` cannot be right: the message was sent at `sent`, at most `slack` ago.
fn correction(now: Duration, sent: Duration, slack: Duration) -> Option<Duration> {
    // The emulator itself needs a moment before the guest's clock starts to count.
    let latest = sent + slack + if slack.is_zero() { TOLERANCE } else { Duration::from_secs(1) };
    let earliest = sent.saturating_sub(TOLERANCE);
    (now < earliest || now > latest).then_some(sent + slack)
}

fn set(time: Duration) {
    if let Err(error) = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(time)) {
        log::line(format_args!("Could not set the clock: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_from_1970_is_set_to_the_sending_plus_the_boot() {
        assert_eq!(correction(s(3), s(1_800_000_000), s(2)), Some(s(1_800_000_002)));
    }

    #[test]
    fn a_hardware_clock_within_the_boot_is_kept() {
        assert_eq!(correction(s(1_800_000_001), s(1_800_000_000), s(2)), None);
    }

    #[test]
    fn a_live_message_corrects_a_clock_that_slept_but_not_by_its_own_flight() {
        assert_eq!(correction(s(100), s(4000), Duration::ZERO), Some(s(4000)));
        assert_eq!(correction(s(4000) + Duration::from_millis(30), s(4000), Duration::ZERO), None);
        assert_eq!(correction(s(4001), s(4000), Duration::ZERO), Some(s(4000)));
    }
}
