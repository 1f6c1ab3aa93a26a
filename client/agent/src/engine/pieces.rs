//! Pieces whose blocks come from peers: put together in memory, checked, written.

use std::collections::BTreeMap;

use bytes::Bytes;
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::wire::{BLOCK_LEN, Block};
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex, LinkId};

use super::Engine;
use super::event::Task;
use super::installs::Giver;
use super::network::Link;
use crate::store::{Partial, piece_matches};

/// How many wrong copies of pieces are kept, of all bundles together, to see later which of their blocks were wrong.
const WRONG_MAX: usize = 4;

/// Pieces of one bundle that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Assembling {
    pieces: BTreeMap<u32, Unfinished>,
    /// The block that the swarm is being told of, and who gave it.
    in_hand: Option<(Block, Bytes, Giver)>,
    wrong: BTreeMap<u32, Vec<u8>>,
}

#[derive(Debug)]
struct Unfinished {
    bytes: Vec<u8>,
    givers: Givers,
}

/// Who gave how many bytes of a piece: mostly one or two.
type Givers = Vec<(Giver, u64)>;

/// A piece that was put together, after it was checked.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) bundle: BundleId,
    pub(crate) piece: u32,
    /// The first piece of its package in this bundle.
    pub(crate) first_piece: u32,
    pub(crate) partial: Partial,
    pub(crate) givers: Givers,
    pub(crate) result: Judgement,
}

/// What the check of a piece found.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It is right and was written. An earlier copy was wrong in these blocks.
    Right { wrong: Vec<u32> },
    /// It is wrong; these are its bytes.
    Wrong(Vec<u8>),
    /// It is right and cannot be written.
    Unwritable(std::io::Error),
}

impl Engine {
    /// A block came from a peer. The swarm says whether it is of use.
    pub(super) fn block_came(&mut self, id: BundleId, link: LinkId, block: Block, data: Bytes) {
        let Some(giver) = self.network.links.get(&link).map(Link::giver) else { return };
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        bundle.assembling.in_hand = Some((block, data, giver));
        self.tell_swarm(SwarmEvent::Arrived { link, block });
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.assembling.in_hand = None;
        }
    }

    /// The block in hand is of use.
    pub(super) fn keep(&mut self, id: BundleId, block: Block) {
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let Some(info) = &bundle.info else { return };
        let in_hand = bundle.assembling.in_hand.take();
        let Some((_, data, giver)) = in_hand.filter(|(in_hand, ..)| *in_hand == block) else { return };
        let piece_len = info.layout().piece_len().bytes() as usize;
        let unfinished = || Unfinished { bytes: Vec::with_capacity(piece_len), givers: Givers::new() };
        let Unfinished { bytes, givers } =
            bundle.assembling.pieces.entry(block.piece).or_insert_with(unfinished);
        let (begin, end) = (block.begin as usize, block.begin as usize + data.len());
        // The swarm keeps nothing that lies outside of a piece.
        if end > piece_len {
            return;
        }
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[begin..end].copy_from_slice(&data);
        let given = data.len() as u64;
        match givers.iter_mut().find(|(known, _)| *known == giver) {
            Some((_, bytes)) => *bytes += given,
            None => givers.push((giver, given)),
        }
    }

    /// What was kept of a piece is of no use.
    pub(super) fn discard(&mut self, id: BundleId, piece: u32) {
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.assembling.pieces.remove(&piece);
        }
    }

    /// Every block of a piece was kept: it is checked and written on another thread.
    pub(super) fn check(&mut self, id: BundleId, piece: u32) {
        let Some((identity, first_piece)) = self.package_of(id, piece) else { return };
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let unfinished = bundle.assembling.pieces.remove(&piece);
        let (Some(info), Some(Unfinished { bytes, givers })) = (bundle.info.clone(), unfinished) else {
            return;
        };
        let Some(download) = self.downloads.get(&identity) else { return };
        let partial = download.partial().clone();
        let before = bundle.assembling.wrong.remove(&piece);
        let events = self.yard.events.clone();
        tokio::task::spawn_blocking(move || {
            let piece_len = info.layout().piece_len();
            let start = piece as usize * BLOCK_HASH_LEN;
            let is_right =
                piece_matches(piece_len, &bytes, &info.block_hashes()[start..start + BLOCK_HASH_LEN]);
            let result = if is_right {
                match partial.write_piece(piece_len, piece - first_piece, &bytes) {
                    Ok(()) => {
                        Judgement::Right { wrong: before.map_or_else(Vec::new, |it| differing(&it, &bytes)) }
                    }
                    Err(error) => Judgement::Unwritable(error),
                }
            } else {
                // The first wrong copy is the one that several peers may have sent.
                Judgement::Wrong(before.unwrap_or(bytes))
            };
            let assembled = Assembled { bundle: id, piece, first_piece, partial, givers, result };
            let _ = events.blocking_send(Task::Assembled(assembled).into());
        });
    }

    /// The package that a piece belongs to, while that is being downloaded, and its first piece.
    fn package_of(&self, id: BundleId, piece: u32) -> Option<(pkgtorrent_protocol::Sha256Digest, u32)> {
        let layout = self.bundles.get(&id)?.info.as_ref()?.layout();
        let index = layout.index_of(piece)?;
        // No more files than pieces, which are u32.
        let identity = self.identity_of(id, FileIndex(index as u32))?;
        Some((identity, layout.extents()[index].first_piece))
    }

    /// A piece was checked.
    pub(super) fn assembled(&mut self, assembled: Assembled) {
        let Assembled { bundle, piece, first_piece, partial, givers, result } = assembled;
        let event = match result {
            Judgement::Right { wrong } => {
                if let Some(download) = self.download_of(&partial) {
                    let from = download.count_from_peers(piece - first_piece, &givers);
                    self.credit(&partial.identity(), from, &givers);
                }
                self.came_before_move(&partial, bundle, first_piece, piece);
                SwarmEvent::PieceVerified { bundle, piece, wrong }
            }
            Judgement::Wrong(bytes) => {
                let kept: usize = self.bundles.values().map(|it| it.assembling.wrong.len()).sum();
                if let Some(bundle) = self.bundles.get_mut(&bundle)
                    && kept < WRONG_MAX
                {
                    bundle.assembling.wrong.insert(piece, bytes);
                }
                SwarmEvent::PieceCorrupt { bundle, piece }
            }
            Judgement::Unwritable(error) => {
                let identity = partial.identity();
                if self.download_of(&partial).is_some() {
                    self.cannot_write(identity, &error);
                }
                return;
            }
        };
        self.tell_swarm(event);
    }
}

/// The blocks in which two copies of a piece differ.
fn differing(wrong: &[u8], right: &[u8]) -> Vec<u32> {
    let blocks = wrong.chunks(BLOCK_LEN as usize).zip(right.chunks(BLOCK_LEN as usize));
    (0..).zip(blocks).filter(|(_, (wrong, right))| wrong != right).map(|(block, _)| block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_that_differ_are_found() {
        let right = vec![1; 3 * BLOCK_LEN as usize - 7];
        let mut wrong = right.clone();
        assert!(differing(&wrong, &right).is_empty());
        wrong[BLOCK_LEN as usize] = 2;
        *wrong.last_mut().unwrap() = 2;
        assert_eq!(differing(&wrong, &right), [1, 2]);
    }
}
