//! The two 20-byte names of BitTorrent: a swarm's and a peer's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::hex;

/// The SHA-1 of a bundle's info dictionary: the name of its swarm. Written as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct InfoHash(pub [u8; 20]);

/// The name that one running peer gave itself.
///
/// Written as 40 hexadecimal digits; 20 printable ASCII characters, as most clients choose, are read too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PeerId(pub [u8; 20]);

/// A text is neither an info hash nor a peer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct IdentityError {
    what: &'static str,
    text: String,
}

impl InfoHash {
    /// The info hash of an encoded info dictionary.
    #[must_use]
    pub fn of(info: &[u8]) -> Self {
        Self(Sha1::digest(info).into())
    }
}

impl FromStr for InfoHash {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        read_hex(text).map(Self).ok_or_else(|| IdentityError {
            what: "info hash: expected 40 hexadecimal digits",
            text: crate::digest::abridged(text),
        })
    }
}

impl FromStr for PeerId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let printable = || {
            let bytes: [u8; 20] = text.as_bytes().try_into().ok()?;
            bytes.iter().all(u8::is_ascii_graphic).then_some(bytes)
        };
        read_hex(text).or_else(printable).map(Self).ok_or_else(|| IdentityError {
            what: "peer id: expected 40 hexadecimal digits or 20 printable characters",
            text: crate::digest::abridged(text),
        })
    }
}

fn read_hex(text: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    hex::read(text, &mut bytes).map(|()| bytes)
}

macro_rules! written_as_hex {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::write(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::write(&self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentityError;

            fn try_from(text: String) -> Result<Self, IdentityError> {
                text.parse()
            }
        }
    };
}

written_as_hex!(InfoHash);
written_as_hex!(PeerId);
