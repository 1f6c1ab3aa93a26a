//! Packages that have another home now, and what of the old one's swarm concerns the new one's.

use std::collections::BTreeMap;

use pkgtorrent_protocol::{InfoHash, Sha256Digest};

use super::Homes;

/// A package that has another home now: where its pieces are in both bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Move {
    pub(crate) from: InfoHash,
    pub(crate) to: InfoHash,
    /// Its first piece in the old bundle, and in the new one.
    pub(crate) first_piece: (u32, u32),
    pub(crate) pieces: u32,
    /// How many pieces the new bundle has.
    pub(crate) of_pieces: u32,
}

impl Homes {
    /// How many packages of a bundle have another home now, or none.
    pub(crate) fn moved(&self, info_hash: &InfoHash) -> u32 {
        // A bundle has at most so many packages as pieces, which are a u32.
        self.bundles.get(info_hash).map_or(0, |it| (it.members.len() - it.residents.packages) as u32)
    }

    /// Where these packages, which had their home in other bundles, are in both; old bundle by old bundle.
    pub(super) fn moves_to(&self, to: InfoHash, left: Vec<(Sha256Digest, InfoHash)>) -> Vec<Move> {
        let mut places: BTreeMap<InfoHash, BTreeMap<Sha256Digest, u32>> = BTreeMap::new();
        let (new, of_pieces) = self.first_pieces(&to);
        let mut moves = Vec::new();
        for (identity, from) in left {
            let old = places.entry(from).or_insert_with(|| self.first_pieces(&from).0);
            let (Some(old), Some(new)) = (old.get(&identity), new.get(&identity)) else { continue };
            let pieces = self.homes.get(&identity).map_or(0, |home| home.pieces);
            moves.push(Move { from, to, first_piece: (*old, *new), pieces, of_pieces });
        }
        moves.sort_unstable();
        moves
    }

    /// The first piece of each package of a bundle, and how many it has in all.
    fn first_pieces(&self, info_hash: &InfoHash) -> (BTreeMap<Sha256Digest, u32>, u32) {
        let mut first = 0;
        let members = self.bundles.get(info_hash).map_or(&[][..], |bundle| &bundle.members);
        let places = members.iter().map(|&(identity, pieces)| {
            first += pieces;
            (identity, first - pieces)
        });
        (places.collect(), first)
    }
}
