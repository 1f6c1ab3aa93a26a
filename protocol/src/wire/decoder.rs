//! Messages out of a stream of bytes.

use bytes::{Buf, BytesMut};

use super::message::{BLOCK_LEN_MAX, Block, Message, id};
use super::metadata::METADATA_PIECE_LEN;
use crate::layout::{BUNDLE_PIECES_MAX, BundleLayout, PieceLen};

/// The longest message of an extension: a piece of metadata with a dictionary in front. The extension handshake, at most
/// [`super::EXTENSION_HANDSHAKE_LEN_MAX`], is no longer.
const EXTENDED_LEN_MAX: u32 = METADATA_PIECE_LEN + (1 << 10);

/// The longest message that is dropped unread. Those that clients send without having been asked to have a few bytes.
const UNKNOWN_LEN_MAX: u32 = 1 << 10;

/// Length and id.
const HEAD_LEN: usize = 5;

/// How large a bundle's messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pieces: u32,
    piece_len: u32,
}

impl Limits {
    /// While it is not known which bundle it is: what any bundle may have.
    pub const UNKNOWN: Self = Self { pieces: BUNDLE_PIECES_MAX, piece_len: PieceLen::BYTES_MAX };

    /// What this bundle has.
    #[must_use]
    pub fn of(layout: &BundleLayout) -> Self {
        Self { pieces: layout.pieces(), piece_len: layout.piece_len().bytes() }
    }

    /// The least and the most bytes that a message's body may have.
    fn body_len(self, id: u8) -> (u32, u32) {
        let exactly = |len| (len, len);
        match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED | id::HAVE_ALL | id::HAVE_NONE => {
                exactly(0)
            }
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => exactly(4),
            id::REQUEST | id::CANCEL | id::REJECT => exactly(12),
            id::BITFIELD => (1, self.pieces.div_ceil(8)),
            id::PIECE => (8 + 1, 8 + BLOCK_LEN_MAX.min(self.piece_len)),
            id::EXTENDED => (1, 1 + EXTENDED_LEN_MAX),
            _ => (0, UNKNOWN_LEN_MAX),
        }
    }

    fn check_piece(self, id: u8, piece: u32) -> Result<u32, WireError> {
        let is_there = piece < self.pieces;
        is_there.then_some(piece).ok_or(WireError::NoSuchPiece {
            message: name(id),
            piece,
            pieces: self.pieces,
        })
    }

    fn check_block(self, id: u8, block: Block) -> Result<Block, WireError> {
        self.check_piece(id, block.piece)?;
        let end = u64::from(block.begin) + u64::from(block.len);
        let fits = (1..=BLOCK_LEN_MAX).contains(&block.len) && end <= u64::from(self.piece_len);
        fits.then_some(block).ok_or(WireError::NoSuchBlock { message: name(id), block })
    }
}

/// A peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A message cannot have this length.
    #[error("a message ({message}) of {len} bytes: expected {min} to {max}")]
    WrongLength {
        /// Which message.
        message: &'static str,
        /// The length of its body.
        len: u32,
        /// The least that it may be.
        min: u32,
        /// The most that it may be.
        max: u32,
    },
    /// The bundle has no such piece.
    #[error("a message ({message}) of piece {piece}, of which there are {pieces}")]
    NoSuchPiece {
        /// Which message.
        message: &'static str,
        /// The piece.
        piece: u32,
        /// How many there are.
        pieces: u32,
    },
    /// No piece has such a block, or it is too long.
    #[error("a message ({message}) of {} bytes at {} in piece {}", block.len, block.begin, block.piece)]
    NoSuchBlock {
        /// Which message.
        message: &'static str,
        /// The block.
        block: Block,
    },
}

/// What a message is called in an error.
fn name(id: u8) -> &'static str {
    match id {
        id::CHOKE => "choke",
        id::UNCHOKE => "unchoke",
        id::INTERESTED => "interested",
        id::NOT_INTERESTED => "not interested",
        id::HAVE => "have",
        id::BITFIELD => "bitfield",
        id::REQUEST => "request",
        id::PIECE => "piece",
        id::CANCEL => "cancel",
        id::SUGGEST => "suggest",
        id::HAVE_ALL => "have all",
        id::HAVE_NONE => "have none",
        id::REJECT => "reject",
        id::ALLOWED_FAST => "allowed fast",
        id::EXTENDED => "extended",
        _ => "of an unknown kind",
    }
}

/// Reads one connection's messages.
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
}

impl Decoder {
    /// A decoder for messages within these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Other limits from here on, when the bundle has become known.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes the next message from the front of what has arrived; `None` while it is not whole. A block's bytes stay
    /// where they are and are shared. After an error the stream cannot be read on.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Message>, WireError> {
        let Some(prefix) = buffer.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        if len == 0 {
            buffer.advance(4);
            return Ok(Some(Message::KeepAlive));
        }
        let Some(&id) = buffer.get(4) else { return Ok(None) };
        let (body_len, (min, max)) = (len - 1, self.limits.body_len(id));
        if !(min..=max).contains(&body_len) {
            return Err(WireError::WrongLength { message: name(id), len: body_len, min, max });
        }
        let message_len = HEAD_LEN + body_len as usize;
        if buffer.len() < message_len {
            // One allocation for the rest, at most as much as was just allowed.
            buffer.reserve(message_len - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEAD_LEN);
        let body = buffer.split_to(body_len as usize);
        self.message(id, body).map(Some)
    }

    /// The message with this id and body, whose length is right.
    fn message(&self, id: u8, mut body: BytesMut) -> Result<Message, WireError> {
        let limits = self.limits;
        Ok(match id {
            id::CHOKE => Message::Choke,
            id::UNCHOKE => Message::Unchoke,
            id::INTERESTED => Message::Interested,
            id::NOT_INTERESTED => Message::NotInterested,
            id::HAVE => Message::Have(limits.check_piece(id, body.get_u32())?),
            id::BITFIELD => Message::Bitfield(body.freeze()),
            id::REQUEST => Message::Request(limits.check_block(id, block(&mut body))?),
            id::PIECE => {
                let (piece, begin) = (body.get_u32(), body.get_u32());
                // Within the longest block, which is far below four gigabytes.
                limits.check_block(id, Block { piece, begin, len: body.len() as u32 })?;
                Message::Piece { piece, begin, data: body.freeze() }
            }
            id::CANCEL => Message::Cancel(limits.check_block(id, block(&mut body))?),
            id::SUGGEST => Message::Suggest(limits.check_piece(id, body.get_u32())?),
            id::HAVE_ALL => Message::HaveAll,
            id::HAVE_NONE => Message::HaveNone,
            id::REJECT => Message::Reject(limits.check_block(id, block(&mut body))?),
            id::ALLOWED_FAST => Message::AllowedFast(limits.check_piece(id, body.get_u32())?),
            id::EXTENDED => Message::Extended { id: body.get_u8(), payload: body.freeze() },
            _ => Message::Unknown(id),
        })
    }
}

fn block(body: &mut BytesMut) -> Block {
    Block { piece: body.get_u32(), begin: body.get_u32(), len: body.get_u32() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn blocks() -> impl Strategy<Value = Block> {
        (0..BUNDLE_PIECES_MAX, 1..=BLOCK_LEN_MAX).prop_flat_map(|(piece, len)| {
            (0..=PieceLen::BYTES_MAX - len).prop_map(move |begin| Block { piece, begin, len })
        })
    }

    fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 1..max).prop_map(Bytes::from)
    }

    fn messages() -> impl Strategy<Value = Message> {
        let piece = || 0..BUNDLE_PIECES_MAX;
        prop_oneof![
            Just(Message::KeepAlive),
            Just(Message::Choke),
            Just(Message::Unchoke),
            Just(Message::Interested),
            Just(Message::NotInterested),
            piece().prop_map(Message::Have),
            bytes(60).prop_map(Message::Bitfield),
            blocks().prop_map(Message::Request),
            (blocks(), bytes(60)).prop_map(|(block, data)| Message::Piece {
                piece: block.piece,
                begin: block.begin.min(PieceLen::BYTES_MAX - 60),
                data
            }),
            blocks().prop_map(Message::Cancel),
            piece().prop_map(Message::Suggest),
            Just(Message::HaveAll),
            Just(Message::HaveNone),
            blocks().prop_map(Message::Reject),
            piece().prop_map(Message::AllowedFast),
            (any::<u8>(), bytes(60)).prop_map(|(id, payload)| Message::Extended { id, payload }),
            prop_oneof![9..13_u8, 18..20_u8, 21..=255_u8].prop_map(Message::Unknown),
        ]
    }

    /// Everything that comes out of these bytes, given so many at a time.
    fn decoded(bytes: &[u8], chunk_len: usize, limits: Limits) -> Result<Vec<Message>, WireError> {
        let decoder = Decoder::new(limits);
        let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
        for chunk in bytes.chunks(chunk_len) {
            buffer.extend_from_slice(chunk);
            while let Some(message) = decoder.decode(&mut buffer)? {
                messages.push(message);
            }
        }
        assert!(buffer.is_empty(), "all of it was messages");
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_survive_their_encoding_however_it_is_cut(sent in proptest::collection::vec(messages(), 0..20), chunk_len in 1_usize..90) {
            let mut bytes = BytesMut::new();
            for message in &sent {
                message.encode(&mut bytes);
            }
            prop_assert_eq!(decoded(&bytes, chunk_len, Limits::UNKNOWN), Ok(sent));
        }

        #[test]
        fn no_length_is_waited_for_that_its_message_cannot_have(id in any::<u8>(), len in prop_oneof![1_u32..40, 1_u32.., Just(u32::MAX)]) {
            let (min, max) = Limits::UNKNOWN.body_len(id);
            let mut buffer = BytesMut::from(&[&len.to_be_bytes()[..], &[id]].concat()[..]);
            let result = Decoder::new(Limits::UNKNOWN).decode(&mut buffer);
            prop_assert_eq!(result.is_ok(), (min..=max).contains(&(len - 1)));
            prop_assert!(buffer.capacity() <= 2 * (HEAD_LEN + max as usize) + 64, "{}", buffer.capacity());
        }
    }

    fn layout() -> BundleLayout {
        BundleLayout::new(PieceLen::Small, [9 * 32_768]).expect("a layout")
    }

    fn refusal(message: &Message) -> Option<String> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        decoded(&bytes, 1 << 20, Limits::of(&layout())).err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_outside_the_bundle_is_refused() {
        let block = |piece, begin, len| Block { piece, begin, len };
        let data = |len| Bytes::from(vec![0; len]);
        for inside in [
            Message::Have(8),
            Message::Bitfield(data(2)),
            Message::Request(block(8, 16_384, 16_384)),
            Message::Request(block(8, 0, 32_768)),
            Message::Piece { piece: 8, begin: 32_767, data: data(1) },
        ] {
            assert_eq!(refusal(&inside), None, "{inside:?}");
        }
        for (outside, why) in [
            (Message::Have(9), "have) of piece 9, of which there are 9"),
            (Message::Suggest(u32::MAX), "suggest) of piece 4294967295"),
            (Message::AllowedFast(9), "allowed fast) of piece 9"),
            (Message::Bitfield(data(3)), "bitfield) of 3 bytes: expected 1 to 2"),
            (Message::Bitfield(data(0)), "bitfield) of 0 bytes"),
            (Message::Request(block(9, 0, 1)), "request) of piece 9"),
            (Message::Request(block(0, 0, 0)), "request) of 0 bytes at 0 in piece 0"),
            (Message::Request(block(0, 32_768, 1)), "request) of 1 bytes at 32768"),
            (Message::Request(block(0, u32::MAX, 16_384)), "request) of 16384 bytes at 4294967295"),
            (Message::Request(block(0, 0, 131_073)), "request) of 131073 bytes"),
            (Message::Cancel(block(0, 1, 32_768)), "cancel) of 32768 bytes at 1"),
            (Message::Reject(block(9, 0, 1)), "reject) of piece 9"),
            (Message::Piece { piece: 0, begin: 32_768, data: data(1) }, "piece) of 1 bytes at 32768"),
            (Message::Piece { piece: 0, begin: 0, data: data(0) }, "piece) of 8 bytes"),
            (
                Message::Piece { piece: 0, begin: 0, data: data(32_769) },
                "piece) of 32777 bytes: expected 9 to 32776",
            ),
            (Message::Extended { id: 1, payload: data(17_409) }, "extended) of 17410 bytes"),
        ] {
            let said = refusal(&outside).unwrap_or_default();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_block_s_bytes_are_shared_not_copied() {
        let mut buffer = BytesMut::new();
        Message::Piece { piece: 1, begin: 0, data: Bytes::from_static(b"block") }.encode(&mut buffer);
        let at = buffer[13..].as_ptr();
        let message = Decoder::new(Limits::UNKNOWN).decode(&mut buffer);
        let Ok(Some(Message::Piece { data, .. })) = message else { panic!("{message:?}") };
        assert_eq!(data.as_ptr(), at);
    }

    #[test]
    fn bytes_are_those_that_every_client_sends() {
        let block = Block { piece: 1, begin: 0x4000, len: 0x4000 };
        for (message, bytes) in [
            (Message::KeepAlive, &b"\0\0\0\0"[..]),
            (Message::Unchoke, b"\0\0\0\x01\x01"),
            (Message::Have(5), b"\0\0\0\x05\x04\0\0\0\x05"),
            (Message::Request(block), b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0"),
            (
                Message::Piece { piece: 1, begin: 2, data: Bytes::from_static(b"ab") },
                b"\0\0\0\x0b\x07\0\0\0\x01\0\0\0\x02ab",
            ),
            (Message::HaveAll, b"\0\0\0\x01\x0e"),
            (Message::Reject(block), b"\0\0\0\x0d\x10\0\0\0\x01\0\0\x40\0\0\0\x40\0"),
            (Message::Extended { id: 0, payload: Bytes::from_static(b"de") }, b"\0\0\0\x04\x14\0de"),
        ] {
            let mut out = BytesMut::new();
            message.encode(&mut out);
            assert_eq!(&out[..], bytes, "{message:?}");
        }
        let port = decoded(b"\0\0\0\x03\x09\x1a\xe1\0\0\0\0", 3, Limits::UNKNOWN);
        assert_eq!(port, Ok(vec![Message::Unknown(9), Message::KeepAlive]));
    }
}
