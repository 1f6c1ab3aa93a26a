//! What becomes of requests: pieces that are right or wrong, ends good and bad, and what follows from them.

use crate::action::{Action, Failure, FailureCause, GiveUpReason};
use crate::event::Outcome;
use crate::file::{File, Stage};
use crate::files::FileKey;
use crate::identity::{RequestId, SourceId};
use crate::journal::Happening;
use crate::piece::Piece;
use crate::request::Request;
use crate::source::Health;
use crate::sources::Choice;
use crate::swarm::Swarm;

/// A file that no web seed brings and none of those has that there are is given up after so many hold-offs: whoever was
/// leased first copies of it has brought them by then, or was refused as well.
const HOLD_OFFS: u32 = 3;

/// So many peers speak for all of a crowd.
const MET_ENOUGH: u32 = 8;

impl Swarm {
    pub(crate) fn verified(&mut self, id: RequestId, piece: u32) {
        let Some(request) = self.requests.get(id) else {
            return self.verified_late(id, piece);
        };
        if !request.run.contains(piece) {
            return;
        }
        let (source, key) = (request.source, request.file);
        let is_news = self.change(key, |file| {
            let is_news = file.pieces.verify(piece);
            if is_news {
                file.succeed(source);
            }
            is_news
        });
        // A file that is sent whole has pieces that were here already. If they counted, a source that fails again and
        // again at the same place would be asked for ever.
        if is_news != Some(true) {
            return;
        }
        // Its failures are forgiven, and those of its source.
        self.is_origin_due = true;
        if let Some(request) = self.requests.get_mut(id) {
            request.has_brought = true;
        }
        let bundle = key.bundle;
        if let Some(source) = self.sources.get_mut(source) {
            source.succeed();
        }
        if let Some(crowd) = self.crowds.get_mut(&bundle) {
            crowd.goes_on(self.now);
            crowd.guide.brought = self.now;
            crowd.guide.fetched_piece(piece);
            crowd.guide.from_origin += u64::from(crowd.piece_len(piece));
            self.received.add(crowd.piece_len(piece), self.now);
        }
        self.complete_if_whole(key);
        self.ask_tracker_if_due(bundle);
    }

    /// A request that was cancelled brought a piece: it is as right as any, and nobody's merit.
    fn verified_late(&mut self, id: RequestId, piece: u32) {
        let Some(key) = self.requests.cancelled_file(id, piece) else {
            return;
        };
        self.change(key, |file| file.pieces.verify(piece));
        self.complete_if_whole(key);
    }

    pub(crate) fn corrupt(&mut self, id: RequestId, piece: u32) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let (source, key) = (request.source, request.file);
        let is_awaited =
            self.files.get(key).and_then(|file| file.pieces.get(piece)) == Some(Piece::Requested(id));
        if !is_awaited {
            return;
        }
        request.wrong_piece = Some(piece);
        self.is_origin_due = true;
        if self.change(key, |file| file.blame(source, piece, id)) == Some(true) {
            // What else it is sending of this file is another file.
            self.exclude(key, Failure { source, cause: FailureCause::Corrupt { piece } });
            self.cancel_where(|request| request.source == source && request.file == key);
            self.give_up_if_hopeless(key);
        }
    }

    pub(crate) fn ended(&mut self, id: RequestId, outcome: Outcome) {
        let Some(request) = self.requests.end(id) else {
            return;
        };
        let key = request.file;
        let unverified = self.release(id, &request);
        self.is_origin_due = true;
        if outcome == Outcome::Complete {
            self.measure_origin(&request);
        }
        // Whoever brought everything did well, whatever came afterwards.
        if unverified > 0 {
            self.failed(id, &request, outcome);
        }
        if outcome == Outcome::NoRanges && !request.is_for_whole_file {
            self.ask_only_for_whole_files(request.source);
        }
        self.give_up_if_hopeless(key);
    }

    fn measure_origin(&mut self, request: &Request) {
        let Some(file) = self.files.get(request.file) else { return };
        let took = self.now.saturating_sub(request.since).as_secs_f64().max(0.001);
        let rate = file.pieces.run_len(request.run) as f64 / took;
        self.origin_rate = Some(self.origin_rate.map_or(rate, |before| (before + rate) / 2.0));
    }

    /// What the request did not bring is missing again; how many pieces that are.
    fn release(&mut self, id: RequestId, request: &Request) -> u32 {
        let released = self.change(request.file, |file| {
            file.requests -= 1;
            file.pieces.release(request.run, id)
        });
        released.unwrap_or(0)
    }

    /// A request did not bring all that it was to bring.
    fn failed(&mut self, id: RequestId, request: &Request, outcome: Outcome) {
        let cause = match (outcome, request.wrong_piece) {
            (Outcome::Complete | Outcome::NoRanges, Some(piece)) => FailureCause::Corrupt { piece },
            _ => FailureCause::Ended(outcome),
        };
        let failure = Failure { source: request.source, cause };
        let is_source_in_trouble = match outcome {
            // This is about the file. It says so at once and will say so again, so it is neither an attempt nor a
            // reason to leave the source alone.
            Outcome::Missing | Outcome::Refused => return self.exclude(request.file, failure),
            Outcome::Unreachable | Outcome::Broken => true,
            // Among pieces that are right, a wrong one is a matter of the file.
            Outcome::Complete | Outcome::NoRanges => !request.has_brought,
        };
        let next = self.requests.next_id();
        self.change(request.file, |file| file.fail(id, next, failure));
        if is_source_in_trouble {
            self.back_off(id, failure);
        }
    }

    /// The source does not have this file, or not the right one.
    fn exclude(&mut self, key: FileKey, failure: Failure) {
        self.change(key, |file| file.exclude(failure.source, failure));
    }

    /// The source is left alone, for a moment or for longer.
    fn back_off(&mut self, request: RequestId, failure: Failure) {
        let next = self.requests.next_id();
        let Some(source) = self.sources.get_mut(failure.source) else {
            return;
        };
        source.fail(request, next, failure, &self.settings, &mut self.random, self.now);
        if let Health::Dead { .. } = source.health(self.now) {
            self.give_up_hopeless_files();
        }
    }

    /// The source ignores ranges. Whatever else it was asked for, it is now sending whole files for parts of them.
    fn ask_only_for_whole_files(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(id) {
            source.sends_whole_files = true;
            self.cancel_where(|request| request.source == id && !request.is_for_whole_file);
            // If it is dead too, some of those were the last hope of their files.
            self.give_up_hopeless_files();
        }
    }

    /// Every request that fits is over; nobody is blamed for it.
    pub(crate) fn cancel_where(&mut self, fits: impl Fn(&Request) -> bool) {
        for id in self.requests.select(fits) {
            if let Some(request) = self.requests.cancel(id) {
                self.is_origin_due = true;
                self.release(id, &request);
                self.actions.push(Action::Cancel { request: id });
            }
        }
    }

    pub(crate) fn digest_mismatch(&mut self, key: FileKey) {
        let Some(file) = self.files.get(key).filter(|file| file.stage == Stage::Whole) else {
            return;
        };
        let is_second = file.is_mismatched;
        // Something may still be coming that was here already.
        self.cancel_where(|request| request.file == key);
        self.requests.forget_cancelled(key);
        if is_second {
            self.give_up(key, GiveUpReason::DigestMismatch);
        } else {
            self.change(key, File::begin_again);
            self.give_up_if_hopeless(key);
        }
    }

    pub(crate) fn complete_if_whole(&mut self, key: FileKey) {
        let is_complete = |file: &File| file.stage == Stage::Fetching && file.pieces.are_all_here();
        if self.files.get(key).is_some_and(is_complete) {
            self.change(key, |file| file.stage = Stage::Whole);
            self.actions.push(Action::Whole { bundle: key.bundle, file: key.file });
            self.tell_tracker_of_last(key.bundle);
        }
    }

    /// Looks at every file: a source is gone or dead, or nobody else is there.
    pub(crate) fn give_up_hopeless_files(&mut self) {
        let incomplete: Vec<FileKey> = self.files.incomplete().map(|(key, _)| key).collect();
        for key in incomplete {
            self.give_up_if_hopeless(key);
        }
    }

    /// Gives a file up if no request can bring it. One that is under way may do so yet.
    pub(crate) fn give_up_if_hopeless(&mut self, key: FileKey) {
        let Some(file) = self.files.get(key).filter(|file| file.is_incomplete() && file.requests == 0) else {
            return;
        };
        // After a digest that did not match, peers are not asked: what they have is the same.
        if !file.is_mismatched && self.may_peers_bring(key, file) {
            return;
        }
        let last = file.last_failure;
        let reason = match last {
            Some(last) if !file.has_attempts_left(&self.settings) => {
                GiveUpReason::Attempts { attempts: file.attempts(), last }
            }
            _ if self.sources.choose(key, file, self.now) == Choice::Nobody => {
                GiveUpReason::NoSource { last: last.or_else(|| self.sources.last_failure(key.bundle)) }
            }
            _ => return,
        };
        self.give_up(key, reason);
    }

    /// Whether peers may bring a file: one of them has something of it, or they have not all come yet. Those that lack it as
    /// well were refused it where this host was.
    fn may_peers_bring(&self, key: FileKey, file: &File) -> bool {
        let crowd = self.crowds.get(&key.bundle).filter(|crowd| !crowd.is_alone());
        let Some(crowd) = crowd else { return false };
        let has = |piece: u32| {
            crowd.links.iter().any(|link| self.links.get(link).is_some_and(|it| it.has.get(piece)))
        };
        let is_held = file.pieces.iter().any(|(piece, state)| state != Piece::Here && has(piece));
        let may_come = crowd.met < MET_ENOUGH.min(crowd.guide.others);
        let patience = if is_held || may_come {
            self.settings.peer_patience
        } else {
            self.settings.hold_off * HOLD_OFFS
        };
        self.now.saturating_sub(crowd.guide.brought) < patience
    }

    fn give_up(&mut self, key: FileKey, reason: GiveUpReason) {
        self.change(key, |file| file.stage = Stage::GivenUp);
        self.requests.forget_cancelled(key);
        self.note(Happening::GaveUp { bundle: key.bundle, file: key.file });
        self.actions.push(Action::GiveUp { bundle: key.bundle, file: key.file, reason });
    }
}
