//! How long the agent stays when nobody asks for anything.

use std::time::{Duration, Instant};

/// The agent stays a while after the last package was wanted and after the last command was connected, and as long as it
/// shares anything. When all are over it ends.
#[derive(Debug)]
pub(super) struct Lifetime {
    seed_min: Duration,
    idle_timeout: Duration,
    last_use: Option<Instant>,
    last_connected: Instant,
    connections: usize,
}

impl Lifetime {
    pub(super) fn new(seed_min: Duration, idle_timeout: Duration, now: Instant) -> Self {
        Self { seed_min, idle_timeout, last_use: None, last_connected: now, connections: 0 }
    }

    /// Counts with other times from now on.
    pub(super) fn set_times(&mut self, seed_min: Duration, idle_timeout: Duration) {
        (self.seed_min, self.idle_timeout) = (seed_min, idle_timeout);
    }

    /// Somebody wants a package, got one, or brought one.
    pub(super) fn used(&mut self, now: Instant) {
        self.last_use = Some(now);
    }

    pub(super) fn connected(&mut self) {
        self.connections += 1;
    }

    pub(super) fn disconnected(&mut self, now: Instant) {
        self.connections = self.connections.saturating_sub(1);
        self.last_connected = now;
    }

    /// How long it will be until the end, if nobody asks for anything from now on.
    pub(super) fn left(&self, now: Instant, shares_until: Option<Instant>) -> Duration {
        let seeding = self.last_use.map(|used| used + self.seed_min);
        let idle = self.last_connected + self.idle_timeout;
        let last = [seeding, shares_until].into_iter().flatten().fold(idle, Instant::max);
        last.saturating_duration_since(now)
    }

    pub(super) fn is_over(&self, now: Instant, shares_until: Option<Instant>, is_busy: bool) -> bool {
        !is_busy && self.connections == 0 && self.left(now, shares_until).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_ends_after_the_longer_of_both_times() {
        let start = Instant::now();
        let mut lifetime = Lifetime::new(10 * SECOND, 3 * SECOND, start);
        assert!(!lifetime.is_over(start + 2 * SECOND, None, false));
        assert!(lifetime.is_over(start + 3 * SECOND, None, false), "nobody used it");
        lifetime.used(start + 2 * SECOND);
        assert!(!lifetime.is_over(start + 11 * SECOND, None, false));
        assert!(lifetime.is_over(start + 12 * SECOND, None, false));
        assert_eq!(lifetime.left(start + 5 * SECOND, None), 7 * SECOND);
        assert_eq!(lifetime.left(start + 5 * SECOND, Some(start + 9 * SECOND)), 7 * SECOND);
        assert!(!lifetime.is_over(start + 12 * SECOND, Some(start + 13 * SECOND), false), "it shares");
    }

    #[test]
    fn other_times_count_from_the_same_moments() {
        let start = Instant::now();
        let mut lifetime = Lifetime::new(10 * SECOND, SECOND, start);
        lifetime.used(start);
        lifetime.set_times(2 * SECOND, 3 * SECOND);
        assert!(
            !lifetime.is_over(start + 2 * SECOND, None, false)
                && lifetime.is_over(start + 3 * SECOND, None, false)
        );
        lifetime.set_times(5 * SECOND, SECOND);
        assert!(
            !lifetime.is_over(start + 4 * SECOND, None, false)
                && lifetime.is_over(start + 5 * SECOND, None, false)
        );
    }

    #[test]
    fn a_connection_or_work_keeps_it() {
        let start = Instant::now();
        let mut lifetime = Lifetime::new(SECOND, SECOND, start);
        lifetime.connected();
        assert!(!lifetime.is_over(start + 60 * SECOND, None, false));
        lifetime.disconnected(start + 60 * SECOND);
        assert!(!lifetime.is_over(start + 60 * SECOND, None, false), "it is idle only from now on");
        assert!(!lifetime.is_over(start + 70 * SECOND, None, true));
        assert!(lifetime.is_over(start + 70 * SECOND, None, false));
    }
}
