//! Of many hosts in one home, those are named first that want the same packages of it.

use std::net::SocketAddr;

use pkgtorrent_protocol::{InfoHash, PeerId};

use super::{assign, identities, seconds, small, tracker};
use crate::{Announce, Event, Settings, Sites, Tracker};

const PEERS: usize = 10;

fn address(host: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, (host >> 8) as u8, host as u8], 6881))
}

fn peer_id(host: u16) -> PeerId {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&host.to_be_bytes());
    PeerId(bytes)
}

/// A host is given a plan with these packages of a bundle; gives the peers that it is told of.
fn join(tracker: &mut Tracker, host: u16, home: InfoHash, packages: &[u32], now: u64) -> Vec<SocketAddr> {
    let now = seconds(now);
    let joined = tracker.join(&[home], peer_id(host), address(host), PEERS, now).expect("an answer");
    let mut peers = joined[0].peers.clone();
    let told = peers.len();
    let packages = identities(packages.iter().copied());
    tracker.acquaint(&home, &packages, address(host), &mut peers, now);
    tracker.check_invariants();
    assert_eq!(peers.len(), told, "no more are named than there were");
    assert!(peers.iter().all(|peer| peers.iter().filter(|other| *other == peer).count() == 1));
    peers
}

/// A home of eight packages in which two hundred hosts share the first one, and one, before them, the last two.
fn home() -> (Tracker, InfoHash) {
    let mut tracker = tracker(1000);
    let home = assign(&mut tracker, 0..8, 0)[0].info_hash;
    join(&mut tracker, 0, home, &[6, 7], 0);
    for host in 1..=200 {
        join(&mut tracker, host, home, &[0], 0);
    }
    (tracker, home)
}

#[test]
fn who_wants_what_few_want_is_told_of_them_first() {
    let (mut tracker, home) = home();
    assert_eq!(join(&mut tracker, 300, home, &[7], 1)[0], address(0));
    // As few hosts as have all of it; never the host itself.
    assert_eq!(join(&mut tracker, 301, home, &[6, 7], 2)[0], address(0));
    assert!(!join(&mut tracker, 301, home, &[6], 3).contains(&address(301)));
}

#[test]
fn who_has_it_is_named_and_not_who_may_be_waiting_for_it() {
    let (mut tracker, home) = home();
    tracker.are_served(&[home].into(), address(0));
    for host in 300..320 {
        assert_eq!(join(&mut tracker, host, home, &[6, 7], 1)[0], address(0));
    }
    tracker.are_served(&[home].into(), address(319));
    tracker.are_served(&[home].into(), address(18));
    let peers = join(&mut tracker, 320, home, &[6, 7], 1);
    assert!(peers[0] == address(0) || peers[0] == address(319), "{peers:?}");
    // Where those that have it have gone, who fetches it is better than nobody.
    for host in [0, 18, 319] {
        let (peer_id, address) = (peer_id(host), address(host));
        let (info_hash, event) = (home, Some(Event::Stopped));
        let left = Announce { info_hash, peer_id, address, complete: false, event, wanted: 0 };
        tracker.announce(&left, seconds(1)).expect("an answer");
    }
    assert_eq!(join(&mut tracker, 321, home, &[6, 7], 1)[0], address(320));
    // A host that has no address to be called at is served as well, and named to nobody.
    tracker.are_served(&[home].into(), SocketAddr::new(address(320).ip(), 0));
}

#[test]
fn a_few_hosts_that_have_most_are_named_before_many_that_have_little() {
    let mut tracker = tracker(1000);
    let home = assign(&mut tracker, 0..40, 0)[0].info_hash;
    let serve = |tracker: &mut Tracker, host: u16, packages: &[u32]| {
        join(tracker, host, home, packages, 0);
        tracker.are_served(&[home].into(), address(host));
    };
    serve(&mut tracker, 100, &(0..30).collect::<Vec<u32>>());
    serve(&mut tracker, 101, &(20..40).collect::<Vec<u32>>());
    for host in 0..40 {
        serve(&mut tracker, host, &[u32::from(host)]);
    }
    let peers = join(&mut tracker, 102, home, &(0..40).collect::<Vec<u32>>(), 1);
    assert_eq!(peers[..2], [address(100), address(101)]);
    assert!((2..40).any(|host| peers[2..].contains(&address(host))), "the others are anybody");
}

#[test]
fn at_most_half_of_the_peers_are_chosen_so() {
    let mut tracker = tracker(1000);
    let home = assign(&mut tracker, 0..40, 0)[0].info_hash;
    for host in 0..40 {
        join(&mut tracker, host, home, &[u32::from(host)], 0);
    }
    for host in 200..400 {
        join(&mut tracker, host, home, &[], 0);
    }
    let peers = join(&mut tracker, 100, home, &(0..40).collect::<Vec<u32>>(), 1);
    let is_chosen = |peer: &&SocketAddr| (0..40).any(|host| **peer == address(host));
    assert!(peers[..5].iter().all(|peer| is_chosen(&peer)), "{peers:?}");
    assert!(!peers[5..].iter().all(|peer| is_chosen(&peer)), "the others are anybody: {peers:?}");
}

#[test]
fn where_all_want_the_same_peers_are_chosen_by_chance() {
    let mut tracker = tracker(1000);
    let home = assign(&mut tracker, 0..8, 0)[0].info_hash;
    let everything: Vec<u32> = (0..8).collect();
    for host in 0..100 {
        join(&mut tracker, host, home, &everything, 0);
    }
    let mut is_last = |host: u16| join(&mut tracker, host, home, &everything, 1)[0] == address(host - 1);
    assert!((100..110).filter(|host| is_last(*host)).count() < 5);
}

#[test]
fn a_package_that_moves_is_wanted_by_the_same_hosts() {
    let mut tracker = tracker(1000);
    for home in 0..20 {
        assign(&mut tracker, [2 * home, 2 * home + 1], 0);
    }
    join(&mut tracker, 0, small([6, 7]), &[6], 0);
    let merged = assign(&mut tracker, (0..40).step_by(2), 1)[0].info_hash;
    for host in 1..=200 {
        join(&mut tracker, host, merged, &[0], 1);
    }
    assert_eq!(join(&mut tracker, 300, merged, &[6], 1)[0], address(0));
}

#[test]
fn nobody_is_told_of_hosts_that_have_gone() {
    let (mut tracker, home) = home();
    let (info_hash, event) = (home, Some(Event::Stopped));
    let left =
        Announce { info_hash, peer_id: peer_id(0), address: address(0), complete: false, event, wanted: 0 };
    tracker.announce(&left, seconds(1)).expect("an answer");
    assert_ne!(join(&mut tracker, 300, home, &[7], 1)[0], address(0));
    // Nor of who went without a word: the sweep has not met it yet.
    for host in 1..=200 {
        join(&mut tracker, host, home, &[0], 100);
    }
    let peers = join(&mut tracker, 301, home, &[7], 200);
    assert!(!peers.contains(&address(300)), "{peers:?}");
}

#[test]
fn nobody_is_told_of_hosts_that_are_not_listed_or_elsewhere() {
    let (mut tracker, home) = home();
    // It does not say where it listens.
    let silent = SocketAddr::new(address(300).ip(), 0);
    tracker.acquaint(&home, &identities([7]), silent, &mut Vec::new(), seconds(1));
    assert_eq!(join(&mut tracker, 301, home, &[7], 1)[0], address(0));

    let networks = [("a", "10.1.0.0/24"), ("b", "10.1.1.0/24")]
        .map(|(name, network)| (name.to_owned(), vec![network.parse().expect("a network")]));
    let sites = Sites::new(&networks.into(), &[], Some("a")).expect("sites");
    let mut tracker = Tracker::new(Settings { sites, flood: None, ..Settings::default() }, 7);
    let home = assign(&mut tracker, 0..8, 0)[0].info_hash;
    join(&mut tracker, 256, home, &[7], 0);
    for host in 0..200 {
        join(&mut tracker, host, home, &[0], 0);
    }
    assert_ne!(join(&mut tracker, 200, home, &[7], 1)[0], address(256));
    assert_eq!(join(&mut tracker, 257, home, &[7], 1)[0], address(256), "who is of its site comes first");
}
