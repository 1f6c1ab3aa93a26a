//! Which missing pieces few peers have: the order in which pieces are asked for.
//!
//! Rarest first keeps every host useful to every other. Ties are random, so that hosts which know the same ask for
//! different pieces. Pieces lie in one vector, sorted by how many links have them, and each change moves a piece over at
//! most one boundary: what a message costs does not grow with the bundle.

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// The position of a piece that is not in the order.
const NOWHERE: u32 = u32::MAX;

/// The missing pieces of one bundle, the rarest first.
#[derive(Debug, Clone)]
pub(crate) struct Rarity {
    /// For each piece, how many links have it.
    holders: Vec<u32>,
    /// The pieces that may be asked for, ascending by their holders.
    order: Vec<u32>,
    /// For each piece, where it is in `order`.
    position: Vec<u32>,
    /// For each number of holders, where the pieces with more holders begin.
    ends: Vec<usize>,
}

impl Rarity {
    pub(crate) fn new(pieces: u32) -> Self {
        let pieces = pieces as usize;
        Self { holders: vec![0; pieces], order: Vec::new(), position: vec![NOWHERE; pieces], ends: vec![0] }
    }

    /// How many links have a piece.
    pub(crate) fn holders(&self, piece: u32) -> u32 {
        self.holders[piece as usize]
    }

    /// Whether a piece may be asked for.
    pub(crate) fn contains(&self, piece: u32) -> bool {
        self.position[piece as usize] != NOWHERE
    }

    /// The pieces that may be asked for and no link has, in random order.
    pub(crate) fn absent(&self) -> &[u32] {
        &self.order[..self.ends[0]]
    }

    /// The pieces that may be asked for and some link has, the rarest first.
    pub(crate) fn available(&self) -> &[u32] {
        &self.order[self.ends[0]..]
    }

    /// The pieces that may be asked for, the rarest first.
    pub(crate) fn all(&self) -> &[u32] {
        &self.order
    }

    /// How many pieces may be asked for.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// A piece may be asked for from now on.
    pub(crate) fn insert(&mut self, piece: u32, random: &mut Pcg64Mcg) {
        if self.contains(piece) {
            return;
        }
        let level = self.holders[piece as usize] as usize;
        self.reach(level);
        // The hole at the end moves down, one level at a time.
        self.order.push(piece);
        let mut hole = self.order.len() - 1;
        for end in self.ends.iter_mut().skip(level).rev() {
            let first = std::mem::replace(end, *end + 1);
            hole = Self::fill(&mut self.order, &mut self.position, hole, first);
        }
        self.put(hole, piece);
        self.shuffle_in(piece, random);
    }

    /// A piece is not asked for any more.
    pub(crate) fn remove(&mut self, piece: u32) {
        if !self.contains(piece) {
            return;
        }
        let level = self.holders[piece as usize] as usize;
        let mut hole = self.position[piece as usize] as usize;
        for end in self.ends.iter_mut().skip(level) {
            *end -= 1;
            hole = Self::fill(&mut self.order, &mut self.position, hole, *end);
        }
        self.order.pop();
        self.position[piece as usize] = NOWHERE;
    }

    /// Fills a hole with the piece at another position, which is the hole from then on.
    fn fill(order: &mut [u32], position: &mut [u32], hole: usize, from: usize) -> usize {
        if from != hole {
            order[hole] = order[from];
            position[order[hole] as usize] = hole as u32;
        }
        from
    }

    /// One more link has a piece.
    pub(crate) fn gain(&mut self, piece: u32, random: &mut Pcg64Mcg) {
        let level = self.holders[piece as usize] as usize;
        self.holders[piece as usize] += 1;
        self.reach(level + 1);
        if self.contains(piece) {
            self.ends[level] -= 1;
            self.swap(piece, self.ends[level]);
            self.shuffle_in(piece, random);
        }
    }

    /// One link less has a piece.
    pub(crate) fn lose(&mut self, piece: u32, random: &mut Pcg64Mcg) {
        let level = self.holders[piece as usize] as usize;
        self.holders[piece as usize] -= 1;
        if self.contains(piece) {
            self.swap(piece, self.ends[level - 1]);
            self.ends[level - 1] += 1;
            self.shuffle_in(piece, random);
        }
    }

    /// There is an end for every level up to this one, the last of which is the end of all.
    fn reach(&mut self, level: usize) {
        if self.ends.len() <= level {
            self.ends.resize(level + 1, self.order.len());
        }
    }

    fn put(&mut self, position: usize, piece: u32) {
        self.order[position] = piece;
        self.position[piece as usize] = position as u32;
    }

    fn swap(&mut self, piece: u32, position: usize) {
        let other = self.order[position];
        let from = self.position[piece as usize] as usize;
        self.put(from, other);
        self.put(position, piece);
    }

    /// Gives a piece a random place among those with as many holders.
    fn shuffle_in(&mut self, piece: u32, random: &mut Pcg64Mcg) {
        let level = self.holders[piece as usize] as usize;
        let start = if level == 0 { 0 } else { self.ends[level - 1] };
        let len = (self.ends[level] - start) as u64;
        let position = start + ((u64::from(random.next_u32()) * len) >> 32) as usize;
        self.swap(piece, position);
    }

    /// Panics unless the order is one.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.ends.last(), Some(&self.order.len()), "the last end is the end of all");
        let mut level = 0;
        for (position, piece) in self.order.iter().enumerate() {
            while self.ends[level] <= position {
                level += 1;
            }
            assert_eq!(self.holders(*piece) as usize, level, "piece {piece} is in the wrong place");
            assert_eq!(self.position[*piece as usize] as usize, position);
        }
        let listed = self.position.iter().filter(|position| **position != NOWHERE).count();
        assert_eq!(listed, self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_by_holders_whatever_happens(steps in proptest::collection::vec((0_u32..12, 0_u8..4), 0..300)) {
            let mut random = Pcg64Mcg::new(1);
            let mut rarity = Rarity::new(12);
            for (piece, step) in steps {
                match step {
                    0 => rarity.insert(piece, &mut random),
                    1 => rarity.remove(piece),
                    2 => rarity.gain(piece, &mut random),
                    _ if rarity.holders(piece) > 0 => rarity.lose(piece, &mut random),
                    _ => {}
                }
                rarity.check_invariants();
                prop_assert_eq!(rarity.contains(piece), match step { 0 => true, 1 => false, _ => rarity.contains(piece) });
            }
            prop_assert_eq!(rarity.absent().len() + rarity.available().len(), rarity.len());
        }
    }

    #[test]
    fn ties_are_random() {
        let first = |seed| {
            let mut random = Pcg64Mcg::new(seed);
            let mut rarity = Rarity::new(50);
            (0..50).for_each(|piece| rarity.insert(piece, &mut random));
            rarity.absent()[0]
        };
        let firsts: std::collections::BTreeSet<u32> = (0..40).map(first).collect();
        assert!(firsts.len() > 15, "{firsts:?}");
    }
}
