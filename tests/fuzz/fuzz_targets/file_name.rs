//! A file name that is accepted cannot leave its directory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::FileName;
use std::path::{Component, Path};

fuzz_target!(|text: &str| {
    if let Ok(name) = FileName::new(text) {
        assert_eq!(name.as_str(), text);
        let components: Vec<_> = Path::new(text).components().collect();
        assert_eq!(components, [Component::Normal(text.as_ref())]);
        assert!(text.len() <= 255 && !text.contains(char::is_control));
    }
});
