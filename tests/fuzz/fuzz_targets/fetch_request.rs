//! A fetch request that is accepted says for each package one file where it is to be, and survives its encoding.
#![no_main]
#![allow(dead_code)]

use std::collections::HashMap;
use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::control::VERSION;
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;

// Reading it is the command's own business, so it is compiled from its source.
#[path = "../../../client/agent/src/command/fetch/request.rs"]
mod request;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = request::read(bytes) else { return };
    assert_eq!(request.version, VERSION);
    assert!(request.packages.len() <= SET_PACKAGES_MAX);
    let mut digests = HashMap::new();
    for package in &request.packages {
        let dest = Path::new(&package.dest);
        assert!(dest.is_absolute() && !package.dest.contains('\0'), "{dest:?}");
        assert!(matches!(dest.components().next_back(), Some(Component::Normal(_))), "{dest:?}");
        let digest = digests.entry(dest).or_insert(package.digest);
        assert_eq!(*digest, package.digest, "{dest:?} is to be two packages");
    }
    let encoded = serde_json::to_vec(&request).expect("what was read encodes");
    assert_eq!(request::read(&*encoded).expect("what was encoded reads"), request);
});
