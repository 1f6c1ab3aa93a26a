//! One bundle as its swarm sees it: who is connected for it, what they have, and what is being put together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::BundleLayout;
use pkgtorrent_protocol::wire::Bitfield;

use crate::assembly::Assembly;
use crate::far::Far;
use crate::guide::Guide;
use crate::identity::{FileIndex, LinkId};
use crate::rarity::Rarity;

/// A bundle that was joined.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    pub(crate) layout: Arc<BundleLayout>,
    /// Pieces that are wanted and not here.
    pub(crate) needed: Bitfield,
    /// Pieces that are here and verified, which peers may have.
    pub(crate) served: Bitfield,
    /// How often each piece was given to a peer.
    pub(crate) given: Vec<u16>,
    /// Whole files that are given to peers.
    pub(crate) offered: BTreeSet<FileIndex>,
    /// Pieces that peers may be asked for.
    pub(crate) rarity: Rarity,
    pub(crate) links: BTreeSet<LinkId>,
    /// How many there have been.
    pub(crate) met: u32,
    /// How many of them have everything.
    pub(crate) seeds: u32,
    pub(crate) assemblies: BTreeMap<u32, Assembly>,
    /// Assemblies that nobody owns.
    pub(crate) orphans: BTreeSet<u32>,
    /// Who sent which block of a piece that was wrong, for those that several sent.
    pub(crate) suspects: BTreeMap<u32, Vec<Option<LinkId>>>,
    pub(crate) guide: Guide,
    pub(crate) far: Far,
}

impl Crowd {
    pub(crate) fn new(layout: Arc<BundleLayout>, now: Duration) -> Self {
        let pieces = layout.pieces();
        Self {
            needed: Bitfield::none(pieces),
            served: Bitfield::none(pieces),
            given: vec![0; pieces as usize],
            offered: BTreeSet::new(),
            rarity: Rarity::new(pieces),
            links: BTreeSet::new(),
            met: 0,
            seeds: 0,
            assemblies: BTreeMap::new(),
            orphans: BTreeSet::new(),
            suspects: BTreeMap::new(),
            guide: Guide::new(pieces, now),
            far: Far::default(),
            layout,
        }
    }

    /// The file that a piece belongs to.
    pub(crate) fn file_of(&self, piece: u32) -> Option<FileIndex> {
        // No more files than pieces, which are u32.
        self.layout.index_of(piece).map(|index| FileIndex(index as u32))
    }

    /// The pieces of a file.
    pub(crate) fn pieces_of(&self, file: FileIndex) -> Range<u32> {
        self.layout
            .extents()
            .get(file.0 as usize)
            .map_or(0..0, |extent| extent.first_piece..extent.first_piece + extent.pieces)
    }

    /// The length of a piece without padding.
    pub(crate) fn piece_len(&self, piece: u32) -> u32 {
        self.layout.payload_len(piece)
    }

    /// Whether there is nobody to wait for: the origin is all there is.
    pub(crate) fn is_alone(&self) -> bool {
        self.links.is_empty() && self.guide.others == 0
    }

    /// Whether everybody else has everything, so that nothing is rare, and nobody lacks what this host has. Pieces that come
    /// in order are hashed as they come, and packages are whole one after the other.
    pub(crate) fn is_among_seeds(&self) -> bool {
        self.seeds > 0 && self.seeds as usize == self.links.len() && self.guide.others <= self.seeds
    }

    /// How many bytes are wanted and not here, padding included.
    pub(crate) fn needed_len(&self) -> u64 {
        u64::from(self.needed.count()) * u64::from(self.layout.piece_len().bytes())
    }
}

/// The pieces of a set as ranges, at most so many.
pub(crate) fn ranges(pieces: impl Iterator<Item = u32>, ranges_max: usize) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for piece in pieces {
        if let Some(last) = ranges.last_mut().filter(|last| last.end == piece) {
            last.end += 1;
        } else if ranges.len() < ranges_max {
            ranges.push(piece..piece + 1);
        } else {
            break;
        }
    }
    ranges
}
