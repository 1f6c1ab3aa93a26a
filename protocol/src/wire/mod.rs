//! What two peers say to each other: handshake, messages, and the extensions that pkgtorrent speaks.
//!
//! BEP 3 with the fast extension (BEP 6), the extension protocol (BEP 10), metadata (BEP 9) and upload-only (BEP 21).
//! Neither DHT nor peer exchange: bundles are private.
//!
//! *Goals*: a message's length is judged when its first five bytes are here, before anything is kept of it; a message
//! that exists is within the bundle; a block's bytes are never copied.
//! *Non-goals*: what to answer, and when. Connections live in the agent, decisions in the swarm.

mod bitfield;
mod decoder;
mod extension;
mod handshake;
mod message;
mod metadata;

pub use bitfield::{Bitfield, BitfieldError};
pub use decoder::{Decoder, Limits, WireError};
pub use extension::{
    EXTENSION_HANDSHAKE_ID, EXTENSION_HANDSHAKE_LEN_MAX, ExtensionError, ExtensionHandshake, OUR_METADATA_ID,
    OUR_UPLOAD_ONLY_ID,
};
pub use handshake::{Features, HANDSHAKE_LEN, Handshake, HandshakeError};
pub use message::{BLOCK_LEN, BLOCK_LEN_MAX, Block, Message, PIECE_HEADER_LEN, piece_header};
pub use metadata::{AssemblyError, InfoAssembly, METADATA_PIECE_LEN, MetadataMessage, metadata_pieces};
