//! What happens in the world, and what hosts say to each other.

use pkgtorrent_protocol::wire::{Bitfield, Block};
use pkgtorrent_swarm::{Outcome as FetchOutcome, Wish};
use pkgtorrent_tracker::Lease;

/// Something that happens at a time.
pub(crate) enum Happening {
    /// A host starts.
    Start { host: u32 },
    /// Its question for a plan has come to the service.
    PlanAsked { host: u32 },
    /// It has its plan.
    Planned { host: u32, plan: Vec<PlannedSwarm> },
    /// Its question where packages of a bundle have moved has come to the service.
    MovesAsked { host: u32, bundle: u32 },
    /// It knows where these packages' files are now.
    Moved { host: u32, plan: Vec<(PlannedSwarm, Vec<u32>)> },
    /// It has waited long enough for peers to give it the info dictionary.
    InfoAwaited { host: u32, bundle: u32 },
    /// It has the info dictionary.
    Informed { host: u32, bundle: u32 },
    /// The two ends of a connection have shaken hands, unless one refuses.
    Dialled { from: u32, to: u32, bundle: u32 },
    /// One end of a connection hears something.
    Heard { wire: u32, end: u8, said: Said },
    /// A host's line has sent a block.
    BlockLeft { host: u32 },
    /// A block for one end of a connection has come over the line between the sites.
    BlockCrossed { wire: u32, end: u8, block: Block },
    /// One end of a connection has received a block.
    BlockCame { wire: u32, end: u8, block: Block },
    /// A request has come to the origin.
    Fetch { fetch: u32 },
    /// The origin's line has sent a chunk.
    ChunkLeft,
    /// A chunk has come over the line between the sites.
    ChunkCrossed { fetch: u32, len: u32 },
    /// A request is refused, or cut off.
    FetchFailed { fetch: u32, outcome: FetchOutcome },
    /// A chunk has come to its host.
    ChunkCame { fetch: u32, len: u32 },
    /// A host's swarm wanted to be woken.
    Wake { host: u32 },
    /// A host's have messages have waited for long enough.
    Flush { host: u32 },
    /// What a host says of leases has come to the service.
    Wished { host: u32, bundle: u32, wish: Box<Wish> },
    /// The service has answered.
    Guided { host: u32, swarm: Box<PlannedSwarm> },
    /// The service has not.
    Unguided { host: u32, bundle: u32 },
    /// A host tells the tracker that it is complete, or still there.
    Announce { host: u32, occasion: Occasion },
    /// A host leaves.
    Leave { host: u32 },
    /// A host vanishes.
    Vanish { host: u32 },
    /// The origin ends.
    OriginDies,
}

/// Why a host announces itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It has all that it wanted.
    Completed,
    /// It does so every minute.
    Regular,
    /// It was called for a bundle that it does not know.
    Called,
}

/// What the service says of one swarm.
pub(crate) struct PlannedSwarm {
    pub(crate) bundle: u32,
    pub(crate) peers: Vec<u32>,
    pub(crate) others: u32,
    pub(crate) lease: Option<Lease>,
    pub(crate) is_second_hand: bool,
    /// How many of the bundle's packages have another home now.
    pub(crate) moved: u32,
}

/// What goes over a connection beside blocks.
pub(crate) enum Said {
    Has(Box<Bitfield>),
    Haves(Box<[u32]>),
    Asks(Box<[Block]>),
    Cancel(Block),
    Reject(Block),
    /// The info dictionary is here.
    HasInfo,
    AskInfo,
    /// It will ask for nothing, as far as it is known by now.
    UploadOnly,
    Gone,
}

impl Said {
    /// The message's length, as the protocol encodes it.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Has(pieces) => 5 + u64::from(pieces.pieces().div_ceil(8)),
            Self::Haves(pieces) => 9 * pieces.len() as u64,
            Self::Asks(blocks) => 17 * blocks.len() as u64,
            Self::Cancel(_) | Self::Reject(_) => 17,
            // An extension handshake.
            Self::HasInfo => 120,
            Self::AskInfo => 40,
            Self::UploadOnly => 7,
            Self::Gone => 0,
        }
    }
}
