//! What happens, as the caller tells it to the swarm.

use std::fmt;
use std::sync::Arc;

use pkgtorrent_protocol::BundleLayout;

use crate::identity::{BundleId, FileIndex, RequestId, SourceId};

/// Something that happened. What speaks of a bundle, source or request that is not known (any more) changes nothing:
/// the caller's messages and the swarm's cross on their way.
#[derive(Debug, Clone)]
pub enum Event {
    /// A bundle of which files will be wanted. One that is joined already stays as it is.
    Join {
        /// Its number.
        bundle: BundleId,
        /// Where its files lie.
        layout: Arc<BundleLayout>,
    },
    /// A file is wanted. Its sources are told before: a file without one is given up at once.
    ///
    /// Wanted twice, it is fetched once; wanted after it was given up, it begins anew.
    Want {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
        /// The pieces, counted within the bundle, that are here and verified: a download that is resumed.
        have: Vec<u32>,
    },
    /// Nobody wants the file any more, or it is done with. Its requests are cancelled and it is forgotten.
    Unwant {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
    /// A web seed. Told again, the source gets the new order and the new bundles besides those that it had.
    Source {
        /// The source.
        source: SourceId,
        /// The bundles that it serves, joined already or soon.
        bundles: Vec<BundleId>,
        /// Preference: the lowest is asked first.
        order: u32,
    },
    /// A source will answer nothing more. Its requests are cancelled, and nobody is blamed.
    SourceGone {
        /// The source.
        source: SourceId,
    },
    /// A piece arrived, was right, and is kept.
    Verified {
        /// The request that brought it.
        request: RequestId,
        /// The piece, counted within the bundle.
        piece: u32,
    },
    /// A piece arrived and was wrong.
    Corrupt {
        /// The request that brought it.
        request: RequestId,
        /// The piece, counted within the bundle.
        piece: u32,
    },
    /// A request is over: its connection is free and every piece that it brought has been reported before. What did
    /// not arrive is missing again. Nothing is expected for a request that was cancelled.
    Ended {
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The pieces of a whole file matched their hashes, but the file does not match its digest.
    DigestMismatch {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
    /// A bundle is left: all its requests are cancelled and all its files are forgotten.
    Leave {
        /// The bundle.
        bundle: BundleId,
    },
    /// Nothing happened but that time passed.
    Tick,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All its bytes came.
    Complete,
    /// All its bytes came, but among those of the whole file: the source ignored the range.
    NoRanges,
    /// The source does not have this file.
    Missing,
    /// No connection could be made.
    Unreachable,
    /// The source refused, or answered in a way that no repeating will change.
    Refused,
    /// An answer began, or might have, and did not end well: an error of the server, too slow, cut off.
    Broken,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Complete | Self::NoRanges => "sent less than it was asked for",
            Self::Missing => "does not have it",
            Self::Unreachable => "cannot be reached",
            Self::Refused => "refuses to send it",
            Self::Broken => "failed while sending it",
        })
    }
}
