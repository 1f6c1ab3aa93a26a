//! A digest that is accepted survives its text; what is not is refused without repeating all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::{PackageDigest, SetDigest, Sha256Digest};

fuzz_target!(|text: &str| {
    match text.parse::<PackageDigest>() {
        Ok(digest) => {
            assert_eq!(digest.to_string().parse::<PackageDigest>().as_ref(), Ok(&digest));
            assert_eq!(PackageDigest::new(digest.algorithm(), digest.as_bytes()), Some(digest));
        }
        Err(error) => assert!(error.to_string().len() < 2048, "{error}"),
    }
    if let Ok(digest) = text.parse::<Sha256Digest>() {
        assert_eq!(digest.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(digest) = text.parse::<SetDigest>() {
        assert_eq!(digest.to_string(), text.to_ascii_lowercase());
    }
});
