//! Handing whole packages to those who wait for them.

use std::time::Instant;

use pkgtorrent_protocol::report::Ledger;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

use super::event::Task;
use super::setback::Setback;
use super::{Engine, SessionId};

/// What is said of a package that was there already.
pub(super) fn from_store(size: u64) -> Ledger {
    Ledger { store: size, ..Ledger::default() }
}

impl Engine {
    /// A package that is wanted by this digest is in the store.
    pub(super) fn arrived_whole(&mut self, digest: &PackageDigest, identity: Sha256Digest, from: Ledger) {
        let Some(wanted) = self.wanted.remove(digest) else { return };
        self.lifetime.used(Instant::now());
        let size = wanted.size;
        for (nth, (id, index)) in wanted.waiters.into_iter().enumerate() {
            // It was downloaded once; for all others it was there.
            let from = if nth == 0 { from } else { from_store(size) };
            self.whole_for(id, index, identity, from);
            self.pass_on(id);
        }
    }

    /// A package is in the store, and this command waits for it.
    pub(super) fn whole_for(&mut self, id: SessionId, index: usize, identity: Sha256Digest, from: Ledger) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.whole(index, identity, from)
        {
            self.store.pin(&identity);
            self.ledger.store += from.store;
        }
    }

    /// Passes what may be passed now.
    pub(super) fn pass_on(&mut self, id: SessionId) {
        while let Some((index, identity, from)) =
            self.sessions.get_mut(&id).and_then(super::session::Session::next_to_pass)
        {
            let opened = self.store.open_package(&identity);
            let Some(session) = self.sessions.get_mut(&id) else { return };
            match opened {
                Ok(Some(file)) => session.pass(index, identity, from, file),
                Ok(None) => self.lost(id, index, identity, "it vanished from the store"),
                Err(error) => self.lost(id, index, identity, &error.to_string()),
            }
        }
    }

    /// What was in the store is not there any more, or cannot be opened: it is downloaded once more.
    fn lost(&mut self, id: SessionId, index: usize, identity: Sha256Digest, reason: &str) {
        self.store.unpin(&identity);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.wait_again(index);
        let is_first = session.wrong(index);
        match session.open_want(index).cloned() {
            Some(want) if is_first => self.fetch_again(id, index, &want),
            _ => session.fail(index, &Setback::other(reason)),
        }
        self.end_if_over(id);
    }

    /// A command is done with a package.
    pub(super) fn taken(&mut self, id: SessionId, index: usize, failed: Option<String>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(identity) = session.taken(index, failed) {
            self.store.unpin(&identity);
            self.pass_on(id);
            self.end_if_over(id);
        }
    }

    /// What was passed does not match its digest. If that is another than its name in the store, it may be that one which
    /// is wrong: then the package is read again.
    pub(super) fn rejected(&mut self, id: SessionId, index: usize) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(identity) = session.rejected(index) else { return };
        let is_identity =
            session.open_want(index).is_some_and(|want| want.digest.identity() == Some(identity));
        self.store.unpin(&identity);
        if is_identity {
            self.judged(id, index, identity, false);
        } else {
            let reading = self.store.checking(&identity);
            let events = self.yard.events.clone();
            tokio::task::spawn_blocking(move || {
                let result = reading.and_then(|reading| reading.is_right());
                let _ = events.blocking_send(Task::Judged { session: id, index, identity, result }.into());
            });
        }
        self.pass_on(id);
    }

    /// What a command rejected is known to be right or not: if not, it leaves the store and is downloaded once more.
    pub(super) fn judged(&mut self, id: SessionId, index: usize, identity: Sha256Digest, is_right: bool) {
        if !is_right {
            tracing::warn!("{identity} leaves the store: it does not match its digest");
            self.store.remove(&identity);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // The command may have gone meanwhile.
        let Some(want) = session.open_want(index).cloned() else { return };
        if session.wrong(index) && !is_right {
            self.fetch_again(id, index, &want);
        } else {
            session.fail(index, &Setback::wrong("what is there does not match its digest"));
        }
        self.end_if_over(id);
    }
}
