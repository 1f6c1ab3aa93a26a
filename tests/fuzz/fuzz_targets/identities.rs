//! An info hash or peer id that is accepted survives its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::{InfoHash, PeerId};

fuzz_target!(|text: &str| {
    if let Ok(hash) = text.parse::<InfoHash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(id) = text.parse::<PeerId>() {
        assert_eq!(id.to_string().parse::<PeerId>().as_ref(), Ok(&id));
    }
});
