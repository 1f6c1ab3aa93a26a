//! What to ask the origin for next.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::Action;
use crate::crowd::Crowd;
use crate::files::FileKey;
use crate::identity::{BundleId, FileIndex, SourceId};
use crate::journal::Happening;
use crate::piece::{Pieces, Run};
use crate::request::Request;
use crate::share::share;
use crate::sources::Choice;
use crate::swarm::Swarm;

/// Web seed connections of a host whose peers bring far too little...
const STARVED_CONNECTIONS: usize = 2;

/// ... and of one that has reached none of them.
const LONELY_CONNECTIONS: usize = 3;

/// A host that is alone asks for so many of the stretches that a holder of first copies is left in peace with, one behind
/// the other, and for as much more as has come. Who arrives together with it is leased what lies behind them, and what
/// it has asked for by then beyond its lease is sent twice. Where it stays alone, what it asks for doubles with each round
/// trip.
const OPENING_STRETCHES: u32 = 2;

/// What an idle connection is for.
pub(crate) enum Next {
    /// These pieces of a file, from this source.
    Request { key: FileKey, source: SourceId, run: Run },
    /// Nothing before this time, or, without one, before something happens.
    Wait { until: Option<Duration> },
}

impl Swarm {
    /// Gives every idle connection something to do, if there is something.
    pub(crate) fn ask_origin(&mut self) {
        self.origin_at = None;
        while self.requests.len() < self.settings.connections() {
            match self.choose_next() {
                Next::Request { key, source, run } => self.request(key, source, run),
                Next::Wait { until } => {
                    self.origin_at = until;
                    break;
                }
            }
        }
    }

    /// Where there is nobody but the origin, its files one after the other; else what it is to be asked for.
    pub(crate) fn choose_next(&self) -> Next {
        match self.choose_alone() {
            Next::Wait { until } => match self.choose_in_crowd() {
                Next::Wait { until: of_crowd } => {
                    let until = until.into_iter().chain(of_crowd).min();
                    Next::Wait { until }
                }
                next => next,
            },
            next => next,
        }
    }

    fn choose_in_crowd(&self) -> Next {
        let mut until: Option<Duration> = None;
        let mut crowds: Vec<_> = self.crowds.iter().filter(|(_, crowd)| !crowd.is_alone()).collect();
        // In turns: who waits for a bundle's first copies is not to starve because another bundle's come first.
        crowds.sort_by_key(|(_, crowd)| crowd.guide.fetched);
        for (bundle, crowd) in crowds {
            if self.is_crowd_served(*bundle) {
                continue;
            }
            match self.choose_of_crowd(*bundle, crowd) {
                Next::Wait { until: of_crowd } => until = until.into_iter().chain(of_crowd).min(),
                next => return next,
            }
        }
        Next::Wait { until }
    }

    fn choose_of_crowd(&self, bundle: BundleId, crowd: &Crowd) -> Next {
        // What no source has must not keep the others from being fetched.
        let mut passed_over = BTreeSet::new();
        while let Some((key, first)) = self.first_to_fetch(bundle, crowd, &passed_over) {
            passed_over.insert(key.file);
            let Some(file) = self.files.get(key).filter(|file| file.has_attempts_left(&self.settings)) else {
                continue;
            };
            match self.sources.choose(key, file, self.now) {
                Choice::Ask(source) => {
                    let run = self.crowd_run(crowd, &file.pieces, source, first);
                    return Next::Request { key, source, run };
                }
                Choice::Wait { until } => return Next::Wait { until: Some(until) },
                Choice::AfterRequest | Choice::Nobody => {}
            }
        }
        Next::Wait { until: None }
    }

    /// Whether as many connections work for bundles that others want too as should: the origin's line is everybody's, and
    /// the more share it, the later each piece is whole and can be given on.
    fn is_crowd_served(&self, bundle: BundleId) -> bool {
        let is_crowded = |bundle: &BundleId| self.crowds.get(bundle).is_some_and(|crowd| !crowd.is_alone());
        let requests = self.requests.iter().filter(|(_, request)| is_crowded(&request.file.bundle)).count();
        self.crowds.get(&bundle).is_some_and(|crowd| requests >= self.crowd_connections(crowd))
    }

    /// Peers that bring nothing mostly wait for the origin themselves, so that a host that is starved takes a little more
    /// of its line and not all that it can get.
    fn crowd_connections(&self, crowd: &Crowd) -> usize {
        let usual = self.settings.crowd_connections;
        if crowd.guide.lid.is_some() {
            usual
        } else if crowd.links.is_empty() {
            usual.max(LONELY_CONNECTIONS)
        } else if crowd.guide.is_starved {
            usual.max(STARVED_CONNECTIONS)
        } else {
            usual
        }
    }

    /// The piece with which the next range begins, and its file, which is none of those that are passed over.
    fn first_to_fetch(
        &self,
        bundle: BundleId,
        crowd: &Crowd,
        passed_over: &BTreeSet<FileIndex>,
    ) -> Option<(FileKey, u32)> {
        let may_be = |piece: u32| crowd.file_of(piece).filter(|file| !passed_over.contains(file)).is_some();
        let first = crowd.next_to_fetch(may_be).or_else(|| self.first_of_mismatched(bundle, passed_over))?;
        Some((FileKey { bundle, file: crowd.file_of(first)? }, first))
    }

    /// A file that did not match its digest is fetched again from the origin, whoever else has it.
    fn first_of_mismatched(&self, bundle: BundleId, passed_over: &BTreeSet<FileIndex>) -> Option<u32> {
        let is_due = |key: &FileKey| key.bundle == bundle && !passed_over.contains(&key.file);
        let mut mismatched = self.files.incomplete().filter(|(key, file)| is_due(key) && file.is_mismatched);
        mismatched.find_map(|(_, file)| Some(file.pieces.missing_run()?.first))
    }

    fn crowd_run(&self, crowd: &Crowd, pieces: &Pieces, source: SourceId, first: u32) -> Run {
        if self.sources.get(source).is_some_and(|source| source.sends_whole_files) {
            return pieces.whole();
        }
        let run = pieces.missing_run_from(first, |piece| {
            piece == first || !crowd.rarity.contains(piece) || crowd.may_fetch(piece)
        });
        let pieces_max = if crowd.links.is_empty() && crowd.guide.lid.is_none() {
            self.settings.range_len_min / u64::from(pieces.piece_len().bytes())
        } else {
            pieces.piece_len().fetched_at_once().into()
        };
        // No more than there are, which is a u32.
        Run { first, pieces: u64::from(run.pieces).min(pieces_max.max(1)) as u32 }
    }

    /// The file of fewest requests, and among those the one that was wanted first: so small files come side by side,
    /// and large ones are shared among the connections that are left. At first they come one after the other.
    fn choose_alone(&self) -> Next {
        let mut best: Option<(usize, FileKey, SourceId)> = None;
        let mut until: Option<Duration> = None;
        for (key, file) in self.files.incomplete() {
            let Some(crowd) = self.crowds.get(&key.bundle).filter(|crowd| crowd.is_alone()) else { continue };
            let requests = if crowd.is_opening() { 0 } else { file.requests };
            if best.is_some_and(|(fewest, ..)| fewest <= requests)
                || !file.has_attempts_left(&self.settings)
                || self.has_asked_enough(key.bundle)
            {
                continue;
            }
            match self.sources.choose(key, file, self.now) {
                Choice::Ask(source) => best = Some((requests, key, source)),
                Choice::Wait { until: ready } => until = Some(until.map_or(ready, |until| until.min(ready))),
                Choice::AfterRequest | Choice::Nobody => {}
            }
            if best.is_some_and(|(requests, ..)| requests == 0) {
                break;
            }
        }
        let Some((_, key, source)) = best else {
            return Next::Wait { until };
        };
        self.choose_run(key, source).map_or(Next::Wait { until }, |run| Next::Request { key, source, run })
    }

    fn request(&mut self, key: FileKey, source: SourceId, run: Run) {
        let id = self.requests.next_id();
        let whole = self.change(key, |file| {
            file.requests += 1;
            file.pieces.request(run, id);
            file.pieces.whole()
        });
        if let Some(crowd) = self.crowds.get_mut(&key.bundle) {
            crowd.guide.fetches(self.now);
        }
        let is_for_whole_file = whole == Some(run);
        self.requests.begin(Request {
            source,
            file: key,
            run,
            since: self.now,
            is_for_whole_file,
            has_brought: false,
            wrong_piece: None,
        });
        let (bundle, first_piece, pieces) = (key.bundle, run.first, run.pieces);
        self.note(Happening::Fetched { bundle, source, first_piece, pieces });
        self.actions.push(Action::Request {
            request: id,
            source,
            bundle: key.bundle,
            file: key.file,
            first_piece: run.first,
            pieces: run.pieces,
        });
    }

    /// Which pieces of a file one request is for.
    fn choose_run(&self, key: FileKey, source: SourceId) -> Option<Run> {
        let pieces = &self.files.get(key)?.pieces;
        if self.sources.get(source)?.sends_whole_files {
            return Some(pieces.whole());
        }
        let Run { first, pieces: missing } = pieces.missing_run()?;
        let run_len = pieces.run_len(Run { first, pieces: missing });
        let taken = share(&self.settings, pieces.piece_len(), run_len, self.files.missing_len());
        let crowd = self.crowds.get(&key.bundle)?;
        Some(Run { first, pieces: taken.min(crowd.stride(self.settings.connections())) })
    }

    /// Whether a host that is alone has asked for as much as it should.
    pub(crate) fn has_asked_enough(&self, bundle: BundleId) -> bool {
        let Some(crowd) = self.crowds.get(&bundle) else { return true };
        let under_way = self.requests.iter().filter(|(_, request)| request.file.bundle == bundle);
        let run_len = |request: &Request| {
            let file = self.files.get(request.file);
            file.map_or(0, |file| file.pieces.run_len(request.run))
        };
        let asked: u64 = under_way.map(|(_, request)| run_len(request)).sum();
        asked >= crowd.opening_len() + crowd.guide.from_origin
    }
}

impl Crowd {
    /// How many bytes a host that is alone asks for before any have come.
    fn opening_len(&self) -> u64 {
        let piece_len = self.layout.piece_len();
        u64::from(OPENING_STRETCHES * piece_len.fetched_at_once()) * u64::from(piece_len.bytes())
    }

    /// Whether a host that is alone may have come a moment before the others.
    fn is_opening(&self) -> bool {
        self.guide.from_origin < self.opening_len()
    }

    /// How many pieces a host that is alone asks for at most at once, over one of so many connections.
    fn stride(&self, connections: usize) -> u32 {
        let piece_len = self.layout.piece_len();
        let share = self.guide.from_origin / connections as u64 / u64::from(piece_len.bytes());
        u32::try_from(share).unwrap_or(u32::MAX).max(piece_len.fetched_at_once())
    }
}
