//! The web seed: requests that share one line.

use pkgtorrent_swarm::RequestId;

use crate::line::Uplink;

/// The origin's line is shared in turns of so many bytes.
pub(crate) const CHUNK_LEN: u32 = 16 << 10;

/// The head of an answer.
pub(crate) const HEAD_LEN: u64 = 300;

/// A request under way.
pub(crate) struct Fetch {
    pub(crate) host: u32,
    pub(crate) request: RequestId,
    pub(crate) bundle: u32,
    /// The next piece to come, and how much of it has.
    pub(crate) piece: u32,
    pub(crate) piece_came: u32,
    pub(crate) pieces_end: u32,
    /// What is not sent yet.
    pub(crate) left: u32,
    /// What has been sent and not come.
    pub(crate) under_way: u32,
    pub(crate) is_queued: bool,
    pub(crate) is_cancelled: bool,
}

/// The web seed.
pub(crate) struct Origin {
    pub(crate) line: Uplink<u32, u32>,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) is_dead: bool,
}

impl Origin {
    pub(crate) fn new(rate: u64) -> Self {
        Self { line: Uplink::new(rate), fetches: Vec::new(), is_dead: false }
    }
}
