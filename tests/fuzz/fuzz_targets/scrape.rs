//! A scrape names at least one swarm and not more than it may; its answer is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::announce::{SCRAPE_SWARMS_MAX, ScrapedSwarm, encode_scrape, parse_scrape};
use pkgtorrent_protocol::bencode;

fuzz_target!(|query: &str| {
    if let Ok(swarms) = parse_scrape(query) {
        assert!((1..=SCRAPE_SWARMS_MAX).contains(&swarms.len()));
        let counted = |info_hash| ScrapedSwarm { info_hash, complete: 1, downloaded: 2, incomplete: 3 };
        let answer = encode_scrape(swarms.into_iter().map(counted).collect());
        assert_eq!(bencode::check(&answer), Ok(()));
    }
});
