//! When an authority may be asked: renewals at two thirds of a life, and pauses after failures that grow from minutes to hours.
//!
//! Let's Encrypt lets five validations of a name fail an hour, and makes five certificates of the same names a week. With these pauses
//! four tries fall into the first hour, and two into a day after that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::certificate_life::CertificateLife;

/// The longest pause of our own.
const LONGEST_PAUSE: u64 = 12 * 3_600;
/// Failures after which an operator, too, has to wait, and how long: five an hour are let fail, one more every twelve minutes.
const FREE_TRIES: u32 = 4;
const LEAST_PAUSE: u64 = 12 * 60;
/// What certificates of the same names are apart, if they live long enough: five a week.
const LONGEST_REST: u64 = 34 * 3_600;
/// The longest that an authority may have us wait.
const LONGEST_RETRY_AFTER: u64 = 7 * 86_400;

/// Tries since the last certificate, as they lie in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempts {
    /// What was asked for. Other names are another matter.
    names: Vec<String>,
    failures: u32,
    /// When the last one began, in seconds since 1970.
    begun: u64,
    /// Our own pause ends. An operator may cut it short.
    pause_until: u64,
    /// The authority's ends. Nobody may.
    retry_after: u64,
    /// Before this no certificate that can be used is replaced: a clock that is wrong by months must not ask again and again.
    rest_until: u64,
}

impl Attempts {
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            failures: 0,
            begun: 0,
            pause_until: 0,
            retry_after: 0,
            rest_until: 0,
        }
    }

    pub(super) fn are_for(&self, names: &[String]) -> bool {
        self.names == names
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next may begin.
    pub(super) fn may_begin(&self, pushed: bool) -> u64 {
        match pushed {
            true if self.failures < FREE_TRIES => self.retry_after,
            true => self.retry_after.max(self.begun.saturating_add(LEAST_PAUSE)),
            false => self.retry_after.max(self.pause_until),
        }
    }

    /// One begins, and is a failure until it is known to be none.
    pub(super) fn begin(&mut self, now: u64, first_pause: Duration, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.begun = now;
        self.pause_until = now.saturating_add(pause(self.failures, first_pause, random));
    }

    /// It failed, in a way that wants at least this pause, and the authority wants nothing before a certain moment.
    pub(super) fn failed(&mut self, now: u64, least_pause: Duration, not_before: u64) {
        let least = now.saturating_add(least_pause.as_secs());
        self.pause_until = self.pause_until.max(least);
        self.retry_after = not_before.min(now.saturating_add(LONGEST_RETRY_AFTER));
    }

    /// It brought a certificate with this life.
    pub(super) fn succeeded(&mut self, now: u64, life: CertificateLife) {
        *self = Self {
            begun: now,
            rest_until: now.saturating_add(LONGEST_REST.min(life.seconds() / 4)),
            ..Self::new(&self.names)
        };
    }

    /// When one is to be asked for, if what is there is old at a certain moment, or if there is nothing.
    pub(super) fn due(&self, renewal: Option<u64>) -> u64 {
        renewal.map_or(0, |renewal| renewal.max(self.rest_until))
    }

    /// A clock that was set back, after it had been wrong: no pause is longer than it could be now.
    pub(super) fn keep_to(&mut self, now: u64) {
        if self.begun <= now {
            return;
        }
        let at_most =
            |moment: &mut u64, seconds| *moment = (*moment).min(now.saturating_add(seconds));
        self.begun = now;
        at_most(&mut self.pause_until, LONGEST_PAUSE);
        at_most(&mut self.retry_after, LONGEST_RETRY_AFTER);
        at_most(&mut self.rest_until, LONGEST_REST);
    }
}

/// Seconds after so many failures: each time four times as many, and up to a quarter more.
fn pause(failures: u32, first: Duration, random: u64) -> u64 {
    let times = 4_u64.saturating_pow(failures.saturating_sub(1));
    let seconds = first
        .as_secs()
        .max(1)
        .saturating_mul(times)
        .min(LONGEST_PAUSE);
    seconds + random % (seconds / 4 + 1)
}

/// When two thirds of a life are over, or a little before: nodes that began together do not ask together.
pub(super) fn renewal(life: CertificateLife, random: u64) -> u64 {
    let two_thirds = life.seconds() / 3 * 2;
    life.begins + two_thirds - random % (life.seconds() / 20 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(120);

    fn names() -> Vec<String> {
        vec!["a.example".to_owned()]
    }

    #[test]
    fn failures_stay_within_the_limits_of_an_authority() {
        for random in [0, u64::MAX, 7] {
            let (mut attempts, mut now, mut begun) = (Attempts::new(&names()), 0, Vec::new());
            while now < 14 * 86_400 {
                begun.push(now);
                attempts.begin(now, FIRST, random);
                attempts.failed(now, Duration::ZERO, 0);
                assert!(attempts.may_begin(false) > now);
                now = attempts.may_begin(false);
            }
            let within = |seconds: u64| {
                let runs = begun.iter().map(|from| {
                    let during = begun
                        .iter()
                        .filter(|at| (*from..*from + seconds).contains(at));
                    during.count()
                });
                runs.max().unwrap()
            };
            assert!(within(3_600) <= 4, "{begun:?}");
            assert!(within(86_400) <= 8, "{begun:?}");
        }
        // However many.
        let mut attempts = Attempts::new(&names());
        attempts.failures = u32::MAX;
        attempts.begin(0, FIRST, u64::MAX);
        assert!(attempts.may_begin(false) <= LONGEST_PAUSE / 4 * 5);
    }

    #[test]
    fn an_operator_cuts_short_the_nodes_pause_and_not_the_authoritys() {
        let mut attempts = Attempts::new(&names());
        attempts.begin(1_000, FIRST, 0);
        attempts.failed(1_000, Duration::ZERO, 0);
        assert_eq!(
            (attempts.may_begin(false), attempts.may_begin(true)),
            (1_120, 0)
        );
        attempts.failed(1_000, Duration::from_secs(500), 5_000);
        assert_eq!(
            (attempts.may_begin(false), attempts.may_begin(true)),
            (5_000, 5_000)
        );
        // Who pushes every second is not heard every second.
        let (mut pushed, mut begun) = (Attempts::new(&names()), Vec::new());
        for now in 0..7_200 {
            if pushed.may_begin(true) <= now {
                begun.push(now);
                pushed.begin(now, FIRST, 0);
                pushed.failed(now, Duration::ZERO, 0);
            }
        }
        assert_eq!(begun[..6], [0, 1, 2, 3, 723, 1_443]);
        // A year is a mistake.
        attempts.failed(1_000, Duration::ZERO, 1_000 + 365 * 86_400);
        assert_eq!(attempts.may_begin(true), 1_000 + LONGEST_RETRY_AFTER);
        let life = CertificateLife { begins: 0, ends: 9 };
        attempts.succeeded(1_000, life);
        assert_eq!((attempts.may_begin(false), attempts.failures()), (0, 0));
    }

    #[test]
    fn a_certificate_that_is_new_is_not_replaced_whatever_the_clock_says() {
        let mut attempts = Attempts::new(&names());
        let days = |days: u64| CertificateLife {
            begins: 0,
            ends: days * 86_400,
        };
        // A year ahead.
        let now = 365 * 86_400;
        for (life, rest) in [(days(90), LONGEST_REST), (days(1), 6 * 3_600)] {
            attempts.succeeded(now, life);
            assert_eq!(attempts.due(Some(renewal(life, 0))), now + rest);
            assert_eq!(attempts.due(None), 0);
        }
        attempts.succeeded(0, days(90));
        assert_eq!(attempts.due(Some(renewal(days(90), 0))), 60 * 86_400);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_pause_longer_than_it_may_be() {
        let (wrong, now) = (400 * 86_400, 86_400);
        let mut attempts = Attempts::new(&names());
        attempts.begin(wrong, FIRST, 0);
        attempts.failed(wrong, Duration::ZERO, wrong + 3_600);
        let before = attempts.clone();
        attempts.keep_to(wrong);
        assert_eq!(attempts, before);
        attempts.keep_to(now);
        assert_eq!(attempts.may_begin(false), now + LONGEST_RETRY_AFTER);
        let life = CertificateLife {
            begins: 0,
            ends: 90 * 86_400,
        };
        attempts.succeeded(wrong, life);
        attempts.keep_to(now);
        assert_eq!(attempts.due(Some(0)), now + LONGEST_REST);
        // Once: they end.
        attempts.keep_to(now + 60);
        assert_eq!(attempts.due(Some(0)), now + LONGEST_REST);
    }

    #[test]
    fn a_renewal_is_due_when_two_thirds_are_over_or_a_little_before() {
        for seconds in [0, 1, 6 * 86_400, 90 * 86_400, u64::MAX - 1_000] {
            let life = CertificateLife {
                begins: 1_000,
                ends: 1_000 + seconds,
            };
            let latest = renewal(life, 0);
            assert!(latest <= 1_000 + seconds / 3 * 2);
            for random in [1, u64::MAX, 123_456_789] {
                let due = renewal(life, random);
                assert!(due <= latest && due >= 1_000 + seconds / 5 * 3, "{seconds}");
            }
        }
    }
}
