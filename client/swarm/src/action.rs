//! What the caller is to do.

use std::fmt;
use std::ops::Range;

use pkgtorrent_protocol::wire::Block;

use crate::event::Outcome;
use crate::identity::{BundleId, FileIndex, LinkId, RequestId, SourceId};

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
    /// Ask a peer for a block. No byte of it is padding.
    Ask {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// Tell a peer that a block is not wanted any more. It may come nevertheless.
    CancelAsk {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// Keep the block that just arrived.
    Keep {
        /// The bundle.
        bundle: BundleId,
        /// The block.
        block: Block,
    },
    /// All blocks of a piece were kept: check it, and say [`Event::PieceVerified`](crate::Event::PieceVerified) once it
    /// is written, or [`Event::PieceCorrupt`](crate::Event::PieceCorrupt).
    Check {
        /// The bundle.
        bundle: BundleId,
        /// The piece.
        piece: u32,
    },
    /// What was kept of a piece is of no use any more: it came from elsewhere, or is not wanted.
    Discard {
        /// The bundle.
        bundle: BundleId,
        /// The piece.
        piece: u32,
    },
    /// Tell a peer whether it has something that is missing here.
    Interest {
        /// The connection.
        link: LinkId,
        /// Whether it has.
        is_interested: bool,
    },
    /// Tell a peer that this piece is here now.
    Have {
        /// The connection.
        link: LinkId,
        /// The piece.
        piece: u32,
    },
    /// Read a block and send it to a peer; then say [`Event::Sent`](crate::Event::Sent). What lies behind the end of the
    /// file is zeros.
    Send {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// Tell a peer that it will not get a block that it asked for.
    Reject {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// End a connection. [`Event::LinkGone`](crate::Event::LinkGone) is not expected for it.
    Part {
        /// The connection.
        link: LinkId,
        /// Why.
        reason: PartReason,
    },
    /// Tell the tracker what became of the lease, and ask for more. The answer is [`Event::Guided`](crate::Event::Guided)
    /// or [`Event::Unguided`](crate::Event::Unguided).
    AskTracker {
        /// The bundle.
        bundle: BundleId,
        /// What to tell it.
        wish: Wish,
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

/// What a host tells the tracker of first copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Pieces of the lease that are here now.
    pub got: Vec<Range<u32>>,
    /// Pieces that are wanted and missing, where the number of ranges allows it.
    pub lacks: Vec<Range<u32>>,
    /// Peers bring nothing, or far too little.
    pub is_starved: bool,
    /// More is wanted than is leased.
    pub wants: bool,
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartReason {
    /// Neither has anything that the other lacks.
    #[error("neither of the two needs anything")]
    Idle,
    /// It needs nothing, and has given all that it has of what is needed here: another may have the rest.
    #[error("it has nothing more of what is needed, and needs nothing")]
    Spent,
    /// It sent wrong bytes: nothing more is taken from this peer, whatever connection it comes on.
    #[error("it sent piece {piece} wrong")]
    Liar {
        /// The piece.
        piece: u32,
    },
    /// It accepts requests and answers none, again and again.
    #[error("it answers no requests")]
    Silent,
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
