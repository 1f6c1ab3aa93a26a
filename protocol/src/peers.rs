//! Peers' addresses as bytes: six for one of IPv4, eighteen for one of IPv6 (BEP 7, BEP 23).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Bytes that are no list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// The length is no multiple of an address's.
    #[error("the last peer is cut off")]
    CutOff,
    /// The text is not base64.
    #[error("peers are not base64: {0}")]
    NotBase64(String),
}

/// The addresses of each family behind one another, IPv4 first.
pub(crate) fn pack(peers: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        let port = peer.port().to_be_bytes();
        match peer.ip() {
            IpAddr::V4(ip) => v4.extend_from_slice(&[&ip.octets()[..], &port].concat()),
            IpAddr::V6(ip) => v6.extend_from_slice(&[&ip.octets()[..], &port].concat()),
        }
    }
    (v4, v6)
}

/// Reads what [`pack`] wrote.
pub(crate) fn unpack(v4: &[u8], v6: &[u8]) -> Result<Vec<SocketAddr>, PeersError> {
    let (v4, odd4) = v4.as_chunks::<6>();
    let (v6, odd6) = v6.as_chunks::<18>();
    if !odd4.is_empty() || !odd6.is_empty() {
        return Err(PeersError::CutOff);
    }
    let v4 = v4.iter().map(|&[a, b, c, d, hi, lo]| {
        SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([hi, lo]))
    });
    let v6 = v6.iter().map(|bytes| {
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[..16]);
        SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([bytes[16], bytes[17]]))
    });
    Ok(v4.chain(v6).collect())
}

/// Peers in JSON as two texts of base64, one for each family: eight characters for an address of IPv4, which as a text
/// takes twenty. At ten thousand hosts the difference is a copy of a small set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(String, String)", try_from = "(String, String)")]
pub struct CompactPeers(pub Vec<SocketAddr>);

impl CompactPeers {
    /// Whether there is no peer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<CompactPeers> for (String, String) {
    fn from(peers: CompactPeers) -> Self {
        let (v4, v6) = pack(&peers.0);
        (BASE64_STANDARD_NO_PAD.encode(v4), BASE64_STANDARD_NO_PAD.encode(v6))
    }
}

impl TryFrom<(String, String)> for CompactPeers {
    type Error = PeersError;

    fn try_from((v4, v6): (String, String)) -> Result<Self, PeersError> {
        let decode = |text| {
            BASE64_STANDARD_NO_PAD.decode(text).map_err(|error| PeersError::NotBase64(error.to_string()))
        };
        unpack(&decode(v4)?, &decode(v6)?).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn peers_survive_their_json(
            v4 in proptest::collection::vec(any::<([u8; 4], u16)>(), 0..60),
            v6 in proptest::collection::vec(any::<([u8; 16], u16)>(), 0..9),
        ) {
            let v4 = v4.into_iter().map(|(ip, port)| SocketAddr::new(ip.into(), port));
            let v6 = v6.into_iter().map(|(ip, port)| SocketAddr::new(ip.into(), port));
            let peers = CompactPeers(v4.chain(v6).collect());
            let json = serde_json::to_vec(&peers).expect("encodes");
            prop_assert_eq!(serde_json::from_slice::<CompactPeers>(&json).expect("parses"), peers);
        }
    }

    #[test]
    fn an_address_is_eight_characters_and_half_of_one_is_none() {
        let peers = CompactPeers(vec!["10.0.0.1:6881".parse().expect("an address")]);
        assert_eq!(serde_json::to_string(&peers).expect("encodes"), r#"["CgAAARrh",""]"#);
        for text in [r#"["CgAAARr",""]"#, r#"["","CgAAARrh"]"#, r#"["!",""]"#, r#"[""]"#] {
            serde_json::from_str::<CompactPeers>(text).expect_err(text);
        }
    }
}
