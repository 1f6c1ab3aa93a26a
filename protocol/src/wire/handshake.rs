//! The first 68 bytes of a connection, the same in both directions.

use bytes::{Buf, BytesMut};

use crate::identity::{InfoHash, PeerId};

/// How long a handshake is.
pub const HANDSHAKE_LEN: usize = 68;

/// The protocol's name with its length in front.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Where the eight reserved bytes begin.
const RESERVED_AT: usize = PROTOCOL.len();
const INFO_HASH_AT: usize = RESERVED_AT + 8;
const PEER_ID_AT: usize = INFO_HASH_AT + 20;

/// BEP 10: a bit of the sixth reserved byte.
const EXTENDED: (usize, u8) = (5, 0x10);
/// BEP 6: a bit of the eighth.
const FAST: (usize, u8) = (7, 0x04);

/// What a peer can do beyond BEP 3. Other bits are ignored: bundles are private, so the DHT's means nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// The extension protocol (BEP 10).
    pub extended: bool,
    /// The fast extension (BEP 6).
    pub fast: bool,
}

impl Features {
    /// What pkgtorrent can do.
    pub const OURS: Self = Self { extended: true, fast: true };

    /// What both can do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { extended: self.extended && other.extended, fast: self.fast && other.fast }
    }
}

/// Who speaks, of which bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The bundle.
    pub info_hash: InfoHash,
    /// The speaker.
    pub peer_id: PeerId,
    /// What the speaker can do.
    pub features: Features,
}

/// The other end speaks something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak the BitTorrent protocol")]
pub struct HandshakeError;

impl Handshake {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[..RESERVED_AT].copy_from_slice(PROTOCOL);
        for (has, (byte, bit)) in [(self.features.extended, EXTENDED), (self.features.fast, FAST)] {
            if has {
                bytes[RESERVED_AT + byte] |= bit;
            }
        }
        bytes[INFO_HASH_AT..PEER_ID_AT].copy_from_slice(&self.info_hash.0);
        bytes[PEER_ID_AT..].copy_from_slice(&self.peer_id.0);
        bytes
    }

    /// Takes a handshake from the front of what has arrived; `None` while it is not whole. What cannot become one is
    /// refused at its first wrong byte.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, HandshakeError> {
        let there = buffer.len().min(PROTOCOL.len());
        if buffer[..there] != PROTOCOL[..there] {
            return Err(HandshakeError);
        }
        if buffer.len() < HANDSHAKE_LEN {
            return Ok(None);
        }
        buffer.advance(RESERVED_AT);
        let mut reserved = [0; INFO_HASH_AT - RESERVED_AT];
        buffer.copy_to_slice(&mut reserved);
        let has = |(byte, bit): (usize, u8)| reserved[byte] & bit != 0;
        let features = Features { extended: has(EXTENDED), fast: has(FAST) };
        let (mut info_hash, mut peer_id) = ([0; 20], [0; 20]);
        buffer.copy_to_slice(&mut info_hash);
        buffer.copy_to_slice(&mut peer_id);
        Ok(Some(Self { info_hash: InfoHash(info_hash), peer_id: PeerId(peer_id), features }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn its_bytes_are_those_that_every_client_sends() {
        let handshake = Handshake {
            info_hash: InfoHash(*b"aaaaabbbbbcccccddddd"),
            peer_id: PeerId(*b"-PK0001-0123456789ab"),
            features: Features::OURS,
        };
        let expected = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04aaaaabbbbbcccccddddd-PK0001-0123456789ab";
        assert_eq!(handshake.encode(), *expected);
    }

    #[test]
    fn bits_that_mean_nothing_here_are_ignored() {
        let mut bytes = *b"\x13BitTorrent protocol\xff\xff\xff\xff\xff\xef\xff\xfbaaaaabbbbbcccccddddd-PK0001-0123456789ab";
        let decoded = |bytes: &[u8]| Handshake::decode(&mut BytesMut::from(bytes)).expect("a handshake");
        assert_eq!(decoded(&bytes).expect("whole").features, Features::default());
        bytes[27] = 0xff;
        assert_eq!(decoded(&bytes).expect("whole").features, Features { extended: false, fast: true });
    }

    proptest! {
        #[test]
        fn it_survives_its_encoding_however_it_is_cut(
            info_hash in any::<[u8; 20]>(), peer_id in any::<[u8; 20]>(), extended in any::<bool>(),
            fast in any::<bool>(), cut in 0..HANDSHAKE_LEN, more in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let features = Features { extended, fast };
            let handshake = Handshake { info_hash: InfoHash(info_hash), peer_id: PeerId(peer_id), features };
            let bytes = handshake.encode();
            let mut buffer = BytesMut::from(&bytes[..cut]);
            prop_assert_eq!(Handshake::decode(&mut buffer), Ok(None));
            prop_assert_eq!(buffer.len(), cut, "nothing is taken of half a handshake");
            buffer.extend_from_slice(&bytes[cut..]);
            buffer.extend_from_slice(&more);
            prop_assert_eq!(Handshake::decode(&mut buffer), Ok(Some(handshake)));
            prop_assert_eq!(&buffer[..], &more[..]);
        }

        #[test]
        fn another_protocol_is_refused_at_its_first_wrong_byte(at in 0..PROTOCOL.len(), xor in 1_u8..) {
            let mut bytes = *PROTOCOL;
            bytes[at] ^= xor;
            prop_assert_eq!(Handshake::decode(&mut BytesMut::from(&bytes[..at])), Ok(None));
            prop_assert_eq!(Handshake::decode(&mut BytesMut::from(&bytes[..=at])), Err(HandshakeError));
        }
    }
}
