//! Telling a service what this host does, for its accounts. A report goes along with an announce that is sent anyway. What
//! was answered is forgotten, what was not is told again.

use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::BatchAnswer;
use pkgtorrent_protocol::report::{INSTALLS_MAX, InstallReport, Report};
use reqwest::Url;

use super::Engine;

/// The longest that a service may have itself told again after, whatever it says.
const REPORT_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What a report had that need not be told again once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Installs up to this number.
    last: u64,
    /// So many that were not told one by one.
    left_out: u32,
}

impl Told {
    pub(super) fn by(report: &Report) -> Self {
        let last = report.installs.last().map_or(0, |install| install.number);
        Self { last, left_out: report.installs_left_out }
    }
}

impl Engine {
    /// What goes along with an announce to this service now.
    pub(super) fn report_to(&self, url: &Url) -> Option<Report> {
        self.report_at(url).filter(|at| *at <= Instant::now()).map(|_| self.report(0))
    }

    /// What goes along with the last one, whenever that is: the latest installs, if it cannot be all.
    pub(super) fn last_report_to(&self, url: &Url) -> Option<Report> {
        self.report_at(url)?;
        Some(self.report(self.installs.ended.len().saturating_sub(INSTALLS_MAX)))
    }

    /// Whether there is anything new to tell of installs.
    pub(super) fn has_untold_installs(&self) -> bool {
        !self.installs.ended.is_empty() || self.installs.left_out > 0
    }

    /// When this service is to be told something. Bytes are counted for all services together, so only one is told: the
    /// first that keeps accounts and answers, of those that something is announced to if there are any.
    fn report_at(&self, url: &Url) -> Option<Instant> {
        let keepers = self.trackers.iter().filter(|tracker| self.is_reporting && tracker.report_at.is_some());
        let keeper =
            keepers.min_by_key(|tracker| (self.announced_at(&tracker.url).is_empty(), tracker.failures > 0));
        keeper.filter(|keeper| keeper.url == *url)?.report_at
    }

    fn report(&self, skipped: usize) -> Report {
        let installs = self.installs.ended.iter().skip(skipped).take(INSTALLS_MAX);
        Report {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            bytes: self.ledger,
            installs: installs.map(|ended| legible(ended.report())).collect(),
            // As many as the queue has at most.
            installs_left_out: self.installs.left_out.saturating_add(skipped as u32),
        }
    }

    /// A service has answered an announce. One that does not say when to report again keeps no accounts.
    pub(super) fn may_report(&mut self, url: &Url, told: Option<Told>, answer: &BatchAnswer) {
        let Some(tracker) = self.trackers.iter_mut().find(|tracker| tracker.url == *url) else { return };
        let now = Instant::now();
        let after =
            answer.report_after.map(|seconds| Duration::from_secs(seconds.into()).min(REPORT_AFTER_MAX));
        tracker.report_at = match (after, told) {
            (None, _) => None,
            (Some(after), Some(_)) => Some(now + after),
            (Some(after), None) => Some(tracker.report_at.unwrap_or(now).min(now + after)),
        };
        // What was passed over is told again, in its time.
        let told = told.filter(|_| !answer.unreported);
        if let (Some(_), Some(Told { last, left_out })) = (after, told) {
            self.installs.told(last, left_out);
        }
    }
}

/// A report whose texts have nothing in them that JSON would write in six bytes.
fn legible(mut install: InstallReport) -> InstallReport {
    for fallback in &mut install.fallbacks {
        fallback.example.retain(|c| !c.is_control());
    }
    install
}
