//! How long the blocks are that a peer is asked for.
//!
//! Padding is never asked for, so that the last block of a package is mostly a short one. librqbit ends the connection
//! with whoever asks for such a block: it knows no short ones but a torrent's last. Its peers are asked for the whole
//! block, and what is padding of that goes no further than here.

use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::wire::{BLOCK_LEN, Block};
use pkgtorrent_protocol::{BundleLayout, PeerId};

/// How the names of librqbit's peers begin, in any version.
const WHOLE_ONLY: &[u8] = b"-rQ";

/// What one peer is asked for, and what is meant by its answers.
#[derive(Debug)]
pub(super) enum BlockLen {
    /// As long as they are wanted.
    AsWanted,
    /// Always whole. What of them is wanted is known once the bundle is; before nothing is asked for.
    Whole(Option<Arc<BundleLayout>>),
}

impl BlockLen {
    /// As the peer of this name wants it.
    pub(super) fn of(peer_id: PeerId, layout: Option<Arc<BundleLayout>>) -> Self {
        if peer_id.0.starts_with(WHOLE_ONLY) { Self::Whole(layout) } else { Self::AsWanted }
    }

    /// The bundle has become known.
    pub(super) fn learn(&mut self, bundle: &Arc<BundleLayout>) {
        if let Self::Whole(layout) = self {
            *layout = Some(Arc::clone(bundle));
        }
    }

    /// What to ask for where this block is wanted. It begins where a whole one does, and every piece is whole.
    pub(super) fn asked(&self, block: Block) -> Block {
        match self {
            Self::AsWanted => block,
            Self::Whole(_) => Block { len: block.len.max(BLOCK_LEN), ..block },
        }
    }

    /// What was wanted where this block was asked for.
    pub(super) fn wanted(&self, block: Block) -> Block {
        match self {
            Self::AsWanted => block,
            Self::Whole(layout) => {
                let payload_len = layout.as_ref().map_or(0, |layout| layout.payload_len(block.piece));
                Block { len: block.len.min(payload_len.saturating_sub(block.begin)), ..block }
            }
        }
    }

    /// What was wanted of the bytes that came.
    pub(super) fn cut(&self, piece: u32, begin: u32, mut data: Bytes) -> Bytes {
        // A frame's length is a u32, and so is that of its data.
        let len = data.len() as u32;
        data.truncate(self.wanted(Block { piece, begin, len }).len as usize);
        data
    }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::PieceLen;

    use super::*;

    const LIBRQBIT: PeerId = PeerId(*b"-rQ9100-abcdefghijkl");

    /// Of a bundle of four pieces with 100,000 bytes, and two with 50,000.
    fn layout() -> Option<Arc<BundleLayout>> {
        Some(Arc::new(BundleLayout::new(PieceLen::Small, [100_000, 50_000]).expect("a layout")))
    }

    #[test]
    fn what_is_asked_for_whole_is_as_long_as_it_was_wanted() {
        let block_len = BlockLen::of(LIBRQBIT, layout());
        let last_of_first = Block { piece: 3, begin: 0, len: 100_000 - 3 * 32_768 };
        let last_of_second = Block { piece: 5, begin: BLOCK_LEN, len: 50_000 - 32_768 - BLOCK_LEN };
        let whole = Block { piece: 0, begin: BLOCK_LEN, len: BLOCK_LEN };
        for block in [last_of_first, last_of_second, whole] {
            let asked = block_len.asked(block);
            assert_eq!(asked, Block { len: BLOCK_LEN, ..block });
            assert_eq!(block_len.wanted(asked), block);
            let data = block_len.cut(block.piece, block.begin, vec![7; BLOCK_LEN as usize].into());
            assert_eq!(data.len(), block.len as usize);
        }
    }

    #[test]
    fn of_what_cannot_have_been_wanted_nothing_is_left() {
        let data = Bytes::from_static(&[7; 5]);
        let mut block_len = BlockLen::of(LIBRQBIT, None);
        assert!(block_len.cut(0, 0, data.clone()).is_empty());
        block_len.learn(&layout().expect("a layout"));
        assert_eq!(block_len.cut(0, 0, data.clone()), data);
        for (piece, begin) in [(3, 100_000 - 3 * 32_768), (3, u32::MAX), (6, 0), (u32::MAX, 0)] {
            assert!(block_len.cut(piece, begin, data.clone()).is_empty(), "{piece} {begin}");
        }
    }

    #[test]
    fn others_are_asked_for_no_padding() {
        let block = Block { piece: 3, begin: 0, len: 5 };
        for name in [*b"-PT0001-abcdefghijkl", *b"-lt20B0-abcdefghijkl", *b"-TR4000-abcdefghijkl"] {
            let block_len = BlockLen::of(PeerId(name), layout());
            assert_eq!((block_len.asked(block), block_len.wanted(block)), (block, block));
        }
    }
}
