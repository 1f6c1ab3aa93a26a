//! Installs: what each command's packages cost, and what became of them.
//!
//! An install begins when a command says what it wants and ends when nothing of that is open any more, or when the
//! command goes. Its bytes are those of the packages that it was passed and that are in place, as its last event has
//! them: what was downloaded for it counts for the first who waited, and was there for all others.

mod recording;
mod totals;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pkgtorrent_protocol::report::{Fallback, FallbackReason, InstallReport, Ledger, TEXT_LEN_MAX};
use pkgtorrent_protocol::socket::InstallStatus;
use pkgtorrent_protocol::{SetDigest, Sha256Digest};

pub(crate) use self::recording::Giver;
use self::recording::Recording;
use self::totals::Totals;
use self::waiting::Watch;
use super::session::Session;
use super::setback::Setback;
use super::{Engine, SessionId};
use crate::records::{self, Record, Records};
use crate::text::{beginning, bytes, harmless, shortened};

/// How many installs wait to be reported: those of a script that installs packages one by one between two reports that
/// are some minutes apart. Of older ones the number is kept.
const ENDED_MAX: usize = 64;

/// How many of a command's services its record names.
const SERVICES_NAMED_MAX: usize = 8;

/// One install that goes on.
#[derive(Debug)]
pub(crate) struct Install {
    since: Instant,
    began: SystemTime,
    set: Option<SetDigest>,
    packages: u32,
    placed: u32,
    bytes: Ledger,
    waited: Duration,
    fallbacks: BTreeMap<FallbackReason, Fallback>,
    /// Something of it came, or was placed, since it was last looked at.
    has_moved: bool,
    recording: Recording,
}

impl Install {
    pub(crate) fn new(packages: usize) -> Self {
        Self {
            since: Instant::now(),
            began: SystemTime::now(),
            set: None,
            // At most SET_PACKAGES_MAX.
            packages: packages as u32,
            placed: 0,
            bytes: Ledger::default(),
            waited: Duration::ZERO,
            fallbacks: BTreeMap::new(),
            has_moved: true,
            recording: Recording::new(packages),
        }
    }

    /// A package is here.
    pub(crate) fn whole(&mut self, index: usize, from: Ledger) {
        let at = self.since.elapsed();
        self.recording.whole(index, at);
        // What was downloaded was counted as it came.
        self.recording.came(at, &Ledger { store: from.store, ..Ledger::default() });
        self.has_moved = true;
    }

    /// A package is in place.
    pub(crate) fn placed(&mut self, index: usize, from: Ledger) {
        self.recording.placed(index, self.since.elapsed(), from);
        self.placed += 1;
        self.bytes += from;
        self.has_moved = true;
    }

    /// A package is left to the package manager.
    pub(crate) fn left(&mut self, index: usize, setback: &Setback) {
        let Setback { reason, text } = setback;
        self.recording.left(index, self.since.elapsed(), *reason);
        let fallback = self.fallbacks.entry(*reason).or_insert_with(|| Fallback {
            reason: *reason,
            packages: 0,
            // It goes to the log, where a line would be taken for another message.
            example: shortened(&harmless(text), TEXT_LEN_MAX),
        });
        fallback.packages += 1;
        self.has_moved = true;
    }

    /// What it does now.
    pub(super) fn status(&self) -> InstallStatus {
        let at = self.since.elapsed();
        let (rates, peers) = self.recording.lately(at);
        InstallStatus {
            set: self.set,
            took: millis(at).into(),
            packages: self.packages,
            placed: self.placed,
            bytes: self.recording.so_far(),
            rates,
            peers,
        }
    }

    fn report(&self, number: u64) -> InstallReport {
        InstallReport {
            number,
            set: self.set,
            ended_ago: 0,
            took: millis(self.since.elapsed()),
            waited: millis(self.waited),
            packages: self.packages,
            placed: self.placed,
            bytes: self.bytes,
            fallbacks: self.fallbacks.values().cloned().collect(),
        }
    }

    /// What is kept of it, with what its command called its packages.
    fn record(self, report: &InstallReport, session: &Session) -> Record {
        let InstallReport { number, set, took, waited, packages, placed, bytes, ref fallbacks, .. } = *report;
        let services = session.services.iter().take(SERVICES_NAMED_MAX);
        let mut record = Record {
            version: records::VERSION,
            number,
            set,
            services: services.map(|service| beginning(service, TEXT_LEN_MAX).to_owned()).collect(),
            began: self.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took: took.into(),
            waited: waited.into(),
            packages,
            placed,
            bytes,
            fallbacks: fallbacks.clone(),
            ..Record::default()
        };
        self.recording.finish(&mut record, |index| session.called(index));
        record
    }
}

/// Milliseconds, at most seven weeks of them.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The installs of the agent's run.
#[derive(Debug)]
pub(super) struct Installs {
    next: u64,
    /// Those that ended and that no service was told of, the oldest first.
    pub(super) ended: VecDeque<Ended>,
    /// How many more there were.
    pub(super) left_out: u32,
    last: Option<Ended>,
    /// All that ended.
    pub(super) totals: Totals,
    watch: Watch,
    /// How many of the swarm's decisions were recorded.
    noted: u64,
    /// Where they are kept; nowhere if that cannot be written.
    records: Option<Arc<Records>>,
}

/// One install that ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    at: Instant,
    report: InstallReport,
}

impl Installs {
    pub(super) fn new(records: Option<Records>, now: Instant) -> Self {
        Self {
            next: records.as_ref().map_or(0, Records::last) + 1,
            ended: VecDeque::new(),
            left_out: 0,
            last: None,
            totals: Totals::default(),
            watch: Watch::new(now),
            noted: 0,
            records: records.map(Arc::new),
        }
    }

    fn end(&mut self, install: Install, session: &Session) {
        let report = install.report(self.next);
        self.next += 1;
        self.totals.add(&report);
        tracing::info!(uid = session.caller.uid, "{}", in_words(&report));
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
            self.left_out = self.left_out.saturating_add(1);
        }
        if let Some(records) = self.records.clone() {
            let record = install.record(&report, session);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = records.keep(record) {
                    tracing::warn!("an install cannot be recorded: {error}");
                }
            });
        }
        let ended = Ended { at: Instant::now(), report };
        self.ended.push_back(ended.clone());
        self.last = Some(ended);
    }

    /// A service was told of all up to this number, and of so many more.
    pub(super) fn told(&mut self, last: u64, left_out: u32) {
        self.ended.retain(|ended| ended.report.number > last);
        self.left_out = self.left_out.saturating_sub(left_out);
    }

    /// The install that ended last.
    pub(super) fn last(&self) -> Option<InstallReport> {
        self.last.as_ref().map(Ended::report)
    }
}

impl Ended {
    /// What to say of it now.
    pub(super) fn report(&self) -> InstallReport {
        // No agent runs for a century.
        let ended_ago = u32::try_from(self.at.elapsed().as_secs()).unwrap_or(u32::MAX);
        InstallReport { ended_ago, ..self.report.clone() }
    }
}

/// An install as its line in the log.
fn in_words(report: &InstallReport) -> String {
    let InstallReport { packages, placed, bytes: Ledger { origin, near, far, store, .. }, .. } = report;
    let set = report.set.map_or_else(|| "nobody was asked".to_owned(), |set| format!("set {set}"));
    let seconds = f64::from(report.took) / 1e3;
    // A transaction that was in the store may have taken no millisecond.
    let rate = (near + far + origin) as f64 / seconds.max(1e-3);
    let mut line = format!(
        "{set}: {placed} of {packages} packages placed in {seconds:.1} s: {} from peers, {} from the origin, {} from the \
         store, {} a second",
        bytes(near + far),
        bytes(*origin),
        bytes(*store),
        bytes(rate as u64),
    );
    for Fallback { packages, example, .. } in &report.fallbacks {
        line.push_str(&format!("; {packages} left to the package manager: {example}"));
    }
    line
}

impl Engine {
    /// This many bytes of a package came, from these peers as far as they came from peers: they count for the command that
    /// waits for it first.
    pub(super) fn credit(&mut self, identity: &Sha256Digest, from: Ledger, givers: &[(Giver, u64)]) {
        self.ledger += from;
        let Some(install) = self.first_waiter(identity).and_then(|id| self.install(id)) else { return };
        install.has_moved = true;
        let at = install.since.elapsed();
        install.recording.came(at, &from);
        for (giver, bytes) in givers {
            install.recording.gave(at, *giver, *bytes);
        }
    }

    /// The origin is asked for something of a package; gives the command for which it is.
    pub(super) fn asks_origin(&mut self, identity: &Sha256Digest) -> Option<SessionId> {
        let id = self.first_waiter(identity)?;
        let install = self.install(id)?;
        install.recording.asks_origin(install.since.elapsed());
        Some(id)
    }

    /// What the origin was asked for is over.
    pub(super) fn asked_origin(&mut self, id: SessionId) {
        if let Some(install) = self.install(id) {
            install.recording.asked_origin(install.since.elapsed());
        }
    }

    fn first_waiter(&self, identity: &Sha256Digest) -> Option<SessionId> {
        let digests = self.downloads.get(identity)?.digests();
        digests.iter().find_map(|digest| Some(self.wanted.get(digest)?.waiters.first()?.0))
    }

    fn install(&mut self, id: SessionId) -> Option<&mut Install> {
        self.sessions.get_mut(&id)?.install.as_mut()
    }

    /// A service is asked for a set that a command wants.
    pub(super) fn set_is_asked_for(&mut self, id: SessionId, set: SetDigest) {
        if let Some(install) = self.install(id) {
            install.set.get_or_insert(set);
        }
    }

    /// Nothing of an install is open any more.
    pub(super) fn end_install(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(install) = session.install.take() {
            self.installs.end(install, session);
        }
    }

    /// A command has gone; what of its install is open is left to the package manager.
    pub(super) fn interrupt_install(&mut self, session: &mut Session) {
        let Some(mut install) = session.install.take() else { return };
        let setback = Setback::new(FallbackReason::Interrupted, "the command ended before it was in place");
        for index in session.open_wants() {
            install.left(index, &setback);
        }
        self.installs.end(install, session);
    }

    /// The agent ends, and with it all installs.
    pub fn end_installs(&mut self) {
        for (_, mut session) in std::mem::take(&mut self.sessions) {
            self.interrupt_install(&mut session);
        }
    }
}
