//! Computing a package digest by whichever algorithm a repository uses.

use pkgtorrent_protocol::{Algorithm, PackageDigest};
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// A digest that is still being fed.
pub(crate) struct RunningDigest {
    algorithm: Algorithm,
    hash: Box<dyn DynDigest>,
}

impl RunningDigest {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let hash: Box<dyn DynDigest> = match algorithm {
            Algorithm::Sha1 => Box::new(Sha1::default()),
            Algorithm::Sha224 => Box::new(Sha224::default()),
            Algorithm::Sha256 => Box::new(Sha256::default()),
            Algorithm::Sha384 => Box::new(Sha384::default()),
            Algorithm::Sha512 => Box::new(Sha512::default()),
        };
        Self { algorithm, hash }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    pub(crate) fn finish(self) -> PackageDigest {
        let raw = self.hash.finalize();
        // Each algorithm's hash has exactly the length that the digest type asks for.
        PackageDigest::new(self.algorithm, &raw).expect("a hash has its algorithm's length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_computes_its_own_digest() {
        for (algorithm, start) in [
            (Algorithm::Sha1, "a9993e36"),
            (Algorithm::Sha224, "23097d22"),
            (Algorithm::Sha256, "ba7816bf"),
            (Algorithm::Sha384, "cb00753f"),
            (Algorithm::Sha512, "ddaf35a1"),
        ] {
            let mut digest = RunningDigest::new(algorithm);
            digest.update(b"a");
            digest.update(b"bc");
            let text = digest.finish().to_string();
            assert!(text.starts_with(&format!("{}:{start}", algorithm.name())), "{text}");
        }
    }
}
