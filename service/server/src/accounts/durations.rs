//! How long installs took: enough for medians and worse, in few numbers.

/// How many ranges there are. The last one is open and begins at 35 minutes.
const RANGES: usize = 32;

/// Where the ranges but the first one begin, in milliseconds. Each begins at the square root of two of the one before, so
/// that its middle is a fifth wrong at most.
const STARTS: [u32; RANGES - 1] = {
    let mut starts = [0; RANGES - 1];
    let mut n = 0;
    while n < starts.len() {
        let doubled = 64 << (n / 2);
        starts[n] = if n % 2 == 0 { doubled } else { doubled / 100 * 141 + doubled % 100 * 141 / 100 };
        n += 1;
    }
    starts
};

/// How many installs took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Durations([u32; RANGES]);

impl Durations {
    /// Counts one of so many milliseconds.
    pub(super) fn add(&mut self, took: u32) {
        let count = &mut self.0[STARTS.partition_point(|&start| start <= took)];
        *count = count.saturating_add(1);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// About how many milliseconds this share of all took at most; `None` of nothing.
    pub(super) fn quantile(&self, share: f64) -> Option<u32> {
        let all: u64 = self.counts().sum();
        let mut rank = ((all as f64 * share).ceil() as u64).max(1);
        for (range, count) in self.counts().enumerate() {
            if rank <= count {
                let start = range.checked_sub(1).map_or(0, |before| STARTS[before]);
                let end = STARTS.get(range).copied().unwrap_or(start);
                return Some(start.midpoint(end));
            }
            rank -= count;
        }
        None
    }

    /// The numbers that are stored.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> + use<> {
        self.0.into_iter().map(u64::from)
    }

    pub(super) fn read(next: &mut impl FnMut() -> Option<u64>) -> Option<Self> {
        let mut durations = Self::default();
        for count in &mut durations.0 {
            *count = u32::try_from(next()?).ok()?;
        }
        Some(durations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_a_fifth_wrong_at_most() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        (1..=1000).for_each(|n| durations.add(n * 100));
        for (share, expected) in [(0.01, 1_000.0), (0.5, 50_000.0), (0.95, 95_000.0), (1.0, 100_000.0)] {
            let read = f64::from(durations.quantile(share).expect("some"));
            assert!((read / expected - 1.0).abs() < 0.21, "{share}: {read}, expected {expected}");
        }
    }

    #[test]
    fn what_takes_for_ever_is_in_the_last_range() {
        let mut durations = Durations::default();
        durations.add(u32::MAX);
        assert_eq!(durations.quantile(0.5), STARTS.last().copied());
        durations.add(0);
        assert!(durations.quantile(0.5).is_some_and(|half| half <= STARTS[0]));
        assert!(STARTS.is_sorted_by(|a, b| a < b), "{STARTS:?}");
    }
}
