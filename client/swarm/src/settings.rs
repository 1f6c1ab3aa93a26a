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
    /// A peer is asked for as many blocks as it sends in this time. The more, the longer a piece that has just become
    /// known waits behind them; the less, the more often a fast line is idle.
    pub pipeline_time: Duration,
    /// The same for peers of another make. Transmission answers in strokes, twice a second: who asks it for less than it
    /// sends in one of them, never finds out how fast it is.
    pub foreign_pipeline_time: Duration,
    /// A peer is asked for at least so many blocks at once. More would commit all hosts to the first one that has a piece,
    /// while others that get it idle...
    pub pipeline_min: usize,
    /// ... and at most for so many: 8 MiB.
    pub pipeline_max: usize,
    /// All peers together are asked for as much as this host's line brings in this time. Longer than a block waits in the
    /// queues of busy peers, or a fast line is taken for a slow one; shorter than `silence_max`.
    pub line_time: Duration,
    /// How many bytes of unfinished pieces peers are asked for at once: what they take of memory.
    pub assembling_len_max: u64,
    /// How many peers are sent to at once. Few finish pieces one after the other, so that each can soon be given on by
    /// who has it; with too few the line is idle when they are slow.
    pub upload_slots: usize,
    /// How long a peer may owe a block before others are asked for it.
    pub silence_max: Duration,
    /// How long the origin is not asked for a piece that somebody else is to fetch, while nothing else comes either.
    pub hold_off: Duration,
    /// How long a file that no web seed brings is waited for while peers are looked for. Clients of other makes consider
    /// every ten seconds whom they send to; a package manager waits for half a minute.
    pub peer_patience: Duration,
    /// Web seed connections while there are peers: what they bring together arrives sooner one after the other.
    pub crowd_connections: usize,
    /// A bundle's lease is reported on this often: until then a host does not know what others have taken over of it.
    pub report_interval: Duration,
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
            pipeline_time: Duration::from_millis(300),
            foreign_pipeline_time: Duration::from_secs(1),
            pipeline_min: 2,
            pipeline_max: 512,
            line_time: Duration::from_secs(2),
            assembling_len_max: 24 << 20,
            upload_slots: 4,
            silence_max: Duration::from_secs(3),
            hold_off: Duration::from_secs(2),
            peer_patience: Duration::from_secs(15),
            crowd_connections: 1,
            report_interval: Duration::from_millis(500),
        }
    }
}

impl Settings {
    /// How many requests are under way at most.
    pub(crate) fn connections(&self) -> usize {
        self.origin_connections.max(1)
    }
}
