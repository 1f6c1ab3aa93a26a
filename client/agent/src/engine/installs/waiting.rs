//! What an install waits for while nothing of it comes, or no more than the mirror's lid lets through.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pkgtorrent_swarm::{Happening, LinkId, Note};

use super::super::{Engine, SessionId, Wanted, WantedState};
use crate::records::Wait;

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
        let installs: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.install.is_some())
            .map(|(id, _)| *id)
            .collect();
        for (id, wait) in self.waits(&installs) {
            let Some(install) = self.install(id) else { continue };
            // Under the lid a little comes all the time.
            if std::mem::take(&mut install.has_moved) && wait != Wait::Lid {
                continue;
            }
            let to = now.duration_since(install.since);
            let time = since.min(to);
            if wait.is_on_purpose() {
                install.waited += time;
            }
            install.recording.waited(to - time, to, wait);
        }
        self.watch_peers(since);
    }

    /// Peers that owe something have had this time for it.
    fn watch_peers(&mut self, time: Duration) {
        let recordings = self.sessions.values_mut().filter_map(|session| session.install.as_mut());
        let mut recordings: Vec<_> = recordings.map(|install| &mut install.recording).collect();
        if recordings.is_empty() {
            return;
        }
        for (id, link) in self.network.links.iter().filter(|(id, _)| self.swarm.owes(**id)) {
            let (giver, client) = (link.giver(), self.network.client_of(*id));
            recordings.iter_mut().for_each(|recording| recording.owed(giver, client, time));
        }
    }

    /// Records what the swarm decided since the last time, for all installs that go on: which of them it was for, the bundle
    /// says that each decision names.
    pub(in super::super) fn record_decisions(&mut self) {
        let news = self.swarm.noted() - self.installs.noted;
        if news == 0 {
            return;
        }
        self.installs.noted += news;
        if self.sessions.values().all(|session| session.install.is_none()) {
            return;
        }
        // Those that the swarm has forgotten already are lost.
        let news = usize::try_from(news).unwrap_or(usize::MAX);
        let mut notes: Vec<Note> = self.swarm.notes().rev().take(news).copied().collect();
        notes.reverse();
        notes.retain(|note| self.is_of_installs(note));
        for note in &notes {
            let words = self.in_words(note);
            let silent = |id: LinkId| self.network.address_of(id);
            let (silent, banned) = match note.what {
                Happening::Silent { link, .. } => (silent(link), None),
                Happening::Banned { link, .. } => (None, silent(link)),
                _ => (None, None),
            };
            for install in self.sessions.values_mut().filter_map(|session| session.install.as_mut()) {
                install.recording.decided(install.since.elapsed(), &words);
                silent.into_iter().for_each(|address| install.recording.fell_silent(address));
                banned.into_iter().for_each(|address| install.recording.banned(address));
            }
        }
    }

    /// Who comes and goes only to be given something is no matter of an install.
    fn is_of_installs(&self, note: &Note) -> bool {
        match note.what {
            Happening::Linked { bundle, .. } => self.swarm.needed_len(bundle) > 0,
            Happening::Unlinked { link } => {
                self.network.bundle_of(link).is_some_and(|bundle| self.swarm.needed_len(bundle) > 0)
            }
            _ => true,
        }
    }

    /// What these wait for most.
    fn waits(&self, installs: &[SessionId]) -> HashMap<SessionId, Wait> {
        let mut waits: HashMap<SessionId, Wait> = installs.iter().map(|id| (*id, Wait::Placing)).collect();
        if waits.is_empty() {
            return waits;
        }
        for wanted in self.wanted.values() {
            let why = self.why_not_here(wanted);
            for (nth, (id, _)) in wanted.waiters.iter().enumerate() {
                let why = if nth == 0 { why } else { Wait::OtherInstall };
                waits.entry(*id).and_modify(|wait| *wait = why.max(*wait));
            }
        }
        waits
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
