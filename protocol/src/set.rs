//! A set: the packages that one transaction wants, and the digest by which hosts name it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::{DigestError, PackageDigest, Sha256Digest};

/// The most packages that a set may have. A whole distribution's binary packages for one architecture are about
/// 60,000; a transaction that wants more than half of them is no burst of installs.
pub const SET_PACKAGES_MAX: usize = 32_768;

/// SHA-256 over a set's lines `algorithm:hex\n`, sorted bytewise and unique.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SetDigest(pub Sha256Digest);

impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SetDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

impl From<SetDigest> for String {
    fn from(digest: SetDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for SetDigest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

/// Why a list of digests is no set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A set wants something.
    #[error("the set is empty")]
    Empty,
    /// More packages than [`SET_PACKAGES_MAX`].
    #[error("the set has {0} packages, at most {SET_PACKAGES_MAX} are allowed")]
    TooLarge(usize),
}

/// The packages of one set, sorted and unique, so that equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSet {
    packages: Vec<PackageDigest>,
}

impl PackageSet {
    /// Sorts `packages` and drops what is there twice.
    pub fn new(mut packages: Vec<PackageDigest>) -> Result<Self, SetError> {
        packages.sort_unstable();
        packages.dedup();
        match packages.len() {
            0 => Err(SetError::Empty),
            1..=SET_PACKAGES_MAX => Ok(Self { packages }),
            n => Err(SetError::TooLarge(n)),
        }
    }

    /// The packages in order. A plan names a package by its place in this list.
    #[must_use]
    pub fn packages(&self) -> &[PackageDigest] {
        &self.packages
    }

    /// The name under which hosts ask for this set.
    #[must_use]
    pub fn digest(&self) -> SetDigest {
        let mut hash = Sha256::new();
        for package in &self.packages {
            hash.update(package.to_string().as_bytes());
            hash.update(b"\n");
        }
        SetDigest(Sha256Digest(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(texts: &[&str]) -> Vec<PackageDigest> {
        texts.iter().map(|text| text.parse().expect("a digest")).collect()
    }

    /// The vector can be had without this crate:
    /// `printf 'sha1:%s\nsha256:%s\nsha256:%s\n' $(printf 'c%.0s' {1..40}) $(printf '0%.0s' {1..64})
    /// $(printf 'a%.0s' {1..64}) | sha256sum`
    #[test]
    fn the_set_digest_is_that_of_its_sorted_unique_lines() {
        let a = format!("sha256:{}", "a".repeat(64));
        let zero = format!("sha256:{}", "0".repeat(64));
        let c = format!("sha:{}", "C".repeat(40));
        let set = PackageSet::new(digests(&[&a, &c, &zero, &a])).expect("a set");
        assert_eq!(set.packages().len(), 3);
        assert_eq!(set.digest().to_string(), VECTOR);
    }

    const VECTOR: &str = "3fdac4b3f091ebbae07c9b43aa24dd73aee787ebef3bc4e6ff341a6ff8e4a698";

    #[test]
    fn an_empty_set_and_a_huge_one_are_refused() {
        assert_eq!(PackageSet::new(Vec::new()), Err(SetError::Empty));
        let many = (0..=SET_PACKAGES_MAX)
            .map(|i| {
                let mut raw = [0; 32];
                raw[..8].copy_from_slice(&i.to_be_bytes());
                PackageDigest::from(Sha256Digest(raw))
            })
            .collect();
        assert_eq!(PackageSet::new(many), Err(SetError::TooLarge(SET_PACKAGES_MAX + 1)));
    }
}
