//! Messages after the handshake, and how they are written.

use bytes::{BufMut, Bytes, BytesMut};

/// How much is asked for at once. Every client gives this much; several refuse more.
pub const BLOCK_LEN: u32 = 16 << 10;

/// The longest block that a peer may ask for or send: what the clients that ask for more than [`BLOCK_LEN`] go up to.
pub const BLOCK_LEN_MAX: u32 = 128 << 10;

/// What stands before a block's bytes: length, id, piece and offset.
pub const PIECE_HEADER_LEN: usize = 13;

/// A part of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The piece.
    pub piece: u32,
    /// Where in it the block begins.
    pub begin: u32,
    /// How many bytes it has.
    pub len: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing, so that the connection is seen to live.
    KeepAlive,
    /// Requests will not be answered.
    Choke,
    /// Requests will be answered.
    Unchoke,
    /// The sender wants something that the receiver has.
    Interested,
    /// The sender wants nothing that the receiver has.
    NotInterested,
    /// The sender has got this piece.
    Have(u32),
    /// The pieces that the sender has, as [`super::Bitfield`] reads them.
    Bitfield(Bytes),
    /// The sender wants this block.
    Request(Block),
    /// A block's bytes.
    Piece {
        /// The piece.
        piece: u32,
        /// Where in it they begin.
        begin: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The sender does not want this block any more.
    Cancel(Block),
    /// BEP 6: the receiver might like to fetch this piece.
    Suggest(u32),
    /// BEP 6: the sender has every piece.
    HaveAll,
    /// BEP 6: the sender has no piece.
    HaveNone,
    /// BEP 6: this request will not be answered.
    Reject(Block),
    /// BEP 6: this piece may be asked for even while choked.
    AllowedFast(u32),
    /// BEP 10: a message of an extension, with the id that the receiver gave it; 0 is the extension handshake.
    Extended {
        /// Which extension.
        id: u8,
        /// What it says.
        payload: Bytes,
    },
    /// A message of an extension that is not spoken here, such as BEP 5's port. Its body is dropped.
    Unknown(u8),
}

/// The ids of the messages that have one.
pub(super) mod id {
    pub(crate) const CHOKE: u8 = 0;
    pub(crate) const UNCHOKE: u8 = 1;
    pub(crate) const INTERESTED: u8 = 2;
    pub(crate) const NOT_INTERESTED: u8 = 3;
    pub(crate) const HAVE: u8 = 4;
    pub(crate) const BITFIELD: u8 = 5;
    pub(crate) const REQUEST: u8 = 6;
    pub(crate) const PIECE: u8 = 7;
    pub(crate) const CANCEL: u8 = 8;
    pub(crate) const SUGGEST: u8 = 13;
    pub(crate) const HAVE_ALL: u8 = 14;
    pub(crate) const HAVE_NONE: u8 = 15;
    pub(crate) const REJECT: u8 = 16;
    pub(crate) const ALLOWED_FAST: u8 = 17;
    pub(crate) const EXTENDED: u8 = 20;
}

impl Message {
    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => bare(out, id::CHOKE),
            Self::Unchoke => bare(out, id::UNCHOKE),
            Self::Interested => bare(out, id::INTERESTED),
            Self::NotInterested => bare(out, id::NOT_INTERESTED),
            Self::Have(piece) => of_piece(out, id::HAVE, *piece),
            Self::Bitfield(bits) => {
                head(out, id::BITFIELD, bits.len());
                out.put_slice(bits);
            }
            Self::Request(block) => of_block(out, id::REQUEST, *block),
            Self::Piece { piece, begin, data } => {
                out.put_slice(&piece_header(*piece, *begin, data.len()));
                out.put_slice(data);
            }
            Self::Cancel(block) => of_block(out, id::CANCEL, *block),
            Self::Suggest(piece) => of_piece(out, id::SUGGEST, *piece),
            Self::HaveAll => bare(out, id::HAVE_ALL),
            Self::HaveNone => bare(out, id::HAVE_NONE),
            Self::Reject(block) => of_block(out, id::REJECT, *block),
            Self::AllowedFast(piece) => of_piece(out, id::ALLOWED_FAST, *piece),
            Self::Extended { id: extension, payload } => {
                head(out, id::EXTENDED, 1 + payload.len());
                out.put_u8(*extension);
                out.put_slice(payload);
            }
            Self::Unknown(id) => bare(out, *id),
        }
    }
}

/// What stands before a block's bytes, for who writes those from where they are.
#[must_use]
pub fn piece_header(piece: u32, begin: u32, len: usize) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [0; PIECE_HEADER_LEN];
    header[..4].copy_from_slice(&prefix(8 + len));
    header[4] = id::PIECE;
    header[5..9].copy_from_slice(&piece.to_be_bytes());
    header[9..].copy_from_slice(&begin.to_be_bytes());
    header
}

/// The length in front of a message whose body, the id apart, has this many bytes.
fn prefix(body_len: usize) -> [u8; 4] {
    // Bodies are blocks, bitfields and dictionaries, all of them far below four gigabytes.
    (1 + body_len as u32).to_be_bytes()
}

fn head(out: &mut BytesMut, id: u8, body_len: usize) {
    out.put_slice(&prefix(body_len));
    out.put_u8(id);
}

fn bare(out: &mut BytesMut, id: u8) {
    head(out, id, 0);
}

fn of_piece(out: &mut BytesMut, id: u8, piece: u32) {
    head(out, id, 4);
    out.put_u32(piece);
}

fn of_block(out: &mut BytesMut, id: u8, block: Block) {
    head(out, id, 12);
    out.put_u32(block.piece);
    out.put_u32(block.begin);
    out.put_u32(block.len);
}
