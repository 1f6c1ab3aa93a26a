//! Packages that go from one host to another over the loopback device, and what that takes on both sides.

pub(crate) mod agents;
pub(crate) mod libtorrent;

use std::time::Duration;

use pkgtorrent_fleet::usage;

use crate::bench::timed;
use crate::data::packages::Package;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    gbytes: f64,
    took: Duration,
    sender_seconds: f64,
    receiver_seconds: f64,
}

impl Exchange {
    /// Watches both sides' processes while the packages go from one to the other.
    fn watch(
        packages: &[Package],
        sender: u32,
        receiver: u32,
        exchange: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let before = (usage::cpu_seconds(sender)?, usage::cpu_seconds(receiver)?);
        let (took, result) = timed(exchange);
        result?;
        Ok(Self {
            gbytes: packages.iter().map(|package| package.size).sum::<u64>() as f64 / 1e9,
            took,
            sender_seconds: usage::cpu_seconds(sender)? - before.0,
            receiver_seconds: usage::cpu_seconds(receiver)? - before.1,
        })
    }

    /// How fast they went.
    pub(crate) fn gbit_per_second(&self) -> f64 {
        self.gbytes * 8.0 / self.took.as_secs_f64()
    }

    /// The sender's processor time for a gigabyte.
    pub(crate) fn cpu_to_send(&self) -> f64 {
        self.sender_seconds / self.gbytes
    }

    /// The receiver's processor time for a gigabyte.
    pub(crate) fn cpu_to_receive(&self) -> f64 {
        self.receiver_seconds / self.gbytes
    }
}
