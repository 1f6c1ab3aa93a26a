//! How many announces a second one core answers with 50 peers each: `cargo run --release --example announce_rate`.
//!
//! Peers of a full swarm announce again in random order, as they do in life; half of them are complete.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_tracker::{Announce, FloodLimit, Settings, Tracker};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

const INFO_HASH: InfoHash = InfoHash([0x5a; 20]);
const ANNOUNCES_PER_RUN: u32 = 500_000;
const RUNS: usize = 7;

fn main() {
    println!("announces a second, 50 peers an answer, one core, median of {RUNS} runs (least..most)");
    for swarm_len in [1_000, 10_000] {
        for (name, v6_in_ten) in [("IPv4", 0), ("mixed", 5), ("IPv6", 10)] {
            let mut rates: Vec<f64> = (0..RUNS).map(|run| announce_rate(swarm_len, v6_in_ten, run)).collect();
            rates.sort_by(f64::total_cmp);
            let (least, median, most) = (rates[0], rates[RUNS / 2], rates[RUNS - 1]);
            println!("swarm of {swarm_len:>6}, {name:<5}: {median:>9.0} ({least:.0}..{most:.0})");
        }
    }
    println!();
    println!("one call of expire() in milliseconds, 100,000 peers in 20 swarms");
    expire_times();
}

/// The buckets are there and never empty, so that their cost is counted.
fn settings() -> Settings {
    let flood = FloodLimit { burst: u32::MAX, refill_per_second: 1_000_000, addresses_max: 1 << 20 };
    Settings { flood: Some(flood), ..Settings::default() }
}

fn peer(number: u32, v6_in_ten: u32, info_hash: InfoHash) -> Announce {
    let address = if number % 10 < v6_in_ten {
        let ip = Ipv6Addr::from_bits((0xfd00_u128 << 112) + u128::from(number));
        SocketAddr::from((ip, 6881))
    } else {
        SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + number), 6881))
    };
    let mut peer_id = [0; 20];
    peer_id[..4].copy_from_slice(&number.to_be_bytes());
    let complete = number.is_multiple_of(2);
    Announce { info_hash, peer_id: PeerId(peer_id), address, complete, event: None, wanted: 50 }
}

fn announce_rate(swarm_len: u32, v6_in_ten: u32, run: usize) -> f64 {
    let mut tracker = Tracker::new(settings(), run as u64);
    tracker.register(INFO_HASH, Duration::ZERO);
    // Seeds are handed incomplete peers only, so every answer is full.
    let peers: Vec<Announce> = (0..swarm_len).map(|number| peer(number, v6_in_ten, INFO_HASH)).collect();
    for announce in &peers {
        tracker.announce(announce, Duration::ZERO).expect("a registered swarm");
    }
    let mut random = Pcg64Mcg::new(run as u128);
    let start = Instant::now();
    let mut handed_out = 0;
    for _ in 0..ANNOUNCES_PER_RUN {
        let announce = &peers[random.next_u32() as usize % peers.len()];
        let answer = tracker.announce(announce, start.elapsed()).expect("a registered swarm");
        handed_out += answer.peers.len();
    }
    let elapsed = start.elapsed();
    assert_eq!(handed_out, ANNOUNCES_PER_RUN as usize * 50, "every answer is full");
    f64::from(ANNOUNCES_PER_RUN) / elapsed.as_secs_f64()
}

fn expire_times() {
    let mut tracker = Tracker::new(settings(), 1);
    for number in 0..100_000 {
        let info_hash = InfoHash([(number % 20) as u8; 20]);
        tracker.register(info_hash, Duration::ZERO);
        tracker.announce(&peer(number, 5, info_hash), Duration::ZERO).expect("a registered swarm");
    }
    let mut timed = |now: u64| {
        let start = Instant::now();
        let expired = tracker.expire(Duration::from_secs(now));
        (start.elapsed().as_secs_f64() * 1000.0, expired.peers)
    };
    let mut fresh: Vec<f64> = (1..=100).map(|now| timed(now).0).collect();
    fresh.sort_by(f64::total_cmp);
    println!("all fresh: {:.2} (worst {:.2})", fresh[50], fresh[99]);
    for call in 0..6 {
        let (elapsed_ms, peers) = timed(1000 + call);
        println!("all stale, call {}: {elapsed_ms:.2}, {peers} peers forgotten", call + 1);
    }
}
