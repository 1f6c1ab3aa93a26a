//! Package digests: the names by which packages are known.
//!
//! SHA-256 over the whole file is a package's identity. Repositories may list packages by another algorithm; such a
//! digest is an alias, and the service learns the identity behind it when it first reads the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex;

/// A digest algorithm that repository metadata may use. The order is that of the names, bytewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-1; createrepo's old name for it, `sha`, is read and never written.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256, the identity.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in order.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The length of this algorithm's digest in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The name as digests are written with it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(name: &str) -> Result<Self, DigestError> {
        match name {
            "sha" => Ok(Self::Sha1),
            _ => Self::ALL
                .into_iter()
                .find(|algorithm| algorithm.name() == name)
                .ok_or_else(|| DigestError::UnknownAlgorithm(abridged(name))),
        }
    }
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("digest {0:?} has no algorithm: expected `sha256:<hex>`")]
    NoAlgorithm(String),
    /// The algorithm is none that repositories use.
    #[error("unknown digest algorithm {0:?}: expected sha1, sha224, sha256, sha384 or sha512")]
    UnknownAlgorithm(String),
    /// What follows the algorithm is not its digest in hexadecimal.
    #[error("{text:?} is no {algorithm} digest: expected {expected} hexadecimal digits")]
    BadHex {
        /// The algorithm that was named.
        algorithm: &'static str,
        /// How many digits its digest has.
        expected: usize,
        /// What stood there, abridged.
        text: String,
    },
}

/// The longest piece of foreign text that an error message repeats: enough to recognise it, too little to flood a log.
const QUOTED_CHARS_MAX: usize = 80;

pub(crate) fn abridged(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// A package's digest by any algorithm that metadata may use, written `sha256:<hex>`.
///
/// The order is that of the written form, bytewise, which is what the set digest needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PackageDigest {
    algorithm: Algorithm,
    // Zero beyond the algorithm's length, so that derived equality and order are right.
    bytes: [u8; 64],
}

impl PackageDigest {
    /// A digest from its raw bytes; `None` when their number does not fit the algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.digest_len() {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// A digest from its algorithm's name and hexadecimal digits, as repository metadata has them apart.
    pub fn from_parts(algorithm: &str, digits: &str) -> Result<Self, DigestError> {
        let algorithm: Algorithm = algorithm.parse()?;
        let mut bytes = [0; 64];
        hex::read(digits, &mut bytes[..algorithm.digest_len()]).ok_or_else(|| DigestError::BadHex {
            algorithm: algorithm.name(),
            expected: algorithm.digest_len() * 2,
            text: abridged(digits),
        })?;
        Ok(Self { algorithm, bytes })
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// The identity, when this digest is one and not an alias.
    #[must_use]
    pub fn identity(&self) -> Option<Sha256Digest> {
        match self.algorithm {
            Algorithm::Sha256 => self.as_bytes().try_into().ok().map(Sha256Digest),
            _ => None,
        }
    }
}

impl fmt::Display for PackageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        hex::write(self.as_bytes(), f)
    }
}

impl fmt::Debug for PackageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PackageDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, digits) =
            text.split_once(':').ok_or_else(|| DigestError::NoAlgorithm(abridged(text)))?;
        Self::from_parts(algorithm, digits)
    }
}

impl From<PackageDigest> for String {
    fn from(digest: PackageDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for PackageDigest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Sha256Digest> for PackageDigest {
    fn from(identity: Sha256Digest) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&identity.0);
        Self { algorithm: Algorithm::Sha256, bytes }
    }
}

/// A package's identity: SHA-256 over the whole file. Written as bare hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256Digest(pub [u8; 32]);

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        hex::read(text, &mut bytes).ok_or_else(|| DigestError::BadHex {
            algorithm: "sha256",
            expected: 64,
            text: abridged(text),
        })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_digests_is_the_order_of_their_texts() {
        let mut digests: Vec<PackageDigest> = Algorithm::ALL
            .iter()
            .flat_map(|a| [0x00, 0x0f, 0xa0, 0xff].map(|b| PackageDigest::new(*a, &vec![b; a.digest_len()])))
            .flatten()
            .collect();
        assert_eq!(digests.len(), 20);
        digests.reverse();
        let mut texts: Vec<String> = digests.iter().map(ToString::to_string).collect();
        digests.sort();
        texts.sort();
        assert_eq!(digests.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn sha_is_read_as_sha1_and_case_is_folded() {
        let digest: PackageDigest = format!("sha:{}", "AB".repeat(20)).parse().expect("a digest");
        assert_eq!(digest.to_string(), format!("sha1:{}", "ab".repeat(20)));
    }

    #[test]
    fn what_is_no_digest_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<PackageDigest>().expect_err(text).to_string();
        assert!(refused("d41d8cd98f00b204e9800998ecf8427e").contains("no algorithm"));
        assert!(refused("md5:d41d8cd98f00b204e9800998ecf8427e").contains("unknown digest algorithm"));
        assert!(refused("sha256:abc").contains("64 hexadecimal digits"));
        assert!(refused(&format!("sha1:{}", "g".repeat(40))).contains("40 hexadecimal digits"));
        assert!(refused(&format!("sha1:{}", "é".repeat(20))).contains("40 hexadecimal digits"));
    }
}
