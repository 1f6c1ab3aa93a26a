//! The same calls with the same seed give the same answers, so that a simulated fleet can be run again.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen, Sha256Digest};
use pkgtorrent_tracker::{Announce, Bundler, Event, HomePackage, Settings, Tracker};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

fn package(number: u32) -> HomePackage {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    HomePackage { identity: Sha256Digest(bytes), piece_len: PieceLen::ALL[number as usize % 3], pieces: 2 }
}

/// Info hashes follow from the content, as in the service.
struct ByContent;

impl Bundler for ByContent {
    fn can_move(&mut self, _: &Sha256Digest, _: PieceLen) -> bool {
        true
    }

    fn form(&mut self, class: PieceLen, members: &[Sha256Digest]) -> InfoHash {
        InfoHash::of(format!("{class:?} {members:?}").as_bytes())
    }
}

/// A busy quarter of an hour, and everything that was answered.
fn history(tracker_seed: u64) -> Vec<String> {
    let settings = Settings { bundles_max: 12, home_idle: Duration::from_secs(60), ..Settings::default() };
    let mut tracker = Tracker::new(settings, tracker_seed);
    let mut random = Pcg64Mcg::new(11);
    let mut below = move |bound: u32| random.next_u32() % bound;
    let mut answers = Vec::new();
    let mut swarms: Vec<InfoHash> = Vec::new();
    for step in 0..6000_u64 {
        let now = Duration::from_millis(step * 150);
        let host = below(300);
        let ip = if host % 4 == 0 {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host as u16])
        } else {
            IpAddr::from([10, 0, (host / 250) as u8, (host % 250) as u8])
        };
        let (address, peer_id) = (SocketAddr::from((ip, 6881)), PeerId([host as u8; 20]));
        match below(10) {
            0 => {
                let first = below(40);
                let wanted: Vec<HomePackage> = (first..first + below(10)).map(package).collect();
                let shares = tracker.assign(&wanted, now, &mut ByContent);
                swarms = shares.iter().map(|share| share.info_hash).collect();
                answers.push(format!("{shares:?} {:?}", tracker.join(&swarms, peer_id, address, 50, now)));
            }
            1 => answers.push(format!("{:?} {:?}", tracker.expire(now), tracker.homes_generation())),
            2 => answers.push(format!("{:?} {:?}", tracker.stats(), tracker.busiest_swarms(5))),
            _ if swarms.is_empty() => {}
            kind => {
                let info_hash = swarms[below(swarms.len() as u32) as usize];
                let event = [None, None, Some(Event::Completed), Some(Event::Stopped)][kind as usize % 4];
                let complete = event == Some(Event::Completed);
                let announce = Announce { info_hash, peer_id, address, complete, event, wanted: 10 };
                answers.push(format!("{:?}", tracker.announce(&announce, now)));
            }
        }
    }
    answers
}

#[test]
fn the_same_seed_gives_the_same_answers_and_another_one_others() {
    let first = history(1);
    assert!(first.iter().any(|answer| answer.contains("10.0.")) && first.len() > 3000);
    assert!(first == history(1), "two runs of one history differ");
    assert!(first != history(2), "the seed does not matter");
}
