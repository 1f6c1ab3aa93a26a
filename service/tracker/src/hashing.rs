//! Hashers whose results do not differ from run to run, chosen by who picks the keys.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

/// A map by info hash or package identity: digests of what the service itself has catalogued, so their own first bytes
/// spread them well and nobody can aim at a bucket.
pub(crate) type DigestMap<K, V> = HashMap<K, V, BuildHasherDefault<DigestHasher>>;

/// A map by address. Addresses are chosen by whoever connects, so this one is keyed.
pub(crate) type AddressMap<K, V> = HashMap<K, V, AddressHash>;

/// Takes the first eight bytes of a digest as its hash.
#[derive(Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // An array hashes its length first, which is the same for all keys of a map.
    fn write_usize(&mut self, _len: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// SipHash that has read a secret before the address: without it nobody can compute which addresses collide.
#[derive(Clone)]
pub(crate) struct AddressHash(DefaultHasher);

impl AddressHash {
    pub(crate) fn new(secret: u64) -> Self {
        let mut primed = DefaultHasher::new();
        primed.write_u64(secret);
        Self(primed)
    }
}

impl BuildHasher for AddressHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::InfoHash;

    #[test]
    fn digests_spread_by_their_first_bytes_and_addresses_by_the_secret() {
        let digest_hash = BuildHasherDefault::<DigestHasher>::default();
        assert_eq!(digest_hash.hash_one(InfoHash([7; 20])), u64::from_le_bytes([7; 8]));
        assert_ne!(digest_hash.hash_one(InfoHash([7; 20])), digest_hash.hash_one(InfoHash([8; 20])));
        let address: std::net::SocketAddr = "10.0.0.1:6881".parse().expect("an address");
        assert_eq!(AddressHash::new(1).hash_one(address), AddressHash::new(1).hash_one(address));
        assert_ne!(AddressHash::new(1).hash_one(address), AddressHash::new(2).hash_one(address));
    }
}
