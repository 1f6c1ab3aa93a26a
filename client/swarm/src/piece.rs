//! The pieces of one file, each in exactly one state.

use std::ops::Range;

use pkgtorrent_protocol::PieceLen;
use pkgtorrent_protocol::layout::Extent;

use crate::identity::RequestId;

/// Where a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nobody was asked for it.
    Missing,
    /// This request to a web seed is to bring it.
    Requested(RequestId),
    /// Peers are asked for its blocks.
    Assembling,
    /// It is here and matched its hash.
    Here,
}

/// Neighbouring pieces of one file, counted within the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u32,
    pub(crate) pieces: u32,
}

impl Run {
    pub(crate) fn range(self) -> Range<u32> {
        self.first..self.first + self.pieces
    }

    pub(crate) fn contains(self, piece: u32) -> bool {
        self.range().contains(&piece)
    }
}

/// All pieces of one file.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    extent: Extent,
    piece_len: PieceLen,
    states: Vec<Piece>,
    missing: u32,
    here: u32,
    /// What changed since that was last asked for.
    turned: Vec<u32>,
}

impl Pieces {
    pub(crate) fn new(extent: Extent, piece_len: PieceLen) -> Self {
        let states = vec![Piece::Missing; extent.pieces as usize];
        Self { extent, piece_len, states, missing: extent.pieces, here: 0, turned: Vec::new() }
    }

    pub(crate) fn piece_len(&self) -> PieceLen {
        self.piece_len
    }

    /// How many pieces nobody was asked for.
    pub(crate) fn missing(&self) -> u32 {
        self.missing
    }

    /// Their length, with the padding that the last one may have.
    pub(crate) fn missing_len(&self) -> u64 {
        u64::from(self.missing) * u64::from(self.piece_len.bytes())
    }

    /// How many bytes of the file are here.
    pub(crate) fn here_len(&self) -> u64 {
        self.len_of(self.here, self.states.last() == Some(&Piece::Here))
    }

    /// How many bytes of the file a run of its pieces has.
    pub(crate) fn run_len(&self, run: Run) -> u64 {
        self.len_of(run.pieces, run.range().end == self.whole().range().end)
    }

    fn len_of(&self, pieces: u32, with_last: bool) -> u64 {
        let padding = if with_last { self.extent.padding } else { 0 };
        u64::from(pieces) * u64::from(self.piece_len.bytes()) - u64::from(padding)
    }

    pub(crate) fn are_all_here(&self) -> bool {
        self.here == self.extent.pieces
    }

    /// From the file's first piece to its last.
    pub(crate) fn whole(&self) -> Run {
        Run { first: self.extent.first_piece, pieces: self.extent.pieces }
    }

    /// The state of a piece; none of one that is outside the file.
    pub(crate) fn get(&self, piece: u32) -> Option<Piece> {
        let offset = piece.checked_sub(self.extent.first_piece)?;
        self.states.get(offset as usize).copied()
    }

    /// The first missing pieces that lie together, as many as there are.
    pub(crate) fn missing_run(&self) -> Option<Run> {
        let offset = self.states.iter().position(|state| *state == Piece::Missing)?;
        Some(self.missing_run_from(self.extent.first_piece + offset as u32, |_| true))
    }

    /// The missing pieces from this one on that lie together and fit.
    pub(crate) fn missing_run_from(&self, first: u32, fits: impl Fn(u32) -> bool) -> Run {
        let last = (first..self.whole().range().end)
            .take_while(|piece| self.get(*piece) == Some(Piece::Missing) && fits(*piece));
        Run { first, pieces: last.count() as u32 }
    }

    /// What is missing in the run is requested from now on; how many pieces that are.
    pub(crate) fn request(&mut self, run: Run, request: RequestId) -> u32 {
        self.turn(run, Piece::Missing, Piece::Requested(request))
    }

    /// What the request was to bring and did not is missing again; how many pieces that are.
    pub(crate) fn release(&mut self, run: Run, request: RequestId) -> u32 {
        self.turn(run, Piece::Requested(request), Piece::Missing)
    }

    /// The piece is here. False if it is so already, or is outside the file.
    pub(crate) fn verify(&mut self, piece: u32) -> bool {
        match self.get(piece) {
            None | Some(Piece::Here) => false,
            Some(_) => {
                self.set(piece, Piece::Here);
                true
            }
        }
    }

    /// Peers are asked for a missing piece from now on.
    pub(crate) fn assemble(&mut self, piece: u32) {
        if self.get(piece) == Some(Piece::Missing) {
            self.set(piece, Piece::Assembling);
        }
    }

    /// What peers were asked for is missing again.
    pub(crate) fn disassemble(&mut self, piece: u32) {
        if self.get(piece) == Some(Piece::Assembling) {
            self.set(piece, Piece::Missing);
        }
    }

    /// Everything is missing. No request for the file may be under way.
    pub(crate) fn forget_all(&mut self) {
        for piece in self.whole().range() {
            self.set(piece, Piece::Missing);
        }
    }

    /// Each piece that changed since this was last called.
    pub(crate) fn take_turned(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.turned)
    }

    fn turn(&mut self, run: Run, from: Piece, to: Piece) -> u32 {
        let mut turned = 0;
        for piece in run.range() {
            if self.get(piece) == Some(from) {
                self.set(piece, to);
                turned += 1;
            }
        }
        turned
    }

    /// Every change of a state is made here, so that the counts are right.
    fn set(&mut self, piece: u32, to: Piece) {
        let state = &mut self.states[(piece - self.extent.first_piece) as usize];
        let from = std::mem::replace(state, to);
        self.missing -= u32::from(from == Piece::Missing);
        self.here -= u32::from(from == Piece::Here);
        self.missing += u32::from(to == Piece::Missing);
        self.here += u32::from(to == Piece::Here);
        if from != to {
            self.turned.push(piece);
        }
    }

    /// Panics unless the counts are those of the states.
    pub(crate) fn check_invariants(&self) {
        let count = |is: fn(&Piece) -> bool| self.states.iter().filter(|state| is(state)).count() as u32;
        assert_eq!(self.missing, count(|state| *state == Piece::Missing), "missing pieces are miscounted");
        assert_eq!(self.here, count(|state| *state == Piece::Here), "pieces that are here are miscounted");
    }

    /// Each piece with its state.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Piece)> + '_ {
        (self.extent.first_piece..).zip(self.states.iter().copied())
    }
}

#[cfg(test)]
impl Pieces {
    /// The pieces as a string: `.` missing, `R` requested, `#` here.
    pub(crate) fn picture(&self) -> String {
        let sign = |state: &Piece| match state {
            Piece::Missing => '.',
            Piece::Requested(_) => 'R',
            Piece::Assembling => 'A',
            Piece::Here => '#',
        };
        self.states.iter().map(sign).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = PieceLen::Small.bytes() as u64;

    /// Six pieces, the seventh of the bundle being the first; the last one has 10 bytes.
    fn six() -> Pieces {
        let size = 5 * PIECE + 10;
        let padding = PieceLen::Small.padding(size);
        Pieces::new(Extent { file: 3, first_piece: 7, pieces: 6, size, padding }, PieceLen::Small)
    }

    #[test]
    fn a_piece_goes_from_missing_to_requested_to_here_and_back_only_unverified() {
        let mut pieces = six();
        let (first, second) = (RequestId(1), RequestId(2));
        assert_eq!(pieces.request(Run { first: 7, pieces: 3 }, first), 3);
        assert_eq!(pieces.request(Run { first: 7, pieces: 5 }, second), 2, "what is requested stays so");
        assert_eq!(pieces.picture(), "RRRRR.");
        assert!(pieces.verify(8));
        assert!(!pieces.verify(8), "once");
        assert!(!pieces.verify(13) && !pieces.verify(6), "outside the file");
        assert_eq!(pieces.release(pieces.whole(), first), 2);
        assert_eq!(pieces.picture(), ".#.RR.");
        assert_eq!(pieces.missing(), 3);
        pieces.check_invariants();
    }

    #[test]
    fn a_missing_run_is_as_long_as_it_gets() {
        let mut pieces = six();
        assert_eq!(pieces.missing_run(), Some(pieces.whole()));
        pieces.verify(7);
        pieces.verify(10);
        assert_eq!(pieces.missing_run(), Some(Run { first: 8, pieces: 2 }));
        pieces.request(Run { first: 8, pieces: 2 }, RequestId(1));
        assert_eq!(pieces.missing_run(), Some(Run { first: 11, pieces: 2 }));
        pieces.request(pieces.whole(), RequestId(1));
        assert_eq!(pieces.missing_run(), None);
    }

    #[test]
    fn padding_is_no_progress() {
        let mut pieces = six();
        pieces.verify(7);
        assert_eq!(pieces.here_len(), PIECE);
        assert_eq!(pieces.run_len(Run { first: 8, pieces: 5 }), 4 * PIECE + 10);
        pieces.verify(12);
        assert_eq!(pieces.here_len(), PIECE + 10);
        for piece in 7..13 {
            pieces.verify(piece);
        }
        assert_eq!(pieces.here_len(), 5 * PIECE + 10);
        assert!(pieces.are_all_here());
        pieces.forget_all();
        assert_eq!((pieces.picture().as_str(), pieces.here_len()), ("......", 0));
    }
}
