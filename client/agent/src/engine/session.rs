//! One connected command, and what it waits for.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;

use pkgtorrent_protocol::report::{FallbackReason, Ledger};
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use pkgtorrent_protocol::socket::{Answer, Need, PASSED_MAX, Want};
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use tokio::sync::mpsc;

use super::event::{Caller, Outgoing};
use super::installs::Install;
use super::setback::Setback;

/// The most answers that wait for a command to read them: for each package of the largest set one that it is whole, one
/// after it was rejected and one that it failed, and a little around. The queue takes memory only for what is in it.
pub(crate) const ANSWERS_MAX: usize = 3 * SET_PACKAGES_MAX + 1024;

/// While more answers than this wait, a command is not told of progress.
const BEHIND_MAX: usize = 256;

/// The most files that a command may pass for the store before the first of them is done.
pub(crate) const ADDING_MAX: usize = 64;

/// The most files that commands which have gone may leave to be taken in: each is open until then, and an agent that has no
/// descriptor left can neither download nor answer.
pub(crate) const LEFT_MAX: usize = 4 * ADDING_MAX;

/// A connected command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    answers: mpsc::Sender<Outgoing>,
    pub(crate) services: Vec<String>,
    wants: Vec<Wanting>,
    needs: Vec<Need>,
    /// Wants that are neither passed and taken nor failed.
    open: usize,
    /// Bytes of the open wants, and of all of them.
    open_bytes: u64,
    all_bytes: u64,
    passing: VecDeque<usize>,
    passed: usize,
    /// What it cost so far, while anything of it is open.
    pub(crate) install: Option<Install>,
    /// What it passed for the store and waits for.
    pub(crate) adding: VecDeque<Addition>,
    pub(crate) is_adding: bool,
    /// It has gone, and what it passed for the store is still being taken in.
    pub(crate) is_gone: bool,
    has_listed: bool,
    /// The packages that `store verify` still has to read.
    pub(crate) checking: VecDeque<Sha256Digest>,
}

/// A file for the store.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) index: usize,
    pub(crate) digest: Option<PackageDigest>,
    pub(crate) file: OwnedFd,
}

#[derive(Debug)]
struct Wanting {
    want: Want,
    state: WantState,
    was_wrong: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantState {
    /// It is being looked for or downloaded.
    Waiting,
    /// It is in the store, pinned there, and will be passed.
    Whole(Sha256Digest, Ledger),
    /// It was passed, and the command has not said what became of it.
    Passed(Sha256Digest, Ledger),
    /// It was taken, or failed.
    Over,
}

impl Session {
    pub(crate) fn new(caller: Caller, answers: mpsc::Sender<Outgoing>) -> Self {
        Self {
            caller,
            answers,
            services: Vec::new(),
            wants: Vec::new(),
            needs: Vec::new(),
            open: 0,
            open_bytes: 0,
            all_bytes: 0,
            passing: VecDeque::new(),
            passed: 0,
            install: None,
            adding: VecDeque::new(),
            is_adding: false,
            is_gone: false,
            has_listed: false,
            checking: VecDeque::new(),
        }
    }

    /// Takes note of what the command wants. It may ask once.
    pub(crate) fn want(&mut self, wants: Vec<Want>, needs: Vec<Need>) -> Result<(), &'static str> {
        if !self.wants.is_empty() {
            return Err("a connection carries one set");
        }
        if wants.len() > SET_PACKAGES_MAX {
            return Err("the set has too many packages");
        }
        self.open = wants.len();
        self.install = (self.open > 0).then(|| Install::new(self.open));
        self.open_bytes = wants.iter().fold(0, |sum, want| sum.saturating_add(want.size));
        self.all_bytes = self.open_bytes;
        self.needs = needs;
        self.wants = wants
            .into_iter()
            .map(|want| Wanting { want, state: WantState::Waiting, was_wrong: false })
            .collect();
        Ok(())
    }

    /// The want with this index, while it is open.
    pub(crate) fn open_want(&self, index: usize) -> Option<&Want> {
        let wanting = self.wants.get(index)?;
        (wanting.state != WantState::Over).then_some(&wanting.want)
    }

    /// Whether the command waits for packages.
    pub(crate) fn is_waiting(&self) -> bool {
        self.open > 0
    }

    /// The wants that are open.
    pub(crate) fn open_wants(&self) -> impl Iterator<Item = usize> + '_ {
        let is_open = |(_, wanting): &(usize, &Wanting)| wanting.state != WantState::Over;
        self.wants.iter().enumerate().filter(is_open).map(|(index, _)| index)
    }

    /// What the command calls a package, and its size.
    pub(crate) fn called(&self, index: usize) -> (&str, u64) {
        self.wants.get(index).map_or(("", 0), |wanting| (&wanting.want.name, wanting.want.size))
    }

    /// What must stay free for it: the copies only of those packages that are not in place yet.
    pub(crate) fn needs(&self) -> impl Iterator<Item = Need> + '_ {
        let (open, all) = (u128::from(self.open_bytes), u128::from(self.all_bytes.max(1)));
        self.needs.iter().map(move |need| {
            // The share is at most the whole, which is a u64.
            let share = (u128::from(need.bytes) * open / all) as u64;
            Need { bytes: if need.copies { share } else { need.bytes }, ..*need }
        })
    }

    /// A package is in the store and pinned. It will be passed as soon as it may. False if nobody waits for it here.
    pub(crate) fn whole(&mut self, index: usize, identity: Sha256Digest, from: Ledger) -> bool {
        match self.wants.get_mut(index) {
            Some(wanting) if wanting.state == WantState::Waiting => {
                wanting.state = WantState::Whole(identity, from);
                self.passing.push_back(index);
                if let Some(install) = &mut self.install {
                    install.whole(index, from);
                }
                true
            }
            _ => false,
        }
    }

    /// The next package that may be passed.
    pub(crate) fn next_to_pass(&mut self) -> Option<(usize, Sha256Digest, Ledger)> {
        if self.passed >= PASSED_MAX {
            return None;
        }
        let index = self.passing.pop_front()?;
        match self.wants[index].state {
            WantState::Whole(identity, from) => Some((index, identity, from)),
            _ => None,
        }
    }

    /// Passes a package's open file.
    pub(crate) fn pass(&mut self, index: usize, identity: Sha256Digest, from: Ledger, file: File) {
        self.wants[index].state = WantState::Passed(identity, from);
        self.passed += 1;
        self.send(Answer::Whole { index, from: from.into() }, Some(file));
    }

    /// The package could not be passed after all: it is waited for again.
    pub(crate) fn wait_again(&mut self, index: usize) {
        self.wants[index].state = WantState::Waiting;
    }

    /// Something is wrong with what was there of a package. True if that is so for the first time.
    pub(crate) fn wrong(&mut self, index: usize) -> bool {
        !std::mem::replace(&mut self.wants[index].was_wrong, true)
    }

    /// The command is done with a package that was passed, and has put it into its place unless that failed; gives its
    /// identity, whose pin is to be taken away.
    pub(crate) fn taken(&mut self, index: usize, failed: Option<String>) -> Option<Sha256Digest> {
        let (identity, from) = self.no_longer_passed(index)?;
        if let Some(install) = &mut self.install {
            match failed {
                None => install.placed(index, from),
                Some(reason) => install.left(index, &Setback::new(FallbackReason::NotPlaced, reason)),
            }
        }
        self.close(index);
        Some(identity)
    }

    /// What was passed does not match, and is waited for again; gives its identity, whose pin is to be taken away.
    pub(crate) fn rejected(&mut self, index: usize) -> Option<Sha256Digest> {
        let (identity, _) = self.no_longer_passed(index)?;
        self.wait_again(index);
        Some(identity)
    }

    fn no_longer_passed(&mut self, index: usize) -> Option<(Sha256Digest, Ledger)> {
        match self.wants.get(index)?.state {
            WantState::Passed(identity, from) => {
                self.passed -= 1;
                Some((identity, from))
            }
            _ => None,
        }
    }

    /// A package cannot be had.
    pub(crate) fn fail(&mut self, index: usize, setback: &Setback) {
        if self.wants.get(index).is_some_and(|wanting| wanting.state == WantState::Waiting) {
            if let Some(install) = &mut self.install {
                install.left(index, setback);
            }
            self.close(index);
            self.send(Answer::Failed { index, reason: setback.text.clone() }, None);
        }
    }

    fn close(&mut self, index: usize) {
        let wanting = &mut self.wants[index];
        wanting.state = WantState::Over;
        self.open -= 1;
        self.open_bytes = self.open_bytes.saturating_sub(wanting.want.size);
    }

    /// Says how far a package is, unless the command is behind with reading.
    pub(crate) fn progress(&self, index: usize, done: u64) {
        if self.answers.max_capacity() - self.answers.capacity() < BEHIND_MAX {
            self.send(Answer::Progress { index, done }, None);
        }
    }

    /// Queues an answer. A command that let its queue fill up is given up by its connection, which sees it too.
    pub(crate) fn send(&self, answer: Answer, file: Option<File>) {
        let _ = self.answers.try_send(Outgoing { answer, file });
    }

    /// Where the store's packages are to be said. A command asks for that once.
    pub(crate) fn begin_list(&mut self) -> Option<mpsc::Sender<Outgoing>> {
        if std::mem::replace(&mut self.has_listed, true) {
            self.send(Answer::Refused { reason: "a connection carries one list".into() }, None);
            return None;
        }
        Some(self.answers.clone())
    }

    /// What is pinned in the store for this command.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = Sha256Digest> + '_ {
        self.wants.iter().filter_map(|wanting| match wanting.state {
            WantState::Whole(identity, _) | WantState::Passed(identity, _) => Some(identity),
            WantState::Waiting | WantState::Over => None,
        })
    }

    /// What is left of it once its command has gone.
    pub(crate) fn only_additions(mut self) -> Self {
        self.wants.clear();
        self.needs.clear();
        self.passing.clear();
        self.checking.clear();
        self.open = 0;
        self.is_gone = true;
        self
    }

    /// The digests that are waited for, with their indices.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = (usize, &Want)> + '_ {
        let is_waiting = |wanting: &Wanting| wanting.state == WantState::Waiting;
        self.wants
            .iter()
            .enumerate()
            .filter(move |(_, wanting)| is_waiting(wanting))
            .map(|(index, wanting)| (index, &wanting.want))
    }

    /// All of its digests for one service.
    pub(crate) fn set_of(&self, service: usize) -> Vec<PackageDigest> {
        let wants = self.wants.iter().map(|wanting| &wanting.want);
        wants.filter(|want| want.service == service).map(|want| want.digest).collect()
    }
}

/// The sessions, by number.
pub(crate) type Sessions = HashMap<super::event::SessionId, Session>;
