//! Which of a bundle's pieces somebody has.

use bytes::Bytes;

/// A set of a bundle's pieces, as the wire has it: the first piece is the first byte's highest bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    pieces: u32,
    count: u32,
    /// Bits beyond the last piece are zero.
    bits: Box<[u8]>,
}

/// Why bytes are no bitfield of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// Its length is another bundle's.
    #[error("a bitfield of {len} bytes does not fit {pieces} pieces")]
    WrongLength {
        /// How many bytes came.
        len: usize,
        /// How many pieces the bundle has.
        pieces: u32,
    },
    /// It has pieces that do not exist.
    #[error("a bitfield has bits beyond the last piece")]
    SpareBits,
}

impl Bitfield {
    /// None of so many pieces.
    #[must_use]
    pub fn none(pieces: u32) -> Self {
        Self { pieces, count: 0, bits: vec![0; len_of(pieces)].into() }
    }

    /// All of so many pieces.
    #[must_use]
    pub fn all(pieces: u32) -> Self {
        let mut bits = vec![0xff; len_of(pieces)];
        if let Some(last) = bits.last_mut() {
            *last &= !spare_bits(pieces);
        }
        Self { pieces, count: pieces, bits: bits.into() }
    }

    /// Reads the body of a bitfield message.
    pub fn parse(pieces: u32, bytes: &[u8]) -> Result<Self, BitfieldError> {
        if bytes.len() != len_of(pieces) {
            return Err(BitfieldError::WrongLength { len: bytes.len(), pieces });
        }
        if bytes.last().is_some_and(|last| last & spare_bits(pieces) != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { pieces, count, bits: bytes.into() })
    }

    /// The body of a bitfield message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bits)
    }

    /// How many pieces there are, here or not.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// How many of them are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether all are.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.count == self.pieces
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this piece is in the set. One that does not exist is not.
    #[must_use]
    pub fn get(&self, piece: u32) -> bool {
        piece < self.pieces && self.bits[piece as usize / 8] & bit(piece) != 0
    }

    /// Puts a piece in and says whether it is new. One that does not exist is not put in.
    pub fn set(&mut self, piece: u32) -> bool {
        let is_new = piece < self.pieces && !self.get(piece);
        if is_new {
            self.bits[piece as usize / 8] |= bit(piece);
            self.count += 1;
        }
        is_new
    }

    /// Takes a piece out and says whether it was in.
    pub fn clear(&mut self, piece: u32) -> bool {
        let was_in = self.get(piece);
        if was_in {
            self.bits[piece as usize / 8] &= !bit(piece);
            self.count -= 1;
        }
        was_in
    }

    /// The pieces of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bytes = (0_u32..).step_by(8).zip(self.bits.iter().copied());
        bytes.filter(|(_, byte)| *byte != 0).flat_map(|(first, byte)| {
            (0..8).filter(move |offset| byte & bit(*offset) != 0).map(move |offset| first + offset)
        })
    }
}

fn len_of(pieces: u32) -> usize {
    pieces.div_ceil(8) as usize
}

fn bit(piece: u32) -> u8 {
    0x80 >> (piece % 8)
}

/// The bits of the last byte that stand for no piece.
fn spare_bits(pieces: u32) -> u8 {
    match pieces % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_pieces(pieces in 1_u32..100, changes in proptest::collection::vec((0_u32..120, any::<bool>()), 0..80)) {
            let (mut field, mut set) = (Bitfield::none(pieces), BTreeSet::new());
            for (piece, put) in changes {
                if put {
                    prop_assert_eq!(field.set(piece), piece < pieces && set.insert(piece));
                } else {
                    prop_assert_eq!(field.clear(piece), set.remove(&piece));
                }
            }
            prop_assert_eq!(field.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(field.count() as usize, set.len());
            prop_assert!((0..120).all(|piece| field.get(piece) == set.contains(&piece)));
            prop_assert_eq!(field.is_complete(), set.len() == pieces as usize);
            prop_assert_eq!(Bitfield::parse(pieces, &field.to_bytes()), Ok(field));
        }

        #[test]
        fn only_the_right_number_of_bytes_without_spare_bits_is_one(pieces in 0_u32..70, bytes in proptest::collection::vec(any::<u8>(), 0..11)) {
            let fits = bytes.len() == (pieces as usize).div_ceil(8);
            let beyond = pieces % 8 != 0 && bytes.last().is_some_and(|last| last.trailing_zeros() < 8 - pieces % 8);
            match Bitfield::parse(pieces, &bytes) {
                Ok(field) => {
                    prop_assert!(fits && !beyond);
                    prop_assert_eq!(&field.to_bytes()[..], &bytes[..]);
                }
                Err(BitfieldError::SpareBits) => prop_assert!(fits && beyond),
                Err(BitfieldError::WrongLength { .. }) => prop_assert!(!fits),
            }
        }

        #[test]
        fn all_is_every_piece_and_nothing_more(pieces in 0_u32..70) {
            let all = Bitfield::all(pieces);
            prop_assert!(all.is_complete() && all.count() == pieces);
            prop_assert_eq!(all.iter().collect::<Vec<_>>(), (0..pieces).collect::<Vec<_>>());
            prop_assert_eq!(Bitfield::parse(pieces, &all.to_bytes()), Ok(all));
        }
    }

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let mut field = Bitfield::none(10);
        field.set(0);
        field.set(9);
        assert_eq!(field.to_bytes()[..], [0x80, 0x40]);
    }
}
