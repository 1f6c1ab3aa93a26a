//! One wanted file.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Failure;
use crate::identity::{RequestId, SourceId};
use crate::piece::Pieces;
use crate::settings::Settings;

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its pieces are fetched.
    Fetching,
    /// All its pieces are here; its digest is checked by others.
    Whole,
    /// It cannot be had.
    GivenUp,
}

/// A wanted file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Files are numbered in the order in which they were wanted.
    pub(crate) number: u64,
    pub(crate) stage: Stage,
    pub(crate) pieces: Pieces,
    /// How many requests for it are under way.
    pub(crate) requests: usize,
    /// What went wrong last.
    pub(crate) last_failure: Option<Failure>,
    /// Whole, it did not match its digest.
    pub(crate) is_mismatched: bool,
    /// Failed requests since the last verified piece.
    attempts: u32,
    /// Requests before this one were under way at the last failure that was counted: see [`crate::source::Source`].
    counted_below: RequestId,
    /// Sources that do not have it.
    lacking: BTreeSet<SourceId>,
    /// Sources of which any other is preferred: they brought pieces when the digest did not match.
    distrusted: BTreeSet<SourceId>,
    /// Who brought pieces.
    brought_by: BTreeSet<SourceId>,
    /// Who brought a piece wrong, by which request.
    wrong: BTreeMap<(SourceId, u32), RequestId>,
}

impl File {
    pub(crate) fn new(number: u64, pieces: Pieces) -> Self {
        Self {
            number,
            stage: Stage::Fetching,
            pieces,
            requests: 0,
            last_failure: None,
            is_mismatched: false,
            attempts: 0,
            counted_below: RequestId(0),
            lacking: BTreeSet::new(),
            distrusted: BTreeSet::new(),
            brought_by: BTreeSet::new(),
            wrong: BTreeMap::new(),
        }
    }

    /// Whether there is something to ask for.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.stage == Stage::Fetching && self.pieces.missing() > 0
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.stage == Stage::GivenUp
    }

    /// Failed requests since the last verified piece.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether another request may be tried.
    pub(crate) fn has_attempts_left(&self, settings: &Settings) -> bool {
        self.attempts < settings.attempts_max.max(1)
    }

    /// A source brought a piece that was right and was not here.
    pub(crate) fn succeed(&mut self, source: SourceId) {
        self.attempts = 0;
        self.brought_by.insert(source);
    }

    /// A peer brought a piece that was right.
    pub(crate) fn helped(&mut self) {
        self.attempts = 0;
    }

    /// A request did not bring all that it was to bring. `next` is the number that the next request will get.
    pub(crate) fn fail(&mut self, request: RequestId, next: RequestId, failure: Failure) {
        self.last_failure = Some(failure);
        if request >= self.counted_below {
            self.counted_below = next;
            self.attempts = self.attempts.saturating_add(1);
        }
    }

    /// The source does not have this file, or not the right one.
    pub(crate) fn exclude(&mut self, source: SourceId, failure: Failure) {
        self.last_failure = Some(failure);
        self.lacking.insert(source);
    }

    /// A source brought a piece wrong; whether it did so before, answering another request.
    pub(crate) fn blame(&mut self, source: SourceId, piece: u32, request: RequestId) -> bool {
        self.wrong.insert((source, piece), request).is_some_and(|before| before != request)
    }

    /// Everything is fetched once more, if possible from others than before.
    pub(crate) fn begin_again(&mut self) {
        self.is_mismatched = true;
        self.stage = Stage::Fetching;
        self.pieces.forget_all();
        self.distrusted = std::mem::take(&mut self.brought_by);
    }

    /// Whether a source could have it.
    pub(crate) fn may_be_at(&self, source: SourceId) -> bool {
        !self.lacking.contains(&source)
    }

    /// Whether any other source is preferred.
    pub(crate) fn distrusts(&self, source: SourceId) -> bool {
        self.distrusted.contains(&source)
    }

    /// The source is gone: its number may be given to another one.
    pub(crate) fn forget_source(&mut self, source: SourceId) {
        self.lacking.remove(&source);
        self.distrusted.remove(&source);
        self.brought_by.remove(&source);
        self.wrong.retain(|(wrong, _), _| *wrong != source);
    }
}
