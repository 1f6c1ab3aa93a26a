//! Repository metadata that is accepted lists files below the repository, and survives its stored form.
#![no_main]
#![allow(dead_code)]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;

// These parsers are the service's own business, so they are compiled from its sources.
#[path = "../../../service/server/src/catalog"]
mod catalog {
    pub mod listing;
    pub mod primary;
    pub mod repomd;
}
#[path = "../../../service/server/src/digesting.rs"]
mod digesting;
#[path = "../../../service/server/src/fingerprint.rs"]
mod fingerprint;
#[path = "../../../service/server/src/root.rs"]
mod root;

use catalog::{listing, primary, repomd};

fuzz_target!(|bytes: &[u8]| {
    // Stored listings come from our own state, whose file may be damaged.
    let _ = listing::decode(bytes);
    let _ = repomd::parse(bytes);
    if let Ok(primary) = primary::parse(bytes, "primary.xml") {
        for package in &primary.listed {
            let path = Path::new(&*package.path);
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            assert!(package.size > 0);
        }
        let listed = listing::sorted(primary.listed);
        assert_eq!(listing::decode(&listing::encode(&listed)).as_deref(), Some(&*listed));
    }
});
