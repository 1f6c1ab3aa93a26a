//! An info dictionary that is accepted is the one encoding of its bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::metainfo::{BundleInfo, INFO_LEN_MAX};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = BundleInfo::parse(bytes) {
        assert_eq!(bundle.encode().expect("what was parsed encodes"), bytes);
        assert!(bytes.len() <= INFO_LEN_MAX);
        for package in bundle.packages() {
            let name = package.name.as_str();
            assert!(!name.contains(['/', '\\', '\0']) && !matches!(name, "" | "." | ".."), "{name:?}");
        }
    }
});
