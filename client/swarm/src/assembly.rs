//! One piece that is put together from peers' blocks.

use std::collections::BTreeSet;

use pkgtorrent_protocol::wire::{BLOCK_LEN, Block};

use crate::identity::LinkId;

/// Where a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BlockState {
    /// Nobody was asked for it.
    Open,
    /// These links were asked for it, towards the end several.
    Asked(Vec<LinkId>),
    /// It is here; this link sent it.
    Here(LinkId),
}

/// A piece of which blocks are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Assembly {
    piece: u32,
    /// The length without padding.
    len: u32,
    blocks: Vec<BlockState>,
    /// How many blocks are open, and how many are here.
    open: usize,
    here: usize,
    /// The link that asks for its blocks, until it fails to.
    pub(crate) owner: Option<LinkId>,
    /// All blocks must come from one link: a mixed copy was wrong, and who is to blame is not known.
    pub(crate) is_solo: bool,
}

impl Assembly {
    pub(crate) fn new(piece: u32, len: u32, owner: LinkId, is_solo: bool) -> Self {
        let blocks = vec![BlockState::Open; len.div_ceil(BLOCK_LEN) as usize];
        Self { piece, len, open: blocks.len(), here: 0, blocks, owner: Some(owner), is_solo }
    }

    /// The length of the piece without padding.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn has_open(&self) -> bool {
        self.open > 0
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.here == self.blocks.len()
    }

    fn block(&self, index: usize) -> Block {
        // A piece has at most a MiB, so everything fits.
        let begin = index as u32 * BLOCK_LEN;
        Block { piece: self.piece, begin, len: BLOCK_LEN.min(self.len - begin) }
    }

    fn index(&self, block: Block) -> Option<usize> {
        let index = (block.begin / BLOCK_LEN) as usize;
        (index < self.blocks.len() && self.block(index) == block).then_some(index)
    }

    /// The state of a block, if it is one of this piece as we ask for them.
    pub(crate) fn state(&self, block: Block) -> Option<&BlockState> {
        Some(&self.blocks[self.index(block)?])
    }

    /// Asks this link for the first open block.
    pub(crate) fn ask_open(&mut self, link: LinkId) -> Option<Block> {
        // Asked for every block that comes, of pieces whose blocks are mostly under way.
        if !self.has_open() {
            return None;
        }
        let index = self.blocks.iter().position(|state| *state == BlockState::Open)?;
        self.blocks[index] = BlockState::Asked(vec![link]);
        self.open -= 1;
        Some(self.block(index))
    }

    /// Asks this link for a block that others were asked for, fewer than `asked_max` of them and not this one.
    pub(crate) fn ask_again(&mut self, link: LinkId, asked_max: usize) -> Option<Block> {
        let may = |state: &BlockState| matches!(state, BlockState::Asked(links) if links.len() < asked_max && !links.contains(&link));
        let index = self.blocks.iter().position(may)?;
        if let BlockState::Asked(links) = &mut self.blocks[index] {
            links.push(link);
        }
        Some(self.block(index))
    }

    /// A block arrived; gives the others that were asked for it. `None` if it was here already, or is none of ours.
    pub(crate) fn arrive(&mut self, block: Block, link: LinkId) -> Option<Vec<LinkId>> {
        let index = self.index(block)?;
        let others = match std::mem::replace(&mut self.blocks[index], BlockState::Here(link)) {
            here @ BlockState::Here(_) => {
                self.blocks[index] = here;
                return None;
            }
            BlockState::Open => {
                self.open -= 1;
                Vec::new()
            }
            BlockState::Asked(links) => links,
        };
        self.here += 1;
        Some(others.into_iter().filter(|other| *other != link).collect())
    }

    /// A link will not send a block that it was asked for.
    pub(crate) fn release(&mut self, block: Block, link: LinkId) {
        let Some(index) = self.index(block) else { return };
        if let BlockState::Asked(links) = &mut self.blocks[index] {
            links.retain(|other| *other != link);
            if links.is_empty() {
                self.blocks[index] = BlockState::Open;
                self.open += 1;
            }
        }
    }

    /// Begins anew with another owner; gives the links that are still asked for something.
    pub(crate) fn begin_again(&mut self, owner: LinkId) -> Vec<(LinkId, Block)> {
        let asked = self.asked();
        *self = Self::new(self.piece, self.len, owner, self.is_solo);
        asked
    }

    /// Who is asked for what.
    pub(crate) fn asked(&self) -> Vec<(LinkId, Block)> {
        let mut asked = Vec::new();
        for (index, state) in self.blocks.iter().enumerate() {
            if let BlockState::Asked(links) = state {
                asked.extend(links.iter().map(|link| (*link, self.block(index))));
            }
        }
        asked
    }

    /// Who sent each block that is here.
    pub(crate) fn senders(&self) -> Vec<Option<LinkId>> {
        let sender = |state: &BlockState| match state {
            BlockState::Here(link) => Some(*link),
            _ => None,
        };
        self.blocks.iter().map(sender).collect()
    }

    /// All who sent anything.
    pub(crate) fn sender_set(&self) -> BTreeSet<LinkId> {
        self.senders().into_iter().flatten().collect()
    }

    /// Panics unless the counts are right.
    pub(crate) fn check_invariants(&self) {
        let count = |is: fn(&BlockState) -> bool| self.blocks.iter().filter(|state| is(state)).count();
        assert_eq!(self.open, count(|state| *state == BlockState::Open));
        assert_eq!(self.here, count(|state| matches!(state, BlockState::Here(_))));
        assert!(
            !self.blocks.iter().any(|state| matches!(state, BlockState::Asked(links) if links.is_empty()))
        );
        assert!(!self.is_solo || self.sender_set().len() <= 1, "a piece for one link is mixed");
    }
}
