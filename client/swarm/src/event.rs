//! What happens, as the caller tells it to the swarm.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::BundleLayout;
use pkgtorrent_protocol::wire::{Bitfield, Block};

use crate::identity::{BundleId, FileIndex, LinkId, RequestId, SourceId};

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
    /// A file is here, every piece of it verified by the caller, and is given to peers. One that was wanted is not any
    /// more: this says that it is done.
    Offer {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
    /// A file is not here any more: peers get nothing of it.
    Withdraw {
        /// The file's bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
    /// What the tracker says of a bundle.
    Guided {
        /// The bundle.
        bundle: BundleId,
        /// How many others are in its swarm, as far as the tracker knows.
        others: u32,
        /// All pieces whose first copies this host is to fetch from the origin; it replaces what was told before.
        /// `None` where leases were not asked for.
        lease: Option<Vec<Range<u32>>>,
        /// Hosts of another site fetch the first copies: what is leased is taken from them.
        is_second_hand: bool,
        /// When it may be asked for more. Only where there is a lid on what hosts take from the origin: then a host that
        /// has others to wait for takes nothing but its lease.
        ask_again: Option<Duration>,
    },
    /// The tracker does not answer, or gives no leases: whatever first copies this host needs, it fetches itself.
    Unguided {
        /// The bundle.
        bundle: BundleId,
    },
    /// A connection to a peer is ready. What the peer has is told next.
    Linked {
        /// The connection.
        link: LinkId,
        /// What it is for.
        bundle: BundleId,
    },
    /// A peer's program is not ours, and answers in its own time. Told once, when the connection is ready.
    Foreign {
        /// The connection.
        link: LinkId,
    },
    /// Whether a peer will ask for nothing (BEP 21), until it says otherwise.
    UploadOnly {
        /// The connection.
        link: LinkId,
        /// Whether it does.
        is_upload_only: bool,
    },
    /// A peer is in another site. Told once, when the connection is ready.
    Far {
        /// The connection.
        link: LinkId,
    },
    /// All that a peer has.
    Has {
        /// The connection.
        link: LinkId,
        /// Its pieces.
        pieces: Bitfield,
    },
    /// A peer has these pieces now.
    Have {
        /// The connection.
        link: LinkId,
        /// Its new pieces.
        pieces: Vec<u32>,
    },
    /// A peer gives us nothing until it unchokes us. Links begin choked.
    Choked {
        /// The connection.
        link: LinkId,
    },
    /// A peer answers requests from now on.
    Unchoked {
        /// The connection.
        link: LinkId,
    },
    /// A peer asks for a block.
    Asked {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// A peer does not want a block any more.
    AskCancelled {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// A block was handed to the network, or could not be read.
    Sent {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// A block arrived. Unless [`Action::Keep`](crate::Action::Keep) is among the actions, its bytes are of no use.
    Arrived {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// A peer will not send this block.
    Rejected {
        /// The connection.
        link: LinkId,
        /// The block.
        block: Block,
    },
    /// A piece whose blocks came from peers was right and is kept. `wrong` are the blocks, by number within the piece,
    /// in which an earlier, wrong copy of it differed.
    PieceVerified {
        /// The bundle.
        bundle: BundleId,
        /// The piece.
        piece: u32,
        /// Where the copy that [`Self::PieceCorrupt`] told of was wrong.
        wrong: Vec<u32>,
    },
    /// A piece whose blocks came from peers was wrong. The caller keeps the wrong copy for [`Self::PieceVerified`].
    PieceCorrupt {
        /// The bundle.
        bundle: BundleId,
        /// The piece.
        piece: u32,
    },
    /// A connection to a peer is over.
    LinkGone {
        /// The connection.
        link: LinkId,
    },
    /// A bundle is left: all its requests are cancelled and all its files and links are forgotten.
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
