//! The extension handshake (BEP 10): which extensions a peer speaks and under which ids, and what else it says of itself.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::bencode;
use crate::digest::abridged;
use crate::metainfo::INFO_LEN_MAX;

/// The id of the extension handshake itself.
pub const EXTENSION_HANDSHAKE_ID: u8 = 0;

/// The id that peers are asked to send metadata messages (BEP 9) under.
pub const OUR_METADATA_ID: u8 = 1;

/// The id that peers are asked to send changes of upload-only under.
pub const OUR_UPLOAD_ONLY_ID: u8 = 2;

/// The longest extension handshake that is read: many times what the client with the most extensions sends.
pub const EXTENSION_HANDSHAKE_LEN_MAX: usize = 16 << 10;

/// What a peer says of itself. Whatever it leaves out in a second handshake stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// The id under which it wants metadata messages; 0 when it wants no more of them.
    pub metadata_id: Option<u8>,
    /// The id under which it wants to hear that we have become upload-only, or no longer are.
    pub upload_only_id: Option<u8>,
    /// The length of the info dictionary, if it has that.
    pub metadata_size: Option<u32>,
    /// The port on which it listens.
    pub port: Option<u16>,
    /// How many requests it keeps waiting.
    pub requests_max: Option<u32>,
    /// Whether it will ask for nothing (BEP 21).
    pub upload_only: Option<bool>,
    /// Its name and version, printable and abridged.
    pub client: Option<String>,
    /// The address that it sees us at.
    pub your_ip: Option<IpAddr>,
}

/// A message of an extension cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// Longer than any such message is.
    #[error("a message of an extension has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// How many came.
        len: usize,
        /// How many may.
        max: usize,
    },
    /// Its dictionary is broken.
    #[error("a message of an extension: {0}")]
    Broken(#[from] bencode::NotCanonical),
    /// Its dictionary has values of another kind.
    #[error("a message of an extension: {0}")]
    NotUnderstood(String),
    /// An info dictionary of this length is none of a bundle.
    #[error("an info dictionary of {0} bytes, at most {INFO_LEN_MAX} are allowed")]
    MetadataSize(i64),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct HandshakeDict {
    m: Ids,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reqq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_only: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<ByteBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    yourip: Option<ByteBuf>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Ids {
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_only: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ut_metadata: Option<i64>,
}

impl ExtensionHandshake {
    /// The payload to send.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let dict = HandshakeDict {
            m: Ids {
                upload_only: self.upload_only_id.map(i64::from),
                ut_metadata: self.metadata_id.map(i64::from),
            },
            metadata_size: self.metadata_size.map(i64::from),
            p: self.port.map(i64::from),
            reqq: self.requests_max.map(i64::from),
            upload_only: self.upload_only.map(i64::from),
            v: self.client.as_deref().map(|client| ByteBuf::from(client.as_bytes())),
            yourip: self.your_ip.map(|ip| match ip {
                IpAddr::V4(ip) => ByteBuf::from(ip.octets()),
                IpAddr::V6(ip) => ByteBuf::from(ip.octets()),
            }),
        };
        // Integers and strings under fixed keys always encode; a dictionary of nothing says as little as can be said.
        Bytes::from(serde_bencode::to_bytes(&dict).unwrap_or_else(|_| b"de".to_vec()))
    }

    /// Reads a payload. What is unknown, or makes no sense and does no harm, is ignored: this is what every client says
    /// something else in.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        let (len, max) = (payload.len(), EXTENSION_HANDSHAKE_LEN_MAX);
        if len > max {
            return Err(ExtensionError::TooLong { len, max });
        }
        // Some clients send more behind the dictionary, others its keys in the order of their source.
        let dict = &payload[..bencode::value_len(payload)?];
        let dict: HandshakeDict =
            serde_bencode::from_bytes(dict).map_err(|e| ExtensionError::NotUnderstood(e.to_string()))?;
        let metadata_size = match dict.metadata_size {
            // Some clients say 0 for "not yet".
            None | Some(0) => None,
            Some(size) => Some(info_len(size)?),
        };
        Ok(Self {
            metadata_id: dict.m.ut_metadata.and_then(|id| id.try_into().ok()),
            upload_only_id: dict.m.upload_only.and_then(|id| id.try_into().ok()),
            metadata_size,
            port: dict.p.and_then(|port| port.try_into().ok()).filter(|port| *port > 0),
            requests_max: dict.reqq.and_then(|count| count.try_into().ok()),
            upload_only: dict.upload_only.map(|is| is != 0),
            client: dict.v.map(|name| printable(&name)),
            your_ip: dict.yourip.and_then(|ip| address(&ip)),
        })
    }
}

/// The length of an info dictionary, if a bundle's may have it.
pub(super) fn info_len(len: i64) -> Result<u32, ExtensionError> {
    let fits = (1..=INFO_LEN_MAX as i64).contains(&len);
    u32::try_from(len).ok().filter(|_| fits).ok_or(ExtensionError::MetadataSize(len))
}

/// What stands in a log must be neither long nor able to move its cursor.
fn printable(name: &[u8]) -> String {
    abridged(&String::from_utf8_lossy(name)).chars().filter(|c| !c.is_control()).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_survives_its_encoding(
            metadata_id in any::<Option<u8>>(), upload_only_id in any::<Option<u8>>(),
            metadata_size in proptest::option::of(1..=INFO_LEN_MAX as u32), port in proptest::option::of(1_u16..),
            requests_max in any::<Option<u32>>(), upload_only in any::<Option<bool>>(),
            client in proptest::option::of("[ -~ü]{0,60}"), your_ip in any::<Option<IpAddr>>(),
        ) {
            let said = ExtensionHandshake {
                metadata_id, upload_only_id, metadata_size, port, requests_max, upload_only, client, your_ip,
            };
            let payload = said.encode();
            prop_assert!(bencode::check(&payload).is_ok());
            prop_assert_eq!(ExtensionHandshake::decode(&payload), Ok(said));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ExtensionHandshake::decode(&bytes);
        }
    }

    #[test]
    fn what_other_clients_say_is_understood() {
        // Keys unsorted, unknown and of unknown kinds, an extension that is switched off, bytes behind the end.
        let said = ExtensionHandshake::decode(
            b"d1:v6:\xc2\xb5T\n421:md11:ut_metadatai3e6:ut_pexi0e11:upload_onlyi300ee4:reqqi500e13:metadata_sizei0e1:pi70000e4:ipv63:abc1:el1:aeegarbage",
        )
        .expect("is read");
        let expected = ExtensionHandshake {
            metadata_id: Some(3),
            requests_max: Some(500),
            client: Some("µT42".into()),
            ..ExtensionHandshake::default()
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let huge = format!("d13:metadata_sizei{}ee", INFO_LEN_MAX + 1);
        let long =
            format!("d1:v{}:{}e", EXTENSION_HANDSHAKE_LEN_MAX, "x".repeat(EXTENSION_HANDSHAKE_LEN_MAX));
        for (payload, why) in [
            (huge.as_str(), "an info dictionary of 33554433 bytes"),
            ("d13:metadata_sizei-1ee", "an info dictionary of -1 bytes"),
            (long.as_str(), "at most 16384 are allowed"),
            ("d1:m1:xe", "Invalid Type"),
            ("", "cut off"),
            ("d99999999999:xe", "longer than what is there"),
        ] {
            let said = ExtensionHandshake::decode(payload.as_bytes()).expect_err(why).to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
