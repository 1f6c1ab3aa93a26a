//! What all installs of the agent's run come to.

use std::collections::BTreeMap;
use std::time::Duration;

use pkgtorrent_protocol::report::{FallbackReason, InstallReport};

/// Sums over installs.
#[derive(Debug, Default)]
pub(in crate::engine) struct Totals {
    pub(in crate::engine) installs: u64,
    pub(in crate::engine) placed: u64,
    pub(in crate::engine) took: Duration,
    pub(in crate::engine) waited: Duration,
    left: BTreeMap<FallbackReason, u64>,
}

impl Totals {
    pub(super) fn add(&mut self, report: &InstallReport) {
        self.installs += 1;
        self.placed += u64::from(report.placed);
        self.took += Duration::from_millis(report.took.into());
        self.waited += Duration::from_millis(report.waited.into());
        for fallback in &report.fallbacks {
            *self.left.entry(fallback.reason).or_default() += u64::from(fallback.packages);
        }
    }

    /// How many packages were left to the package manager for this reason.
    pub(in crate::engine) fn left(&self, reason: FallbackReason) -> u64 {
        self.left.get(&reason).copied().unwrap_or(0)
    }
}
