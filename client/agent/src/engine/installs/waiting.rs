//! What an install waits for while nothing of it comes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::{Engine, SessionId, Wanted, WantedState};

/// How often installs are looked at: often enough to see a hold-off, which lasts seconds, and for a set of the largest
/// size a per cent of a core.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// When installs were last looked at.
#[derive(Debug)]
pub(super) struct Watch {
    at: Instant,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now }
    }
}

/// Why nothing comes. What explains more stands further back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// All is here, and is being put into place.
    Placing,
    /// A service was asked where it is.
    Plan,
    /// A bundle's info dictionary is being read.
    Info,
    /// It is downloaded for another command.
    OtherInstall,
    /// Those that were asked bring nothing.
    Silence,
    /// Others fetch it first.
    FirstCopy,
    /// The mirror's lid is reached.
    Lid,
}

impl Wait {
    /// Whether it is held back on purpose.
    fn is_on_purpose(self) -> bool {
        matches!(self, Self::FirstCopy | Self::Lid)
    }
}

impl Engine {
    /// When installs are looked at next, if there are any.
    pub(in super::super) fn watch_at(&self) -> Option<Instant> {
        let is_any = self.sessions.values().any(|session| session.install.is_some());
        is_any.then_some(self.installs.watch.at + WATCH_INTERVAL)
    }

    /// Looks at what installs wait for, if it is time.
    pub(in super::super) fn watch_installs(&mut self, now: Instant) {
        let since = now.duration_since(self.installs.watch.at);
        if since < WATCH_INTERVAL {
            return;
        }
        self.installs.watch.at = now;
        let still: HashMap<SessionId, Wait> = self
            .sessions
            .iter_mut()
            .filter_map(|(id, session)| Some((*id, session.install.as_mut()?)))
            .filter_map(|(id, install)| {
                (!std::mem::take(&mut install.has_moved)).then_some((id, Wait::Placing))
            })
            .collect();
        for (id, wait) in self.waits(still) {
            if let Some(install) = self.install(id)
                && wait.is_on_purpose()
            {
                install.waited += since.min(now.duration_since(install.since));
            }
        }
    }

    /// What these wait for most.
    fn waits(&self, mut still: HashMap<SessionId, Wait>) -> HashMap<SessionId, Wait> {
        if still.is_empty() {
            return still;
        }
        for wanted in self.wanted.values() {
            let why = self.why_not_here(wanted);
            for (nth, (id, _)) in wanted.waiters.iter().enumerate() {
                let why = if nth == 0 { why } else { Wait::OtherInstall };
                still.entry(*id).and_modify(|wait| *wait = why.max(*wait));
            }
        }
        still
    }

    fn why_not_here(&self, wanted: &Wanted) -> Wait {
        match wanted.state {
            WantedState::Planning(_) => Wait::Plan,
            WantedState::Joining(_) => Wait::Info,
            WantedState::Downloading(identity) => match self.downloads.get(&identity) {
                Some(download) if self.swarm.is_held_back(download.bundle()) => Wait::Lid,
                Some(download) if self.swarm.is_holding_off(download.bundle()) => Wait::FirstCopy,
                _ => Wait::Silence,
            },
        }
    }
}
