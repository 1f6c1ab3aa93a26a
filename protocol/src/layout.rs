//! Where packages and their padding lie in a bundle.
//!
//! Every file is padded to a piece boundary, the last one too. A package's block list (the SHA-1 of each of its pieces,
//! the last one with its zeros) is therefore the same wherever the package stands, and is computed once in its life.

/// The SHA-1 of one piece.
pub const BLOCK_HASH_LEN: usize = 20;

/// A bundle's piece length: one of the classes that packages fall into by their size.
///
/// The fewer pieces, the longer a crowd takes (with M pieces and N hosts the floor is 1 + log2(N)/M times one
/// transfer), and the more of them, the more hashes and have messages there are. Three classes keep both below two
/// per cent for what repositories hold; 32 KiB is the least at which have messages to fifty peers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PieceLen {
    /// For packages under 1 MiB: 32 KiB.
    Small,
    /// For packages under 64 MiB: 128 KiB.
    Medium,
    /// For the rest: 1 MiB.
    Large,
}

impl PieceLen {
    /// Every class, ascending.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The longest piece that any bundle has.
    pub const BYTES_MAX: u32 = Self::Large.bytes();

    /// The class that a package of this size belongs to.
    #[must_use]
    pub const fn for_package(size: u64) -> Self {
        const MIB: u64 = 1 << 20;
        if size < MIB {
            Self::Small
        } else if size < 64 * MIB {
            Self::Medium
        } else {
            Self::Large
        }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Small => 32 << 10,
            Self::Medium => 128 << 10,
            Self::Large => 1 << 20,
        }
    }

    /// How many pieces a host fetches first copies of at once, and is left in peace with by others meanwhile: long enough
    /// for a request, short enough to be soon given on.
    #[must_use]
    pub const fn fetched_at_once(self) -> u32 {
        const LEN: u32 = 128 << 10;
        if self.bytes() < LEN { LEN / self.bytes() } else { 1 }
    }

    /// The class of this length in bytes.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|class| u64::from(class.bytes()) == bytes)
    }

    /// How many pieces a file of this size has.
    #[must_use]
    pub fn pieces(self, size: u64) -> u64 {
        size.div_ceil(u64::from(self.bytes()))
    }

    /// How many zeros follow a file of this size: less than one piece.
    #[must_use]
    pub fn padding(self, size: u64) -> u32 {
        let over = size % u64::from(self.bytes());
        // Below the piece length, which is a u32.
        if over == 0 { 0 } else { (u64::from(self.bytes()) - over) as u32 }
    }
}

/// One package's place in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its index in the info dictionary's list of files, in which padding counts too.
    pub file: u32,
    /// Its first piece.
    pub first_piece: u32,
    /// How many pieces it has.
    pub pieces: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The zeros behind it.
    pub padding: u32,
}

/// The places of all packages of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleLayout {
    piece_len: PieceLen,
    extents: Vec<Extent>,
    pieces: u32,
}

/// The most pieces that a bundle has: a terabyte of large packages' pieces would fit no metadata message, and a
/// bitfield of this many is 8 KiB.
pub const BUNDLE_PIECES_MAX: u32 = 65_536;

/// A bundle of more than [`BUNDLE_PIECES_MAX`] pieces, or a package of no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Too much for one bundle.
    #[error("the bundle would have more than {BUNDLE_PIECES_MAX} pieces")]
    TooManyPieces,
    /// There is nothing to share of an empty file, and a piece must belong to one package.
    #[error("a package is empty")]
    EmptyPackage,
}

impl BundleLayout {
    /// Lays out packages of these sizes in their order.
    pub fn new(piece_len: PieceLen, sizes: impl IntoIterator<Item = u64>) -> Result<Self, LayoutError> {
        let mut extents = Vec::new();
        let (mut file, mut first_piece) = (0_u32, 0_u32);
        for size in sizes {
            if size == 0 {
                return Err(LayoutError::EmptyPackage);
            }
            let pieces = u32::try_from(piece_len.pieces(size)).map_err(|_| LayoutError::TooManyPieces)?;
            let padding = piece_len.padding(size);
            extents.push(Extent { file, first_piece, pieces, size, padding });
            // A package has at least one piece, so the number of files is bounded by that of the pieces.
            file += 1 + u32::from(padding > 0);
            first_piece = first_piece
                .checked_add(pieces)
                .filter(|&sum| sum <= BUNDLE_PIECES_MAX)
                .ok_or(LayoutError::TooManyPieces)?;
        }
        Ok(Self { piece_len, extents, pieces: first_piece })
    }

    /// The piece length of the whole bundle.
    #[must_use]
    pub fn piece_len(&self) -> PieceLen {
        self.piece_len
    }

    /// The packages' places, in order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The number of pieces.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The position among [`Self::extents`] of the package that a piece belongs to.
    #[must_use]
    pub fn index_of(&self, piece: u32) -> Option<usize> {
        let index = self.extents.partition_point(|extent| extent.first_piece <= piece).checked_sub(1)?;
        (piece < self.pieces).then_some(index)
    }

    /// How many bytes of a piece are the package's; what follows them in it is padding.
    #[must_use]
    pub fn payload_len(&self, piece: u32) -> u32 {
        let whole = self.piece_len.bytes();
        match self.index_of(piece).map(|index| self.extents[index]) {
            Some(extent) if piece + 1 == extent.first_piece + extent.pieces => whole - extent.padding,
            Some(_) => whole,
            None => 0,
        }
    }

    /// The length of the bundle with all padding.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        u64::from(self.pieces) * u64::from(self.piece_len.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_package_starts_and_ends_on_a_piece_boundary(sizes in proptest::collection::vec(1_u64..400_000, 1..40)) {
            let layout = BundleLayout::new(PieceLen::Small, sizes.iter().copied()).expect("a layout");
            let piece = u64::from(PieceLen::Small.bytes());
            let mut next_piece = 0;
            let mut next_file = 0;
            for (extent, size) in layout.extents().iter().zip(&sizes) {
                prop_assert_eq!(extent.first_piece, next_piece);
                prop_assert_eq!(extent.file, next_file);
                prop_assert_eq!((extent.size + u64::from(extent.padding)) % piece, 0);
                prop_assert_eq!(extent.size + u64::from(extent.padding), u64::from(extent.pieces) * piece);
                prop_assert!(u64::from(extent.padding) < piece);
                prop_assert_eq!(extent.size, *size);
                let pieces = extent.first_piece..extent.first_piece + extent.pieces;
                let payload: u64 = pieces.clone().map(|piece| u64::from(layout.payload_len(piece))).sum();
                prop_assert_eq!(payload, extent.size);
                for piece in pieces {
                    prop_assert_eq!(layout.index_of(piece).map(|index| layout.extents()[index]), Some(*extent));
                }
                next_piece += extent.pieces;
                next_file += if extent.padding > 0 { 2 } else { 1 };
            }
            prop_assert_eq!(layout.pieces(), next_piece);
            prop_assert_eq!((layout.index_of(next_piece), layout.payload_len(next_piece)), (None, 0));
        }
    }

    #[test]
    fn a_bundle_beyond_its_limit_and_an_empty_package_are_refused() {
        let huge = u64::from(BUNDLE_PIECES_MAX) * u64::from(PieceLen::Small.bytes());
        assert!(BundleLayout::new(PieceLen::Small, [huge]).is_ok());
        assert_eq!(BundleLayout::new(PieceLen::Small, [huge + 1]), Err(LayoutError::TooManyPieces));
        assert_eq!(BundleLayout::new(PieceLen::Small, [huge, 1]), Err(LayoutError::TooManyPieces));
        assert_eq!(BundleLayout::new(PieceLen::Small, [u64::MAX]), Err(LayoutError::TooManyPieces));
        assert_eq!(BundleLayout::new(PieceLen::Small, [5, 0]), Err(LayoutError::EmptyPackage));
    }

    #[test]
    fn the_class_follows_from_the_size() {
        assert_eq!(PieceLen::for_package(1), PieceLen::Small);
        assert_eq!(PieceLen::for_package((1 << 20) - 1), PieceLen::Small);
        assert_eq!(PieceLen::for_package(1 << 20), PieceLen::Medium);
        assert_eq!(PieceLen::for_package(64 << 20), PieceLen::Large);
        assert_eq!(PieceLen::from_bytes(131_072), Some(PieceLen::Medium));
        assert_eq!(PieceLen::from_bytes(16_384), None);
    }
}
