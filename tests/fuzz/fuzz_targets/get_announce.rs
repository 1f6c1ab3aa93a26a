//! An announce that is accepted survives its query string.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::announce::GetAnnounce;

fuzz_target!(|query: &str| {
    if let Ok(announce) = GetAnnounce::parse(query) {
        assert_eq!(GetAnnounce::parse(&announce.to_query()).as_ref(), Ok(&announce));
    }
});
