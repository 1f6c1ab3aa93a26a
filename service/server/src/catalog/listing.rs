//! What a repository lists, and its stored form, from which a restart need not parse metadata again.

use std::sync::Arc;

use pkgtorrent_protocol::{Algorithm, PackageDigest};

/// One package that a repository lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedPackage {
    /// Its digest, by whichever algorithm the repository uses.
    pub(crate) digest: PackageDigest,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its file, below the repository's directory.
    pub(crate) path: Box<str>,
}

/// Sorts a listing by digest, so that lookups can search it; of equal entries one stays.
pub(crate) fn sorted(mut listed: Vec<ListedPackage>) -> Arc<[ListedPackage]> {
    listed.sort_unstable_by(|a, b| (a.digest, &a.path).cmp(&(b.digest, &b.path)));
    listed.dedup();
    listed.into()
}

/// The stored form of a digest: the algorithm's place in [`Algorithm::ALL`], then the raw bytes.
pub(crate) fn digest_key(digest: &PackageDigest) -> Vec<u8> {
    let tag = Algorithm::ALL.iter().position(|a| *a == digest.algorithm()).unwrap_or_default();
    let mut key = vec![tag as u8];
    key.extend_from_slice(digest.as_bytes());
    key
}

/// Reads a stored digest from the front of `bytes`.
pub(crate) fn take_digest(bytes: &mut &[u8]) -> Option<PackageDigest> {
    let algorithm = *Algorithm::ALL.get(usize::from(*bytes.split_off_first()?))?;
    PackageDigest::new(algorithm, bytes.split_off(..algorithm.digest_len())?)
}

/// The stored form of a listing.
pub(crate) fn encode(listed: &[ListedPackage]) -> Vec<u8> {
    let mut out = Vec::with_capacity(listed.len() * 128);
    for package in listed {
        out.extend_from_slice(&digest_key(&package.digest));
        out.extend_from_slice(&package.size.to_le_bytes());
        out.extend_from_slice(&(package.path.len() as u32).to_le_bytes());
        out.extend_from_slice(package.path.as_bytes());
    }
    out
}

/// Reads a stored listing; `None` when it is not one.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Arc<[ListedPackage]>> {
    let mut listed = Vec::new();
    while !bytes.is_empty() {
        let digest = take_digest(&mut bytes)?;
        let size = u64::from_le_bytes(bytes.split_off(..8)?.try_into().ok()?);
        let len = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
        let path = std::str::from_utf8(bytes.split_off(..len as usize)?).ok()?.into();
        listed.push(ListedPackage { digest, size, path });
    }
    Some(listed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_survives_its_stored_form_and_damage_is_noticed() {
        let listed = sorted(
            Algorithm::ALL
                .into_iter()
                .map(|a| ListedPackage {
                    digest: PackageDigest::new(a, &vec![7; a.digest_len()]).expect("a digest"),
                    size: u64::MAX - 5,
                    path: format!("Packages/ü/{}.rpm", a.name()).into(),
                })
                .collect(),
        );
        let bytes = encode(&listed);
        assert_eq!(decode(&bytes).expect("decodes"), listed);
        for cut in 1..bytes.len() {
            assert_ne!(decode(&bytes[..cut]).as_deref(), Some(&*listed));
        }
        assert_eq!(decode(&[9, 9, 9]), None);
    }
}
