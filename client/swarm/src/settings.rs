//! The swarm's limits.

use std::time::Duration;

/// Limits, and how patient the swarm is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many requests are under way at most, over all bundles and sources. Zero is taken as one.
    pub origin_connections: usize,
    /// What is shared out among connections is not cut into ranges below this length: a request costs a round trip,
    /// which at 100 Mbit/s and 10 ms is an eighth of the time that a mebibyte takes.
    pub range_len_min: u64,
    /// A file is given up after so many requests in a row that brought no piece of it.
    pub attempts_max: u32,
    /// How long a source is left alone after its first failure; each further one doubles it.
    pub backoff_first: Duration,
    /// The longest that a source is left alone for one failure.
    pub backoff_max: Duration,
    /// A source is dead after so many failures in a row. One that cannot be reached counts twice: it costs a whole
    /// connect timeout each time.
    pub source_failures_max: u32,
    /// How long nothing is asked from a dead source, and files that nobody else has are given up. Afterwards a single
    /// failure is its death again.
    pub source_dead: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            origin_connections: 6,
            range_len_min: 1 << 20,
            attempts_max: 4,
            backoff_first: Duration::from_millis(250),
            backoff_max: Duration::from_secs(4),
            source_failures_max: 6,
            source_dead: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// How many requests are under way at most.
    pub(crate) fn connections(&self) -> usize {
        self.origin_connections.max(1)
    }
}
