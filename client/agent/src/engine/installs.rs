//! Installs: what each command's packages cost, and what became of them.
//!
//! An install begins when a command says what it wants and ends when nothing of that is open any more, or when the
//! command goes. Its bytes are those of the packages that it was passed and that are in place, as its last event has
//! them: what was downloaded for it counts for the first who waited, and was there for all others.

mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::report::{Fallback, FallbackReason, InstallReport, Ledger, TEXT_LEN_MAX};
use pkgtorrent_protocol::{SetDigest, Sha256Digest};

use self::waiting::Watch;
use super::session::Session;
use super::setback::Setback;
use super::{Caller, Engine, SessionId};
use crate::text::beginning;

/// How many installs wait to be reported: those of a script that installs packages one by one between two reports that
/// are some minutes apart. Of older ones the number is kept.
const ENDED_MAX: usize = 64;

/// One install that goes on.
#[derive(Debug)]
pub(crate) struct Install {
    since: Instant,
    set: Option<SetDigest>,
    packages: u32,
    placed: u32,
    bytes: Ledger,
    waited: Duration,
    fallbacks: BTreeMap<FallbackReason, Fallback>,
    /// Something of it came, or was placed, since it was last looked at.
    has_moved: bool,
}

impl Install {
    pub(crate) fn new(packages: usize) -> Self {
        Self {
            since: Instant::now(),
            set: None,
            // At most SET_PACKAGES_MAX.
            packages: packages as u32,
            placed: 0,
            bytes: Ledger::default(),
            waited: Duration::ZERO,
            fallbacks: BTreeMap::new(),
            has_moved: true,
        }
    }

    /// A package is in place.
    pub(crate) fn placed(&mut self, from: Ledger) {
        self.placed += 1;
        self.bytes += from;
        self.has_moved = true;
    }

    /// A package is left to the package manager.
    pub(crate) fn left(&mut self, setback: &Setback) {
        let Setback { reason, text } = setback;
        let fallback = self.fallbacks.entry(*reason).or_insert_with(|| Fallback {
            reason: *reason,
            packages: 0,
            example: beginning(text, TEXT_LEN_MAX).to_owned(),
        });
        fallback.packages += 1;
        self.has_moved = true;
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
    watch: Watch,
}

/// One install that ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    at: Instant,
    report: InstallReport,
}

impl Installs {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: 1, ended: VecDeque::new(), left_out: 0, last: None, watch: Watch::new(now) }
    }

    fn end(&mut self, install: &Install, caller: Caller) {
        let report = install.report(self.next);
        self.next += 1;
        tracing::info!(uid = caller.uid, "{}", in_words(&report));
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
            self.left_out = self.left_out.saturating_add(1);
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

fn in_words(report: &InstallReport) -> String {
    let InstallReport { packages, placed, bytes: Ledger { origin, near, far, store, .. }, .. } = report;
    format!(
        "{placed} of {packages} packages placed: {} bytes from peers, {origin} from the origin, {store} from the store",
        near + far
    )
}

impl Engine {
    /// This many bytes of a package came: they count for the command that waits for it first.
    pub(super) fn credit(&mut self, identity: &Sha256Digest, from: Ledger) {
        self.ledger += from;
        if let Some(install) = self.first_waiter(identity).and_then(|id| self.install(id)) {
            install.has_moved = true;
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
            self.installs.end(&install, session.caller);
        }
    }

    /// A command has gone; what of its install is open is left to the package manager.
    pub(super) fn interrupt_install(&mut self, session: &mut Session) {
        let Some(mut install) = session.install.take() else { return };
        let setback = Setback::new(FallbackReason::Interrupted, "the command ended before it was in place");
        for _ in 0..session.open() {
            install.left(&setback);
        }
        self.installs.end(&install, session.caller);
    }
}
