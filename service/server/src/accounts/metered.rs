//! The accounts as metrics, which count from the start of the service and are kept by who collects them.

use std::time::Duration;

use pkgtorrent_protocol::report::{FallbackReason, InstallReport, Ledger};

use super::tally::Tally;
use crate::metering;

/// The site of hosts that are in none: for Prometheus an empty label is as good as no label.
const NO_SITE: &str = "none";

/// Counts what is new of a host. There are no more sites than the accounts know.
pub(super) fn count(site: &str, tally: &Tally) {
    let site = if site.is_empty() { NO_SITE } else { site };
    let Ledger { origin, near, far, store, sent } = tally.bytes;
    for (source, bytes) in [("origin", origin), ("near", near), ("far", far), ("store", store)] {
        metering::FLEET_BYTES.at(&[source, site]).increment(bytes);
    }
    metering::FLEET_SENT.at(&[site]).increment(sent);
    metering::FLEET_INSTALLS.at(&[site]).increment(tally.installs);
    for (reason, packages) in FallbackReason::ALL.into_iter().zip(tally.fallbacks) {
        if packages > 0 {
            metering::FLEET_FALLBACKS.at(&[reason.name()]).increment(packages);
        }
    }
}

/// Counts how long an install took.
pub(super) fn took(install: &InstallReport) {
    metering::FLEET_INSTALL_TIMES.took(Duration::from_millis(install.took.into()));
}
