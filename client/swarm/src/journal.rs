//! What was decided, and when: so that a person can ask later why a host waited, or fetched from the origin.

use std::collections::VecDeque;
use std::time::Duration;

use crate::identity::{BundleId, FileIndex, LinkId, SourceId};

/// How many decisions are remembered: some minutes of trouble, in tens of KiB.
const NOTES_MAX: usize = 512;

/// One decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// What may be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A lease of so many pieces' first copies was given.
    Leased {
        /// The bundle.
        bundle: BundleId,
        /// How many pieces.
        pieces: u64,
    },
    /// The mirror's lid is reached: nothing more is asked of the origin for now.
    HeldBack {
        /// The bundle.
        bundle: BundleId,
    },
    /// The tracker does not guide: this host fetches the first copies that it needs itself.
    Unguided {
        /// The bundle.
        bundle: BundleId,
    },
    /// Peers bring nothing, or far too little.
    Starved {
        /// The bundle.
        bundle: BundleId,
        /// Whether it asks the origin without a lease.
        helps_itself: bool,
    },
    /// A range was asked of the origin.
    Fetched {
        /// The bundle.
        bundle: BundleId,
        /// The source.
        source: SourceId,
        /// The first piece.
        first_piece: u32,
        /// How many.
        pieces: u32,
    },
    /// A connection to a peer is ready.
    Linked {
        /// The connection.
        link: LinkId,
        /// The bundle.
        bundle: BundleId,
    },
    /// A connection to a peer is over.
    Unlinked {
        /// The connection.
        link: LinkId,
    },
    /// A peer owed blocks for too long: others are asked for them.
    Silent {
        /// The connection.
        link: LinkId,
        /// How many blocks.
        blocks: u32,
    },
    /// A peer sent a piece wrong and is banned.
    Banned {
        /// The connection.
        link: LinkId,
        /// The piece.
        piece: u32,
    },
    /// A piece that several peers sent was wrong: it is fetched again from one.
    Mixed {
        /// The bundle.
        bundle: BundleId,
        /// The piece.
        piece: u32,
    },
    /// A file was given up.
    GaveUp {
        /// The bundle.
        bundle: BundleId,
        /// The file.
        file: FileIndex,
    },
}

/// The latest decisions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    notes: VecDeque<Note>,
    noted: u64,
}

impl Journal {
    pub(crate) fn note(&mut self, at: Duration, what: Happening) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { at, what });
        self.noted += 1;
    }

    pub(crate) fn noted(&self) -> u64 {
        self.noted
    }

    pub(crate) fn notes(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.notes.iter()
    }
}
