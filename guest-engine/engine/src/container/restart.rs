//! Restart policies: whether a container that ended starts again, and after how long.

use bollard_stubs::models::{RestartPolicy, RestartPolicyNameEnum};
use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run this long makes the next delay the first one again.
const STABLE_RUN: Duration = Duration::from_secs(10);

/// The growing pause between restarts of one container.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// How long to wait after a run of `ran`.
    pub(super) fn next_delay(&mut self, ran: Duration) -> Duration {
        let delay = match self.last {
            Some(last) if ran < STABLE_RUN => (last * 2).min(LONGEST_DELAY),
            _ => FIRST_DELAY,
        };
        self.last = Some(delay);
        delay
    }
}

/// How a run ended, as far as the policies care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) exit_code: i32,
    /// A user stopped it.
    pub(super) manually_stopped: bool,
    /// How often the policy has restarted it since a user last started it.
    pub(super) restarts: i64,
}

/// Whether to start again right after the process ended.
pub(super) fn after_exit(policy: Option<&RestartPolicy>, ending: Ending) -> bool {
    !ending.manually_stopped && wants(policy, ending)
}

/// Whether to start when the engine itself comes up and finds the container ended: `always` forgets that
/// a user had stopped it, as its name says.
pub(super) fn after_boot(policy: Option<&RestartPolicy>, ending: Ending) -> bool {
    let always = name(policy) == Some(RestartPolicyNameEnum::ALWAYS);
    (always || !ending.manually_stopped) && wants(policy, ending)
}

fn wants(policy: Option<&RestartPolicy>, ending: Ending) -> bool {
    match name(policy) {
        Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED) => true,
        Some(RestartPolicyNameEnum::ON_FAILURE) => {
            let most = policy.and_then(|p| p.maximum_retry_count).unwrap_or(0);
            ending.exit_code != 0 && (most == 0 || ending.restarts < most)
        }
        _ => false,
    }
}

/// Whether the policy says anything, be it `no`.
pub(super) fn is_named(policy: &RestartPolicy) -> bool {
    !matches!(policy.name, None | Some(RestartPolicyNameEnum::EMPTY))
}

/// Whether there is a policy that restarts at all.
pub(super) fn is_set(policy: Option<&RestartPolicy>) -> bool {
    !matches!(name(policy), None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO))
}

fn name(policy: Option<&RestartPolicy>) -> Option<RestartPolicyNameEnum> {
    policy.and_then(|p| p.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: RestartPolicyNameEnum, most: i64) -> RestartPolicy {
        RestartPolicy { name: Some(name), maximum_retry_count: Some(most) }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_start_over_after_a_stable_run() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_millis(5);
        let delays: Vec<u128> = (0..4).map(|_| backoff.next_delay(quick).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800]);
        for _ in 0..20 {
            backoff.next_delay(quick);
        }
        assert_eq!(backoff.next_delay(quick), LONGEST_DELAY);
        assert_eq!(backoff.next_delay(STABLE_RUN), FIRST_DELAY);
    }

    #[test]
    fn policies_decide_as_documented() {
        use RestartPolicyNameEnum::{ALWAYS, NO, ON_FAILURE, UNLESS_STOPPED};
        let ended = |exit_code, manually_stopped, restarts| Ending { exit_code, manually_stopped, restarts };
        // policy, most, ending, after exit, after boot
        for (name, most, ending, exit, boot) in [
            (NO, 0, ended(1, false, 0), false, false),
            (ALWAYS, 0, ended(0, false, 9), true, true),
            (ALWAYS, 0, ended(0, true, 0), false, true),
            (UNLESS_STOPPED, 0, ended(0, false, 0), true, true),
            (UNLESS_STOPPED, 0, ended(0, true, 0), false, false),
            (ON_FAILURE, 0, ended(0, false, 0), false, false),
            (ON_FAILURE, 0, ended(1, false, 99), true, true),
            (ON_FAILURE, 3, ended(1, false, 2), true, true),
            (ON_FAILURE, 3, ended(1, false, 3), false, false),
            (ON_FAILURE, 0, ended(1, true, 0), false, false),
        ] {
            let policy = policy(name, most);
            assert_eq!(after_exit(Some(&policy), ending), exit, "{name:?} {ending:?}");
            assert_eq!(after_boot(Some(&policy), ending), boot, "{name:?} {ending:?}");
        }
        assert!(!after_exit(None, ended(1, false, 0)));
    }
}
