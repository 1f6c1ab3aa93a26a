//! A host: what its agent keeps beside the swarm.

use std::collections::{BTreeMap, BTreeSet};

use pkgtorrent_protocol::wire::{Bitfield, Block};
use pkgtorrent_swarm::{RequestId, Swarm};
use pkgtorrent_tracker::Lease;

use crate::line::{Downlink, Uplink};
use crate::queue::Time;

/// A host.
pub(crate) struct Host {
    pub(crate) swarm: Swarm,
    pub(crate) up: Uplink<u32, Block>,
    pub(crate) down: Downlink,
    /// The bundles that it takes part in.
    pub(crate) parts: Vec<Part>,
    /// Where the packages of its plan are now.
    pub(crate) places: BTreeMap<u32, Place>,
    /// How many bundles its plan had.
    pub(crate) planned: usize,
    /// When it last announced all of them; it was planned then, at first.
    pub(crate) announced_at: Time,
    /// It was called for a bundle that it does not know, and is about to announce.
    pub(crate) is_called: bool,
    pub(crate) starts_at: Time,
    pub(crate) done_at: Option<Time>,
    pub(crate) files_left: u32,
    pub(crate) given_up: u32,
    /// It has vanished or left.
    pub(crate) is_gone: bool,
    pub(crate) is_vanished: bool,
    pub(crate) is_liar: bool,
    pub(crate) is_firewalled: bool,
    pub(crate) is_straggler: bool,
    pub(crate) is_seed: bool,
    /// It is in another site than the origin.
    pub(crate) is_far: bool,
    /// When its swarm is woken.
    pub(crate) wakes_at: Option<Time>,
    /// Its have messages wait.
    pub(crate) is_flush_due: bool,
    /// The connections on which they do.
    pub(crate) with_haves: Vec<u32>,
    pub(crate) banned: BTreeSet<u32>,
    /// Its requests to the origin.
    pub(crate) fetches: BTreeMap<RequestId, u32>,
    /// Wrong blocks of pieces that are put together.
    pub(crate) wrong: BTreeMap<(u32, u32), BTreeSet<u32>>,
    /// Where the first wrong copy of a piece was wrong.
    pub(crate) wrong_copies: BTreeMap<(u32, u32), BTreeSet<u32>>,
    pub(crate) from_peers: u64,
    pub(crate) from_origin: u64,
    pub(crate) useful: u64,
    /// How many events its swarm was told.
    pub(crate) told: u32,
}

/// Where a package of a host is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) bundle: u32,
    pub(crate) file: u32,
    /// All of it is here.
    pub(crate) is_here: bool,
}

/// A bundle that a host takes part in.
pub(crate) struct Part {
    pub(crate) bundle: u32,
    /// The files that it wants of it.
    pub(crate) files: Vec<u32>,
    pub(crate) files_left: u32,
    pub(crate) has_info: bool,
    pub(crate) is_info_asked: bool,
    /// The pieces that are here.
    pub(crate) here: Bitfield,
    /// Its open connections.
    pub(crate) wires: Vec<u32>,
    /// How many connections it is opening.
    pub(crate) dialling: usize,
    pub(crate) dialled: usize,
    /// Peers that it could connect to.
    pub(crate) known: Vec<u32>,
    /// What the plan said: others, lease, and whether what is leased is another site's.
    pub(crate) guidance: Option<(u32, Option<Lease>, bool)>,
    /// Files of packages that had another home, to be shared here once the info dictionary is.
    pub(crate) brought: Vec<u32>,
    /// How many packages of it the tracker said have another home, when these were last followed, and when that was.
    pub(crate) moved: u32,
    pub(crate) followed_at: Time,
}

impl Part {
    pub(crate) fn new(bundle: u32, files: Vec<u32>, pieces: u32) -> Self {
        Self {
            bundle,
            files_left: files.len() as u32,
            files,
            has_info: false,
            is_info_asked: false,
            here: Bitfield::none(pieces),
            wires: Vec::new(),
            dialling: 0,
            dialled: 0,
            known: Vec::new(),
            guidance: None,
            brought: Vec::new(),
            moved: 0,
            followed_at: 0,
        }
    }
}

impl Host {
    pub(crate) fn part(&mut self, bundle: u32) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.bundle == bundle)
    }
}
