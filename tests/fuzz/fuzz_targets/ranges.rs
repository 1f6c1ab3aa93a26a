//! What a Range header asks for lies inside the file, and together is no more than the file.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../../service/server/src/http/range.rs"]
mod range;

fuzz_target!(|input: (&str, u64)| {
    // The kernel counts a file's bytes with a sign.
    let (value, len) = (input.0, input.1 >> 1);
    if let range::Ranges::Parts(parts) = range::parse(value, len) {
        assert!((1..=range::RANGES_MAX).contains(&parts.len()));
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
        let asked: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
        assert!(asked <= u128::from(len));
    }
});
