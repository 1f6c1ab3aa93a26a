//! Whatever the check lets through is one value, and every key of a dictionary is found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::bencode;

fuzz_target!(|bytes: &[u8]| {
    if bencode::check(bytes).is_ok() {
        assert!(bencode::check(&[bytes, b"e"].concat()).is_err(), "two values pass for one");
        assert!(
            bytes.is_empty() || bencode::check(&bytes[..bytes.len() - 1]).is_err(),
            "a part passes for the whole"
        );
        if let Some(value) = bencode::raw_value(bytes, b"info") {
            assert!(bencode::check(value).is_ok(), "a part of a canonical value is canonical");
        }
    } else {
        // Nobody should ask before the check; it must do no harm.
        let _ = bencode::raw_value(bytes, b"info");
    }
});
