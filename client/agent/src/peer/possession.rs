//! What a peer has, also while it is not known yet how many pieces there are.

use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::wire::Bitfield;

use super::event::CloseReason;

/// All that a peer has, as one message says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Everything,
    Nothing,
    Bits(bytes::Bytes),
}

/// What a peer has said that it has.
#[derive(Debug)]
pub(super) struct Possession {
    /// All of it, once it is known how many pieces the bundle has.
    has: Option<Bitfield>,
    /// Whether its first word on that is known.
    has_said: bool,
    /// What it said before that was known.
    early: Said,
    /// What it got since then.
    early_haves: Option<Bitfield>,
}

impl Possession {
    /// Nothing is known of a peer. The bundle has so many pieces, if it is known.
    pub(super) fn new(pieces: Option<u32>) -> Self {
        Self { has: pieces.map(Bitfield::none), has_said: false, early: Said::Nothing, early_haves: None }
    }

    /// It says what it has. Some say so again when they have got many pieces at once (aria2), instead of naming each.
    /// `None` until it is known what that means, and later when it is nothing new: who repeats himself costs nobody
    /// anything.
    pub(super) fn said(&mut self, said: Said) -> Result<Option<Bitfield>, CloseReason> {
        let Some(has) = &mut self.has else {
            // Pieces do not vanish, so that the latest word has the earlier ones in it.
            if said != Said::Nothing && self.early != Said::Everything {
                self.early = said;
            }
            return Ok(None);
        };
        let field = said.of(has.pieces())?;
        let before = has.count();
        for piece in field.iter() {
            has.set(piece);
        }
        let is_first = !std::mem::replace(&mut self.has_said, true);
        Ok((is_first || has.count() > before).then_some(field))
    }

    /// It has got a piece. Says whether that means something yet.
    pub(super) fn got(&mut self, piece: u32) -> bool {
        match &mut self.has {
            Some(has) => {
                has.set(piece);
                true
            }
            None => {
                // At most the bits of the largest bundle, whatever is said how often.
                self.early_haves.get_or_insert_with(|| Bitfield::none(BUNDLE_PIECES_MAX)).set(piece);
                false
            }
        }
    }

    /// The bundle has so many pieces: what the peer's words until now mean. Pieces that do not exist break the protocol
    /// later as they would have at first.
    pub(super) fn learn(&mut self, pieces: u32) -> Result<Option<Bitfield>, CloseReason> {
        if self.has.is_some() {
            return Ok(None);
        }
        let mut field = std::mem::replace(&mut self.early, Said::Nothing).of(pieces)?;
        for piece in self.early_haves.take().iter().flat_map(Bitfield::iter) {
            if piece >= pieces {
                let error =
                    pkgtorrent_protocol::wire::WireError::NoSuchPiece { message: "have", piece, pieces };
                return Err(error.into());
            }
            field.set(piece);
        }
        self.has = Some(field.clone());
        self.has_said = true;
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
    fn what_is_said_again_counts_as_far_as_it_is_new() {
        let mut possession = Possession::new(Some(10));
        assert_eq!(possession.said(Said::Nothing).expect("fits"), Some(Bitfield::none(10)));
        assert_eq!(possession.said(Said::Nothing).expect("fits"), None);
        assert_eq!(pieces(possession.said(bits()).expect("fits")), [0, 9]);
        assert_eq!(possession.said(bits()).expect("fits"), None);
        for piece in 1..9 {
            assert!(possession.got(piece));
        }
        assert_eq!(possession.said(Said::Everything).expect("fits"), None, "each piece was named");

        let mut possession = Possession::new(Some(10));
        assert_eq!(pieces(possession.said(Said::Everything).expect("fits")).len(), 10);
        assert_eq!(possession.said(Said::Nothing).expect("fits"), None);
        assert!(matches!(
            possession.said(Said::Bits(Bytes::from_static(&[0; 3]))),
            Err(CloseReason::Bitfield(_))
        ));
    }

    #[test]
    fn what_is_said_again_before_the_bundle_is_known_counts_later() {
        for (again, expected) in [(Said::Everything, 10), (bits(), 2), (Said::Nothing, 2)] {
            let mut possession = Possession::new(None);
            assert_eq!(possession.said(bits()).expect("is kept"), None);
            assert_eq!(possession.said(again).expect("is kept"), None);
            assert_eq!(pieces(possession.learn(10).expect("fits")).len(), expected);
        }
        let mut possession = Possession::new(None);
        for said in [Said::Everything, bits()] {
            assert_eq!(possession.said(said).expect("is kept"), None);
        }
        assert_eq!(pieces(possession.learn(10).expect("fits")).len(), 10);
    }
}
