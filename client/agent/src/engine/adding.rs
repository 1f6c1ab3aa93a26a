//! Commands about the store itself: adding files, listing and verifying packages.

use std::os::fd::OwnedFd;
use std::time::{Instant, SystemTime};

use pkgtorrent_protocol::socket::{Answer, StoredPackage};
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

use super::event::Task;
use super::session::{ADDING_MAX, Addition, LEFT_MAX, Session};
use super::{Engine, SessionId};
use crate::store::{Added, Adding, StoreError};

impl Engine {
    /// A command brings a file.
    pub(super) fn add(
        &mut self,
        id: SessionId,
        index: usize,
        digest: Option<PackageDigest>,
        file: Option<OwnedFd>,
    ) {
        self.lifetime.used(Instant::now());
        let known = digest.and_then(|digest| self.store.find(&digest));
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(file) = file else {
            return session.send(Answer::Failed { index, reason: "no file came along".into() }, None);
        };
        if let Some(identity) = known {
            let size = self.store.size(&identity).unwrap_or_default();
            return session.send(Answer::Added { index, identity, size }, None);
        }
        if session.adding.len() >= ADDING_MAX {
            return session.send(Answer::Failed { index, reason: "too many files at once".into() }, None);
        }
        session.adding.push_back(Addition { index, digest, file });
        self.add_next(id);
    }

    /// Takes in the next file of a session; one after the other, so that a command cannot occupy every thread.
    fn add_next(&mut self, id: SessionId) {
        let needs = self.needs();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.is_adding {
            return;
        }
        let Some(Addition { index, digest, file }) = session.adding.pop_front() else { return };
        session.is_adding = true;
        let prepared = self.store.begin_adding(file, digest, &needs);
        let events = self.yard.events.clone();
        tokio::task::spawn_blocking(move || {
            let result = prepared.and_then(Adding::take_in);
            let _ = events.blocking_send(Task::Added { session: id, index, result }.into());
        });
    }

    /// A file was taken in, or was not.
    pub(super) fn added(&mut self, id: SessionId, index: usize, result: Result<Added, StoreError>) {
        let entered = result.and_then(|added| {
            let (identity, size) = (added.identity, added.size);
            self.store.enter(identity, size, &added.aliases)?;
            Ok(Answer::Added { index, identity, size })
        });
        let answer = entered.unwrap_or_else(|error| Answer::Failed { index, reason: error.to_string() });
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_adding = false;
            session.send(answer, None);
            if session.is_gone && session.adding.is_empty() {
                self.sessions.remove(&id);
            } else {
                self.add_next(id);
            }
        }
    }

    /// Every package of the store.
    pub(super) fn say_list(&mut self, id: SessionId) {
        let Some(answers) = self.sessions.get_mut(&id).and_then(Session::begin_list) else { return };
        let (now, packages) = (SystemTime::now(), self.store.list());
        // There may be more of them than answers that can wait.
        tokio::spawn(async move {
            for (identity, size, wanted) in packages {
                let wanted_ago = now.duration_since(wanted).map_or(0, |ago| ago.as_secs());
                let stored = StoredPackage { identity, size, wanted_ago, damage: None };
                if answers.send(Answer::Stored(stored).into()).await.is_err() {
                    return;
                }
            }
            let _ = answers.send(Answer::End.into()).await;
        });
    }

    /// Every package of the store is to be read again.
    pub(super) fn verify(&mut self, id: SessionId) {
        let packages = self.store.list();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.begin_list().is_some() {
            session.checking = packages.into_iter().map(|(identity, ..)| identity).collect();
            self.check_next(id);
        }
    }

    fn check_next(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(identity) = session.checking.pop_front() else {
            return session.send(Answer::End, None);
        };
        let reading = self.store.checking(&identity);
        let events = self.yard.events.clone();
        tokio::task::spawn_blocking(move || {
            let result = reading.and_then(|reading| reading.is_right());
            let _ = events.blocking_send(Task::Checked { session: id, identity, result }.into());
        });
    }

    /// A package was read again.
    pub(super) fn checked(&mut self, id: SessionId, identity: Sha256Digest, result: std::io::Result<bool>) {
        let size = self.store.size(&identity).unwrap_or_default();
        let damage = match result {
            Ok(true) => None,
            Ok(false) => Some("it does not match its digest".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(damage) = &damage {
            tracing::warn!("{identity} leaves the store: {damage}");
            self.store.remove(&identity);
        }
        if let Some(session) = self.sessions.get(&id) {
            session.send(Answer::Stored(StoredPackage { identity, size, wanted_ago: 0, damage }), None);
        }
        self.check_next(id);
    }

    /// A command that brought files has gone, as the package manager's shim does: its files are taken in nevertheless.
    pub(super) fn put_off_additions(&mut self, id: SessionId, mut session: Session) {
        let left = self.sessions.values().filter(|session| session.is_gone);
        let left: usize = left.map(|session| session.adding.len()).sum();
        session.adding.truncate(LEFT_MAX.saturating_sub(left));
        if session.is_adding || !session.adding.is_empty() {
            self.sessions.insert(id, session.only_additions());
        }
    }
}
