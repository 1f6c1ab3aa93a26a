//! Info dictionaries from peers (BEP 9): the messages, and putting the pieces together.
//!
//! The plan says an info dictionary's hash and length, so nothing that a peer claims decides how much is kept.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::extension::{ExtensionError, info_len};
use crate::bencode;
use crate::identity::InfoHash;
use crate::metainfo::INFO_LEN_MAX;

/// How an info dictionary is cut. Its pieces have nothing to do with the bundle's.
pub const METADATA_PIECE_LEN: u32 = 16 << 10;

/// The longest dictionary in front of a piece: three small numbers, and what a client adds to them.
const DICT_LEN_MAX: usize = 1 << 10;

/// How many pieces an info dictionary of this length has.
#[must_use]
pub fn metadata_pieces(len: u32) -> u32 {
    len.div_ceil(METADATA_PIECE_LEN)
}

/// The length of one of them.
fn piece_len(len: u32, piece: u32) -> u32 {
    len.saturating_sub(piece.saturating_mul(METADATA_PIECE_LEN)).min(METADATA_PIECE_LEN)
}

/// One message about the info dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataMessage {
    /// The sender wants this piece.
    Request(u32),
    /// A piece.
    Data {
        /// Which.
        piece: u32,
        /// The length of the whole info dictionary.
        info_len: u32,
        /// Its bytes.
        data: Bytes,
    },
    /// The sender does not give this piece.
    Reject(u32),
}

#[derive(Serialize, Deserialize)]
struct MetadataDict {
    msg_type: i64,
    piece: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_size: Option<i64>,
}

mod kind {
    pub(super) const REQUEST: i64 = 0;
    pub(super) const DATA: i64 = 1;
    pub(super) const REJECT: i64 = 2;
}

impl MetadataMessage {
    /// The piece of this info dictionary as it is sent; `None` if it has no such piece.
    #[must_use]
    pub fn data_of(info: &Bytes, piece: u32) -> Option<Self> {
        let info_len = u32::try_from(info.len()).ok()?;
        let len = piece_len(info_len, piece) as usize;
        let start = piece.checked_mul(METADATA_PIECE_LEN)? as usize;
        (len > 0).then(|| Self::Data { piece, info_len, data: info.slice(start..start + len) })
    }

    /// The payload to send.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (msg_type, piece, total_size, data) = match self {
            Self::Request(piece) => (kind::REQUEST, *piece, None, &[][..]),
            Self::Data { piece, info_len, data } => {
                (kind::DATA, *piece, Some(i64::from(*info_len)), &data[..])
            }
            Self::Reject(piece) => (kind::REJECT, *piece, None, &[][..]),
        };
        let dict = MetadataDict { msg_type, piece: piece.into(), total_size };
        // Integers under fixed keys always encode.
        let dict = serde_bencode::to_bytes(&dict).unwrap_or_default();
        let mut payload = BytesMut::with_capacity(dict.len() + data.len());
        payload.put_slice(&dict);
        payload.put_slice(data);
        payload.freeze()
    }

    /// Reads a payload; `None` for a kind of message that BEP 9 does not know and wants ignored.
    pub fn decode(payload: &Bytes) -> Result<Option<Self>, ExtensionError> {
        let (len, max) = (bencode::value_len(payload)?, DICT_LEN_MAX);
        if len > max {
            return Err(ExtensionError::TooLong { len, max });
        }
        let dict: MetadataDict = serde_bencode::from_bytes(&payload[..len])
            .map_err(|e| ExtensionError::NotUnderstood(e.to_string()))?;
        let piece = u32::try_from(dict.piece)
            .map_err(|_| ExtensionError::NotUnderstood(format!("metadata piece {}", dict.piece)))?;
        Ok(match dict.msg_type {
            kind::REQUEST => Some(Self::Request(piece)),
            kind::REJECT => Some(Self::Reject(piece)),
            kind::DATA => {
                let info_len = info_len(dict.total_size.unwrap_or_default())?;
                Some(Self::Data { piece, info_len, data: payload.slice(len..) })
            }
            _ => None,
        })
    }
}

/// An info dictionary whose pieces are arriving.
#[derive(Debug, Clone)]
pub struct InfoAssembly {
    info_hash: InfoHash,
    len: u32,
    /// The pieces that came, in their places.
    bytes: Vec<u8>,
    pieces: Vec<PieceState>,
    missing: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceState {
    Missing,
    Asked,
    Here,
}

/// An info dictionary cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A bundle's does not have this length.
    #[error("an info dictionary of {0} bytes, at most {INFO_LEN_MAX} are allowed")]
    Length(usize),
    /// The peer says that it has another length.
    #[error("the peer has an info dictionary of {theirs} bytes instead of {ours}")]
    OtherLength {
        /// What the peer says.
        theirs: u32,
        /// What the plan says.
        ours: u32,
    },
    /// A piece came that was not asked for, or came before.
    #[error("piece {0} of the info dictionary came unasked")]
    Unasked(u32),
    /// A piece is too short or too long.
    #[error("piece {piece} of the info dictionary came with {len} bytes instead of {expected}")]
    PieceLength {
        /// Which piece.
        piece: u32,
        /// How long it came.
        len: usize,
        /// How long it is.
        expected: u32,
    },
    /// All pieces are here, and they are something else.
    #[error("the info dictionary has another hash")]
    OtherHash,
    /// Pieces are missing.
    #[error("{0} pieces of the info dictionary are missing")]
    Incomplete(u32),
}

impl InfoAssembly {
    /// Nothing yet of the info dictionary with this hash and length.
    pub fn new(info_hash: InfoHash, len: usize) -> Result<Self, AssemblyError> {
        let fits = (1..=INFO_LEN_MAX).contains(&len);
        let short = u32::try_from(len).ok().filter(|_| fits).ok_or(AssemblyError::Length(len))?;
        let pieces = metadata_pieces(short);
        Ok(Self {
            info_hash,
            len: short,
            bytes: vec![0; len],
            pieces: vec![PieceState::Missing; pieces as usize],
            missing: pieces,
        })
    }

    /// The next piece to ask for, which counts as asked for from here on; `None` when there is none left.
    pub fn ask(&mut self) -> Option<u32> {
        let piece = self.pieces.iter().position(|state| *state == PieceState::Missing)?;
        self.pieces[piece] = PieceState::Asked;
        // At most two thousand pieces.
        Some(piece as u32)
    }

    /// A piece has come.
    pub fn put(&mut self, piece: u32, info_len: u32, data: &[u8]) -> Result<(), AssemblyError> {
        if info_len != self.len {
            return Err(AssemblyError::OtherLength { theirs: info_len, ours: self.len });
        }
        let state = self.pieces.get_mut(piece as usize).filter(|state| **state == PieceState::Asked);
        let state = state.ok_or(AssemblyError::Unasked(piece))?;
        let expected = piece_len(self.len, piece);
        if data.len() != expected as usize {
            return Err(AssemblyError::PieceLength { piece, len: data.len(), expected });
        }
        let start = (piece * METADATA_PIECE_LEN) as usize;
        self.bytes[start..start + data.len()].copy_from_slice(data);
        *state = PieceState::Here;
        self.missing -= 1;
        Ok(())
    }

    /// Whether every piece is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// The info dictionary, if it is that.
    pub fn finish(self) -> Result<Bytes, AssemblyError> {
        if self.missing > 0 {
            return Err(AssemblyError::Incomplete(self.missing));
        }
        if InfoHash::of(&self.bytes) != self.info_hash {
            return Err(AssemblyError::OtherHash);
        }
        Ok(Bytes::from(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn infos() -> impl Strategy<Value = Bytes> {
        let lens = prop_oneof![1_usize..50_000, Just(16_384), Just(32_768)];
        (lens, any::<u8>()).prop_map(|(len, fill)| (0..len).map(|at| (at / 7) as u8 ^ fill).collect())
    }

    fn survives(message: &MetadataMessage) -> bool {
        MetadataMessage::decode(&message.encode()).as_ref() == Ok(&Some(message.clone()))
    }

    proptest! {
        #[test]
        fn an_info_dictionary_travels_in_pieces(info in infos(), order in any::<u64>()) {
            let mut assembly = InfoAssembly::new(InfoHash::of(&info), info.len()).expect("a length");
            let mut asked: Vec<u32> = std::iter::from_fn(|| assembly.ask()).collect();
            prop_assert_eq!(&asked, &(0..metadata_pieces(info.len() as u32)).collect::<Vec<_>>());
            let turn = order as usize % asked.len();
            asked.rotate_left(turn);
            for piece in asked {
                prop_assert!(!assembly.is_whole());
                prop_assert!(survives(&MetadataMessage::Request(piece)) && survives(&MetadataMessage::Reject(piece)));
                let message = MetadataMessage::data_of(&info, piece).expect("a piece");
                prop_assert!(survives(&message));
                let MetadataMessage::Data { piece, info_len, data } = message else { panic!("data") };
                prop_assert_eq!(assembly.put(piece, info_len, &data), Ok(()));
                prop_assert_eq!(assembly.put(piece, info_len, &data), Err(AssemblyError::Unasked(piece)));
            }
            prop_assert!(assembly.is_whole());
            prop_assert_eq!(assembly.finish(), Ok(info));
        }

        #[test]
        fn one_wrong_bit_is_another_info_dictionary(info in infos(), at in any::<prop::sample::Index>(), xor in 1_u8..) {
            let mut wrong = info.to_vec();
            wrong[at.index(info.len())] ^= xor;
            let mut assembly = InfoAssembly::new(InfoHash::of(&info), info.len()).expect("a length");
            while let Some(piece) = assembly.ask() {
                let start = (piece * METADATA_PIECE_LEN) as usize;
                let data = wrong[start..].chunks(METADATA_PIECE_LEN as usize).next().expect("a piece");
                prop_assert_eq!(assembly.put(piece, info.len() as u32, data), Ok(()));
            }
            prop_assert_eq!(assembly.finish(), Err(AssemblyError::OtherHash));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = MetadataMessage::decode(&Bytes::from(bytes));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut assembly = InfoAssembly::new(InfoHash([7; 20]), 20_000).expect("a length");
        assert_eq!(assembly.ask(), Some(0));
        assert_eq!(assembly.put(1, 20_000, &[0; 3616]), Err(AssemblyError::Unasked(1)));
        assert_eq!(assembly.put(2, 20_000, &[]), Err(AssemblyError::Unasked(2)));
        assert_eq!(
            assembly.put(0, 20_001, &[0; 16_384]),
            Err(AssemblyError::OtherLength { theirs: 20_001, ours: 20_000 })
        );
        for len in [0, 3616, 16_383, 16_385] {
            let error = AssemblyError::PieceLength { piece: 0, len, expected: 16_384 };
            assert_eq!(assembly.put(0, 20_000, &vec![0; len]), Err(error));
        }
        assert_eq!(assembly.finish(), Err(AssemblyError::Incomplete(2)));
        assert!(InfoAssembly::new(InfoHash([7; 20]), 0).is_err());
        assert!(InfoAssembly::new(InfoHash([7; 20]), INFO_LEN_MAX + 1).is_err());
        assert_eq!(MetadataMessage::data_of(&Bytes::from_static(b"info"), 1), None);
        assert_eq!(MetadataMessage::data_of(&Bytes::from_static(b"info"), u32::MAX), None);
    }

    #[test]
    fn messages_are_those_of_other_clients() {
        let read = |payload: &'static [u8]| MetadataMessage::decode(&Bytes::from_static(payload));
        assert_eq!(&MetadataMessage::Request(3).encode()[..], b"d8:msg_typei0e5:piecei3ee");
        assert_eq!(read(b"d5:piecei3e8:msg_typei2e1:x1:ye"), Ok(Some(MetadataMessage::Reject(3))));
        let data = MetadataMessage::Data { piece: 0, info_len: 4, data: Bytes::from_static(b"info") };
        assert_eq!(&data.encode()[..], b"d8:msg_typei1e5:piecei0e10:total_sizei4eeinfo");
        assert_eq!(read(b"d8:msg_typei9e5:piecei0ee"), Ok(None));
        for broken in
            [&b"d8:msg_typei1e5:piecei0eeinfo"[..], b"d8:msg_typei0ee", b"d8:msg_typei0e5:piecei-1ee", b"le"]
        {
            assert!(read(broken).is_err(), "{broken:?}");
        }
        let long = format!("d8:msg_typei0e5:piecei0e1:x2000:{}e", "x".repeat(2000));
        assert!(MetadataMessage::decode(&Bytes::from(long)).is_err());
    }
}
