//! Over a fleet's first announces everybody is handed out about equally often, and what the hosts learn makes one
//! graph of small diameter: a package spreads along it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_tracker::{Announce, Settings, Tracker};

const SWARM: InfoHash = InfoHash([3; 20]);
const PEERS: u32 = 1000;
const WANTED: usize = 20;

fn seed() -> u64 {
    let seed = std::env::var("PKGTORRENT_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("PKGTORRENT_TEST_SEED={seed}");
    seed
}

fn announce(number: u32) -> Announce {
    let mut peer_id = [0; 20];
    peer_id[..4].copy_from_slice(&number.to_be_bytes());
    Announce {
        info_hash: SWARM,
        peer_id: PeerId(peer_id),
        address: SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + number), 6881)),
        complete: number.is_multiple_of(3),
        event: None,
        wanted: WANTED,
    }
}

fn number_of(address: SocketAddr) -> u32 {
    let SocketAddr::V4(address) = address else { panic!("only IPv4 was announced") };
    address.ip().to_bits() - 0x0a00_0000
}

fn full_swarm(seed: u64) -> Tracker {
    let mut tracker = Tracker::new(Settings::default(), seed);
    tracker.register(SWARM, Duration::ZERO);
    for number in 0..PEERS {
        tracker.announce(&announce(number), Duration::ZERO).unwrap();
    }
    tracker
}

#[test]
fn everybody_is_handed_out_about_equally_often() {
    let mut tracker = full_swarm(seed());
    let mut handed_out = BTreeMap::<SocketAddr, u32>::new();
    for asker in 0..2000 {
        // Strangers that do not listen, so that everybody may be handed to each of them.
        let mut looking = Announce { complete: false, ..announce(100_000 + asker) };
        looking.address.set_port(0);
        for peer in tracker.announce(&looking, Duration::ZERO).unwrap().peers {
            *handed_out.entry(peer).or_default() += 1;
        }
    }
    // 2000 x 20 / 1000 = 40 each, deviation about 6.3: six of them, for one false alarm in a million runs.
    assert_eq!(handed_out.len(), PEERS as usize, "everybody is handed out");
    let (least, most) = (handed_out.values().min().unwrap(), handed_out.values().max().unwrap());
    println!("handed out {least} to {most} times");
    assert!(*least >= 5 && *most <= 85, "{least} to {most}");
}

#[test]
fn what_hosts_learn_is_one_graph_of_small_diameter() {
    let mut tracker = full_swarm(seed());
    let mut neighbours = vec![Vec::new(); PEERS as usize];
    for number in 0..PEERS {
        for peer in tracker.announce(&announce(number), Duration::ZERO).unwrap().peers {
            neighbours[number as usize].push(number_of(peer));
            neighbours[number_of(peer) as usize].push(number);
        }
    }
    let mut distance = vec![None; PEERS as usize];
    distance[0] = Some(0);
    let mut reached = VecDeque::from([0]);
    while let Some(number) = reached.pop_front() {
        for &next in &neighbours[number as usize] {
            if distance[next as usize].is_none() {
                distance[next as usize] = distance[number as usize].map(|steps: u32| steps + 1);
                reached.push_back(next);
            }
        }
    }
    assert!(distance.iter().all(Option::is_some), "the graph is connected");
    let farthest = distance.iter().flatten().max().unwrap();
    println!("the farthest of {PEERS} hosts is {farthest} steps away");
    // About 40 neighbours each: 40^2 > 1000, so a random graph needs three steps; a lattice would need 25.
    assert!(*farthest <= 5, "{farthest}");
}
