//! The name of padding has one form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::metainfo::padding_len;

fuzz_target!(|text: &str| {
    if let Some(len) = padding_len(text) {
        assert!(len > 0);
        let (before, after) = text.split_once('_').expect("a separator");
        assert_eq!(before, len.to_string());
        assert_eq!(after, after.parse::<u32>().expect("a number").to_string());
    }
});
