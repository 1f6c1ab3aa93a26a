//! What the caller is to do.

use std::fmt;

use crate::event::Outcome;
use crate::identity::{BundleId, FileIndex, RequestId, SourceId};

/// Something to be done, in the order in which the actions are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask a source for neighbouring pieces of one file. The last piece of a file ends with the file: its padding is
    /// never asked for.
    Request {
        /// The number under which the answer is reported.
        request: RequestId,
        /// Whom to ask.
        source: SourceId,
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
        /// The first piece, counted within the bundle.
        first_piece: u32,
        /// How many pieces.
        pieces: u32,
    },
    /// Stop a request. Its connection counts as free from now on.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Every piece of the file is here: its whole digest can be checked.
    Whole {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
    /// The file cannot be had. Nothing more is asked for it.
    GiveUp {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
        /// Why.
        reason: GiveUpReason,
    },
}

/// Why a file cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpReason {
    /// There is no source, or none that could still have it.
    #[error("no source is left{}", Because(.last))]
    NoSource {
        /// What went wrong last, if anything was tried.
        last: Option<Failure>,
    },
    /// Too many requests in a row brought nothing.
    #[error("{attempts} attempts in a row brought nothing; the last one: {last}")]
    Attempts {
        /// How many.
        attempts: u32,
        /// What went wrong last.
        last: Failure,
    },
    /// Twice all pieces matched their hashes, but the file did not match its digest.
    #[error("its pieces match their hashes, but fetched twice it does not match its digest")]
    DigestMismatch,
}

/// A source that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The source.
    pub source: SourceId,
    /// In which way.
    pub cause: FailureCause,
}

impl Failure {
    /// How the request ended, if that is what failed.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.cause {
            FailureCause::Ended(outcome) => Some(outcome),
            FailureCause::Corrupt { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.source, self.cause)
    }
}

/// In which way a source failed. What is written of it goes on from the source's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailureCause {
    /// The request ended so.
    #[error("{0}")]
    Ended(Outcome),
    /// A piece did not match its hash.
    #[error("sent piece {piece} wrong")]
    Corrupt {
        /// The piece, counted within the bundle.
        piece: u32,
    },
}

/// The last failure as the end of a sentence, if there was one.
struct Because<'a>(&'a Option<Failure>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |last| write!(formatter, ": {last}"))
    }
}
