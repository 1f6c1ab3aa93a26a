//! Every message that is accepted survives its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::PackageSet;
use pkgtorrent_protocol::announce::{BatchAnnounce, BatchAnswer};
use pkgtorrent_protocol::control::{FetchEvent, FetchRequest};
use pkgtorrent_protocol::plan::{Plan, SetRequest};
use pkgtorrent_protocol::socket::{Answer, Request};
use serde::{Serialize, de::DeserializeOwned};

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(bytes).ok()?;
    let encoded = serde_json::to_vec(&message).expect("what was parsed encodes");
    assert_eq!(serde_json::from_slice::<T>(&encoded).expect("what was encoded parses"), message);
    Some(message)
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(question) = survives::<SetRequest>(bytes) {
        if let Ok(set) = PackageSet::new(question.packages.clone()) {
            let again = PackageSet::new(question.packages.into_iter().rev().collect()).expect("the same set");
            assert_eq!(set.digest(), again.digest());
        }
    }
    survives::<Plan>(bytes);
    survives::<BatchAnnounce>(bytes);
    survives::<BatchAnswer>(bytes);
    survives::<FetchRequest>(bytes);
    survives::<FetchEvent>(bytes);
    survives::<Request>(bytes);
    survives::<Answer>(bytes);
});
