//! A tracker's answer that is accepted survives its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::announce::GetAnswer;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(answer) = GetAnswer::parse(bytes) {
        assert_eq!(GetAnswer::parse(&answer.encode()).as_ref(), Ok(&answer));
    }
});
