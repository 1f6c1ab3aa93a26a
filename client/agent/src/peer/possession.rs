//! What a peer has, also while it is not known yet how many pieces there are.

use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::wire::Bitfield;

use super::event::CloseReason;

/// All that a peer has, as its first message says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Everything,
    Nothing,
    Bits(bytes::Bytes),
}

/// What a peer has said that it has.
#[derive(Debug)]
pub(super) struct Possession {
    /// How many pieces the bundle has, once that is known.
    pieces: Option<u32>,
    has_said: bool,
    /// What it said before that was known.
    early: Option<Said>,
    /// What it got since then.
    early_haves: Option<Bitfield>,
}

impl Possession {
    /// Nothing is known of a peer. The bundle has so many pieces, if it is known.
    pub(super) fn new(pieces: Option<u32>) -> Self {
        Self { pieces, has_said: false, early: None, early_haves: None }
    }

    /// It says what it has: once. `None` until it is known what that means.
    pub(super) fn said(&mut self, said: Said) -> Result<Option<Bitfield>, CloseReason> {
        if self.has_said {
            return Err(CloseReason::HasTwice);
        }
        self.has_said = true;
        match self.pieces {
            Some(pieces) => said.of(pieces).map(Some),
            None => {
                self.early = Some(said);
                Ok(None)
            }
        }
    }

    /// It has got a piece. Says whether that means something yet.
    pub(super) fn got(&mut self, piece: u32) -> bool {
        if self.pieces.is_none() {
            // At most the bits of the largest bundle, whatever is said how often.
            self.early_haves.get_or_insert_with(|| Bitfield::none(BUNDLE_PIECES_MAX)).set(piece);
        }
        self.pieces.is_some()
    }

    /// The bundle has so many pieces: what the peer's words until now mean. Pieces that do not exist break the protocol
    /// later as they would have at first.
    pub(super) fn learn(&mut self, pieces: u32) -> Result<Option<Bitfield>, CloseReason> {
        if self.pieces.replace(pieces).is_some() {
            return Ok(None);
        }
        let mut field = self.early.take().unwrap_or(Said::Nothing).of(pieces)?;
        for piece in self.early_haves.take().iter().flat_map(Bitfield::iter) {
            if piece >= pieces {
                let error =
                    pkgtorrent_protocol::wire::WireError::NoSuchPiece { message: "have", piece, pieces };
                return Err(error.into());
            }
            field.set(piece);
        }
        Ok(Some(field))
    }
}

impl Said {
    fn of(self, pieces: u32) -> Result<Bitfield, CloseReason> {
        Ok(match self {
            Self::Everything => Bitfield::all(pieces),
            Self::Nothing => Bitfield::none(pieces),
            Self::Bits(bits) => Bitfield::parse(pieces, &bits)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn bits() -> Said {
        Said::Bits(Bytes::from_static(&[0b1000_0000, 0b0100_0000]))
    }

    fn pieces(field: Option<Bitfield>) -> Vec<u32> {
        field.expect("a bitfield").iter().collect()
    }

    #[test]
    fn what_was_said_before_the_bundle_was_known_counts_later() {
        for (said, expected) in [
            (Some(bits()), vec![0, 3, 9]),
            (Some(Said::Everything), (0..10).collect()),
            (Some(Said::Nothing), vec![3, 9]),
            (None, vec![3, 9]),
        ] {
            let mut possession = Possession::new(None);
            if let Some(said) = said {
                assert!(possession.said(said).expect("is read").is_none());
            }
            assert!(!possession.got(3) && !possession.got(9) && !possession.got(3));
            assert_eq!(pieces(possession.learn(10).expect("fits")), expected);
            assert!(possession.got(4), "from now on it means something");
            assert!(possession.learn(10).expect("again").is_none());
        }
    }

    #[test]
    fn what_was_said_of_another_bundle_is_refused_once_that_is_seen() {
        let mut possession = Possession::new(None);
        assert!(possession.said(bits()).is_ok());
        assert!(matches!(possession.learn(17), Err(CloseReason::Bitfield(_))));
        let mut possession = Possession::new(None);
        possession.got(10);
        assert!(matches!(possession.learn(10), Err(CloseReason::Wire(_))));
        assert!(matches!(Possession::new(Some(3)).said(bits()), Err(CloseReason::Bitfield(_))));
    }

    #[test]
    fn nobody_says_twice_what_he_has() {
        for known in [None, Some(10)] {
            let mut possession = Possession::new(known);
            assert!(possession.said(Said::Nothing).is_ok());
            assert!(matches!(possession.said(bits()), Err(CloseReason::HasTwice)));
        }
    }
}
