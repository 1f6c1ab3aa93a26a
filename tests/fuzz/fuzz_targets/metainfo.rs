//! A `.torrent` that is accepted survives its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::metainfo::Metainfo;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((metainfo, bundle)) = Metainfo::parse(bytes) {
        let encoded = metainfo.encode().expect("what was parsed encodes");
        assert_eq!(Metainfo::parse(&encoded).expect("what was encoded parses"), (metainfo, bundle));
    }
});
