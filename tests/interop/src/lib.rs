//! Real foreign programs against the real service.
//!
//! This library holds what the tests beside it share: a mirror with awkward packages, one module per BitTorrent client,
//! swarms of them and our agents, and the comparison of what a client wrote with what the mirror has. Everything stays
//! on 127.0.0.1.

pub mod aria2;
pub mod foreign;
pub mod libtorrent;
pub mod mirror;
pub mod on_disk;
pub mod rqbit;
pub mod swarm;
pub mod transmission;

use std::time::Duration;

/// How long a client may take for a download that needs seconds: aria2 and transmission look at their peers every ten,
/// and machines that run tests are busy.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_secs(90);
