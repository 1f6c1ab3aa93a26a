//! What the engine knows of itself, as metrics.

use pkgtorrent_protocol::report::{FallbackReason, Ledger};
use pkgtorrent_protocol::socket::Traffic;
use pkgtorrent_swarm::Outcome;

use super::Engine;
use super::event::Task;
use crate::metering::{self as metric, MetricsText};

/// How often services and web seeds did not do what they were asked for.
#[derive(Debug, Default)]
pub(super) struct Failures {
    plans: u64,
    announces: u64,
    origin: u64,
}

impl Failures {
    pub(super) fn count(&mut self, task: &Task) {
        match task {
            Task::Planned { result: Err(_), .. } => self.plans += 1,
            Task::Announced { result: Err(_), .. } => self.announces += 1,
            Task::Ended { outcome, .. } if !matches!(outcome, Outcome::Complete | Outcome::NoRanges) => {
                self.origin += 1;
            }
            _ => {}
        }
    }
}

impl Engine {
    /// All of it as Prometheus reads it.
    pub(super) fn metrics(&self) -> String {
        let mut text = MetricsText::default();
        text.by(&metric::BUILD_INFO, [(env!("CARGO_PKG_VERSION"), 1)]);
        text.one(&metric::UPTIME, self.started.elapsed().as_secs());
        self.measure_traffic(&mut text);
        self.measure_installs(&mut text);
        text.one(&metric::PLAN_FAILURES, self.failures.plans);
        text.one(&metric::ANNOUNCE_FAILURES, self.failures.announces);
        text.one(&metric::ORIGIN_ERRORS, self.failures.origin);
        let store = self.store.totals();
        text.one(&metric::STORE_PACKAGES, store.packages);
        text.one(&metric::STORE_BYTES, store.bytes);
        text.one(&metric::STORE_LIMIT, store.bytes_max);
        self.measure_sharing(&mut text);
        text.finish()
    }

    fn measure_traffic(&self, text: &mut MetricsText) {
        let Ledger { origin, near, far, store, sent } = self.ledger;
        text.by(&metric::BYTES, [("origin", origin), ("near", near), ("far", far), ("store", store)]);
        text.one(&metric::SENT, sent);
        let Traffic { sent, received } = self.network.peers.messages();
        text.by(&metric::MESSAGES, [("sent", sent), ("received", received)]);
    }

    fn measure_installs(&self, text: &mut MetricsText) {
        let totals = &self.installs.totals;
        text.one(&metric::INSTALLS, totals.installs);
        text.one(&metric::INSTALL_SECONDS, totals.took.as_secs_f64());
        text.one(&metric::HELD_BACK, totals.waited.as_secs_f64());
        text.one(&metric::PLACED, totals.placed);
        text.by(&metric::LEFT, FallbackReason::ALL.map(|reason| (reason.name(), totals.left(reason))));
        text.one(&metric::DOWNLOADS, self.downloads.len());
    }

    fn measure_sharing(&self, text: &mut MetricsText) {
        let links = &self.network.links;
        let made = links.values().filter(|link| link.is_dialled).count();
        text.one(&metric::PEERS, self.peers_connected());
        text.by(&metric::LINKS, [("in", links.len() - made), ("out", made)]);
        text.one(&metric::BANNED, self.network.banned.len());
        text.one(&metric::SHARED, self.bundles.values().filter(|bundle| bundle.offers).count());
    }
}
