//! One source: how it is doing, and what it can do.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use crate::action::Failure;
use crate::event::Outcome;
use crate::identity::{BundleId, RequestId};
use crate::settings::Settings;

/// An unreachable source has cost a whole connect timeout, so half as many tries are enough.
const UNREACHABLE_FAILURES: u32 = 2;

/// By how much of itself a back-off is lengthened or shortened at most, so that hosts which one failure has hit at the
/// same time do not come back at the same time.
const JITTER: f64 = 0.25;

/// Whether a source may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It may.
    Ready,
    /// It failed, and is left alone for a moment: waiting for it is worth while.
    BackingOff { until: Duration },
    /// It failed again and again: what only it has is given up.
    Dead { until: Duration },
}

/// A web seed.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Preference: the lowest is asked first.
    pub(crate) order: u32,
    /// The bundles that it serves.
    pub(crate) bundles: BTreeSet<BundleId>,
    /// It ignores ranges: whatever part of a file is asked for, the whole file is sent.
    pub(crate) sends_whole_files: bool,
    /// What went wrong last.
    pub(crate) last_failure: Option<Failure>,
    health: Health,
    /// Failures since the last verified piece.
    failures: u32,
    /// Requests before this one were under way at the last failure that was counted: if they fail too, it is the same
    /// trouble and not another one.
    counted_below: RequestId,
}

impl Source {
    pub(crate) fn new(order: u32) -> Self {
        Self {
            order,
            bundles: BTreeSet::new(),
            sends_whole_files: false,
            last_failure: None,
            health: Health::Ready,
            failures: 0,
            counted_below: RequestId(0),
        }
    }

    /// Whether it may be asked at this moment, or when.
    pub(crate) fn health(&self, now: Duration) -> Health {
        match self.health {
            Health::BackingOff { until } | Health::Dead { until } if until <= now => Health::Ready,
            health => health,
        }
    }

    /// It brought a piece that was right.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        // A back-off is waited out nevertheless: a source that sends one piece a connection would be asked without end.
        if let Health::Dead { .. } = self.health {
            self.health = Health::Ready;
        }
    }

    /// A request failed. `next` is the number that the next request will get.
    pub(crate) fn fail(
        &mut self,
        request: RequestId,
        next: RequestId,
        failure: Failure,
        settings: &Settings,
        random: &mut Pcg64Mcg,
        now: Duration,
    ) {
        self.last_failure = Some(failure);
        if request < self.counted_below {
            return;
        }
        self.counted_below = next;
        self.failures = self.failures.saturating_add(match failure.outcome() {
            Some(Outcome::Unreachable) => UNREACHABLE_FAILURES,
            _ => 1,
        });
        self.health = if self.failures >= settings.source_failures_max {
            Health::Dead { until: now + settings.source_dead }
        } else {
            Health::BackingOff { until: now + self.backoff(settings, random) }
        };
    }

    fn backoff(&self, settings: &Settings, random: &mut Pcg64Mcg) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(31);
        let backoff = settings.backoff_first.saturating_mul(1 << doublings).min(settings.backoff_max);
        // 32 random bits as a number from 0 to 1.
        let unit = f64::from(random.next_u32()) / f64::from(u32::MAX);
        backoff.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::FailureCause;
    use crate::identity::SourceId;

    const SECOND: Duration = Duration::from_secs(1);

    struct Trial {
        source: Source,
        random: Pcg64Mcg,
        requests: u64,
        now: Duration,
    }

    impl Trial {
        fn new() -> Self {
            Self { source: Source::new(0), random: Pcg64Mcg::new(7), requests: 0, now: 100 * SECOND }
        }

        /// Asks, fails, and says how long the source is left alone.
        fn fail(&mut self, outcome: Outcome) -> Health {
            let request = RequestId(self.requests);
            self.requests += 1;
            self.end(request, outcome)
        }

        fn end(&mut self, request: RequestId, outcome: Outcome) -> Health {
            let failure = Failure { source: SourceId(0), cause: FailureCause::Ended(outcome) };
            let next = RequestId(self.requests);
            self.source.fail(request, next, failure, &Settings::default(), &mut self.random, self.now);
            match self.source.health(self.now) {
                Health::Ready => Health::Ready,
                Health::BackingOff { until } => Health::BackingOff { until: until - self.now },
                Health::Dead { until } => Health::Dead { until: until - self.now },
            }
        }
    }

    fn assert_about(health: Health, millis: u64) {
        let Health::BackingOff { until } = health else { panic!("{health:?} instead of {millis} ms") };
        let millis = Duration::from_millis(millis);
        assert!(until >= millis.mul_f64(0.75) && until <= millis.mul_f64(1.25), "{until:?} for {millis:?}");
    }

    #[test]
    fn the_back_off_doubles_and_the_sixth_failure_in_a_row_is_death_for_thirty_seconds() {
        let mut trial = Trial::new();
        for millis in [250, 500, 1000, 2000, 4000] {
            assert_about(trial.fail(Outcome::Broken), millis);
        }
        assert_eq!(trial.fail(Outcome::Broken), Health::Dead { until: 30 * SECOND });
        trial.now += 30 * SECOND;
        assert_eq!(trial.source.health(trial.now), Health::Ready);
        assert_eq!(trial.fail(Outcome::Broken), Health::Dead { until: 30 * SECOND }, "one more is enough");
    }

    #[test]
    fn the_back_off_has_a_ceiling_and_a_jitter() {
        let patient = Settings { source_failures_max: 100, ..Settings::default() };
        let mut random = Pcg64Mcg::new(3);
        let mut source = Source::new(0);
        source.failures = 90;
        let backoffs: BTreeSet<Duration> = (0..50).map(|_| source.backoff(&patient, &mut random)).collect();
        assert!(backoffs.len() > 40);
        assert!(
            backoffs.first() >= Some(&(3 * SECOND)) && backoffs.last() <= Some(&(5 * SECOND)),
            "{backoffs:?}"
        );
    }

    #[test]
    fn three_times_unreachable_is_death() {
        let mut trial = Trial::new();
        assert_about(trial.fail(Outcome::Unreachable), 500);
        assert_about(trial.fail(Outcome::Unreachable), 2000);
        assert_eq!(trial.fail(Outcome::Unreachable), Health::Dead { until: 30 * SECOND });
    }

    #[test]
    fn a_verified_piece_forgives_all_failures_and_wakes_the_dead() {
        let mut trial = Trial::new();
        for _ in 0..6 {
            trial.fail(Outcome::Broken);
        }
        trial.source.succeed();
        assert_eq!(trial.source.health(trial.now), Health::Ready);
        assert_about(trial.fail(Outcome::Broken), 250);
        trial.source.succeed();
        assert_ne!(trial.source.health(trial.now), Health::Ready, "the back-off is waited out");
    }

    #[test]
    fn what_was_under_way_at_a_failure_fails_with_it() {
        let mut trial = Trial::new();
        trial.requests = 6;
        for request in 0..6 {
            assert_about(trial.end(RequestId(request), Outcome::Unreachable), 500);
        }
        assert_about(trial.fail(Outcome::Unreachable), 2000);
    }
}
