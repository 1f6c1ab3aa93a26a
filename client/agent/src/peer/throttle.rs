//! How many bytes a second all connections together may send or receive.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit that all connections share. Whoever has spent bytes waits until they are paid for; others wait with it.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes a second; zero for as many as there are.
    rate: AtomicU64,
    /// Until when what was spent is paid for. Held for two instructions.
    paid_until: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Bytes a second; zero for as many as there are.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: AtomicU64::new(rate), paid_until: Mutex::new(None) }
    }

    /// Another limit holds from now on.
    pub(super) fn limit(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    fn rate(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.rate.load(Ordering::Relaxed))
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.rate().is_some()
    }

    /// So many bytes went; gives the moment at which more may.
    pub(super) fn spend(&self, bytes: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate() else { return now };
        let cost = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used before is gone: a limit that lets bursts through is none for what lies beyond it.
        let until = paid_until.map_or(now, |until| until.max(now)) + cost;
        *paid_until = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_any_second_no_more_goes_than_the_limit_and_one_read_for_each_connection() {
        const CHUNK: usize = 16_384;
        let throttle = Throttle::new(1_000_000);
        let start = Instant::now();
        let mut connections = [start; 5];
        let mut sent = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(10) {
            for free_at in &mut connections {
                if *free_at <= now {
                    *free_at = throttle.spend(CHUNK, now);
                    sent.push(now);
                }
            }
            now += Duration::from_millis(1);
        }
        let total = sent.len() * CHUNK;
        assert!((9_900_000..=10_000_000 + 5 * CHUNK).contains(&total), "{total}");
        for from in &sent {
            let within =
                sent.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(*at)).count();
            assert!(within * CHUNK <= 1_000_000 + 6 * CHUNK, "{within}");
        }
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let (throttle, now) = (Throttle::new(0), Instant::now());
        assert!(!throttle.is_limited());
        assert_eq!(throttle.spend(usize::MAX, now), now);
        throttle.limit(1_000);
        assert_eq!(throttle.spend(500, now), now + Duration::from_millis(500));
        throttle.limit(0);
        assert_eq!(throttle.spend(usize::MAX, now), now);
    }
}
