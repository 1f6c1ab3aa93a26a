//! The rules of listing and introducing, one promise each.

mod limits;
mod places;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};

use super::{MIN_INTERVAL_DIVISOR, Swarms};
use crate::{Announce, Asker, Event, FloodLimit, Introduction, Refusal, Settings, SwarmCount};

const SWARM: InfoHash = InfoHash([1; 20]);
const OTHER_SWARM: InfoHash = InfoHash([2; 20]);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn swarms(settings: Settings) -> Swarms {
    let mut swarms = Swarms::new(settings, 42);
    swarms.register(SWARM);
    swarms.register(OTHER_SWARM);
    swarms
}

/// A leecher whose name follows from its address.
fn leecher(text: &str) -> Announce {
    let address = address(text);
    let mut peer_id = [0; 20];
    for (place, byte) in peer_id.iter_mut().zip(text.bytes().rev()) {
        *place = byte;
    }
    Announce { info_hash: SWARM, peer_id: PeerId(peer_id), address, complete: false, event: None, wanted: 50 }
}

fn seed(text: &str) -> Announce {
    Announce { complete: true, ..leecher(text) }
}

fn stopped(announce: Announce) -> Announce {
    Announce { event: Some(Event::Stopped), ..announce }
}

fn answered(swarms: &mut Swarms, announce: Announce, now: Duration) -> Introduction {
    let answer = swarms.announce(&announce, now).expect("an answer");
    swarms.check_invariants();
    answer
}

fn texts(peers: &[SocketAddr]) -> BTreeSet<String> {
    let texts: BTreeSet<String> = peers.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), peers.len(), "a peer is in an answer twice");
    texts
}

fn set(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(ToString::to_string).collect()
}

/// Enters so many leechers with IPv4 and IPv6 addresses.
fn populate(swarms: &mut Swarms, v4: u32, v6: u32) {
    let v4 = (0..v4).map(|number| format!("10.0.{}.{}:6881", number / 250, number % 250));
    for text in v4.chain((0..v6).map(|number| format!("[fd00::{number:x}]:6881"))) {
        let announce = Announce { wanted: 0, ..leecher(&text) };
        assert!(swarms.announce(&announce, Duration::ZERO).expect("an answer").listed);
    }
    swarms.check_invariants();
}

#[test]
fn peers_are_introduced_to_each_other_and_never_to_themselves() {
    let mut swarms = swarms(Settings::default());
    assert!(answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO).peers.is_empty());
    let second = answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO);
    assert_eq!(texts(&second.peers), set(&["10.0.0.1:1"]));
    assert!(second.listed);
    let first = answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    assert_eq!(texts(&first.peers), set(&["10.0.0.2:1"]));
    assert_eq!((first.complete, first.incomplete), (0, 2));
}

#[test]
fn swarms_are_apart_and_unknown_ones_are_refused() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    let other = Announce { info_hash: OTHER_SWARM, ..leecher("10.0.0.2:1") };
    assert!(answered(&mut swarms, other, Duration::ZERO).peers.is_empty());
    let unknown = Announce { info_hash: InfoHash([9; 20]), ..other };
    assert_eq!(swarms.announce(&unknown, Duration::ZERO), Err(Refusal::UnknownSwarm(InfoHash([9; 20]))));
    assert_eq!(swarms.count(&InfoHash([9; 20])), None);
}

#[test]
fn nobody_outside_the_networks_announces_joins_or_looks() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    for outside in ["8.8.8.8:1", "[2001:db8::1]:1", "[::ffff:8.8.8.8]:1"] {
        let announce = leecher(outside);
        let refused = |refusal| matches!(refusal, Some(Refusal::OutsideNetworks(_)));
        assert!(refused(swarms.announce(&announce, Duration::ZERO).err()), "{outside}");
        let joined = swarms.join(&[SWARM], announce.peer_id, announce.address, 50, Duration::ZERO);
        assert!(refused(joined.err()));
        let asker = Asker { address: announce.address, peer_id: None, complete: false };
        assert!(refused(swarms.peers_of(SWARM, &asker, 50, Duration::ZERO).err()));
    }
    assert_eq!(swarms.listed, 1);
    let networks = vec!["8.0.0.0/8".parse().expect("a network")];
    let mut configured = self::swarms(Settings { peer_networks: networks, ..Settings::default() });
    assert!(answered(&mut configured, leecher("8.8.8.8:1"), Duration::ZERO).listed);
    assert!(configured.announce(&leecher("10.0.0.1:1"), Duration::ZERO).is_err());
}

#[test]
fn an_ipv4_peer_on_an_ipv6_socket_is_one_peer() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    answered(&mut swarms, leecher("[::ffff:10.0.0.1]:1"), Duration::ZERO);
    let answer = answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO);
    assert_eq!(texts(&answer.peers), set(&["10.0.0.1:1"]));
    assert_eq!(answer.incomplete, 2);
}

#[test]
fn a_new_name_on_an_address_replaces_the_old_one() {
    let mut swarms = swarms(Settings::default());
    let old = seed("10.0.0.1:1");
    let new = Announce { peer_id: PeerId([7; 20]), ..leecher("10.0.0.1:1") };
    answered(&mut swarms, old, Duration::ZERO);
    let answer = answered(&mut swarms, new, Duration::ZERO);
    assert_eq!((answer.complete, answer.incomplete), (0, 1));
    // The last word of the old one comes late.
    answered(&mut swarms, stopped(old), Duration::ZERO);
    assert_eq!(swarms.listed, 1);
    answered(&mut swarms, stopped(new), Duration::ZERO);
    assert_eq!(swarms.listed, 0);
}

#[test]
fn a_host_with_two_addresses_is_not_introduced_to_itself() {
    let mut swarms = swarms(Settings::default());
    let v4 = leecher("10.0.0.1:1");
    let v6 = Announce { address: address("[fd00::1]:1"), ..v4 };
    answered(&mut swarms, v4, Duration::ZERO);
    let answer = answered(&mut swarms, v6, Duration::ZERO);
    assert!(answer.peers.is_empty());
    assert_eq!(answer.incomplete, 2);
    let third = answered(&mut swarms, leecher("10.0.0.3:1"), Duration::ZERO);
    assert_eq!(texts(&third.peers), set(&["10.0.0.1:1", "[fd00::1]:1"]));
}

#[test]
fn seeds_are_handed_to_leechers_only() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, seed("10.0.0.1:1"), Duration::ZERO);
    answered(&mut swarms, seed("[fd00::1]:1"), Duration::ZERO);
    let leeching = answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO);
    assert_eq!(texts(&leeching.peers), set(&["10.0.0.1:1", "[fd00::1]:1"]));
    let seeding = answered(&mut swarms, seed("10.0.0.3:1"), Duration::ZERO);
    assert_eq!(texts(&seeding.peers), set(&["10.0.0.2:1"]));
    assert_eq!((seeding.complete, seeding.incomplete), (3, 1));
}

#[test]
fn a_peer_that_completes_changes_sides_and_is_counted_once() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO);
    let completed = Announce { event: Some(Event::Completed), ..seed("10.0.0.1:1") };
    answered(&mut swarms, completed, Duration::ZERO);
    answered(&mut swarms, completed, Duration::ZERO);
    let expected = SwarmCount { complete: 1, incomplete: 1, downloaded: 1 };
    assert_eq!(swarms.count(&SWARM), Some(expected));
    let back = answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    assert_eq!((back.complete, back.incomplete), (0, 2));
}

#[test]
fn who_stops_is_gone_and_gets_no_peers() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO);
    let answer = answered(&mut swarms, stopped(leecher("10.0.0.1:1")), Duration::ZERO);
    assert!(answer.peers.is_empty() && !answer.listed);
    assert_eq!(answer.incomplete, 1);
    answered(&mut swarms, stopped(leecher("10.0.0.1:1")), Duration::ZERO);
    assert!(answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO).peers.is_empty());
}

#[test]
fn who_does_not_listen_is_answered_and_not_listed() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    let answer = answered(&mut swarms, leecher("10.0.0.2:0"), Duration::ZERO);
    assert_eq!(texts(&answer.peers), set(&["10.0.0.1:1"]));
    assert!(!answer.listed);
    let asker = Asker { address: address("10.0.0.3:0"), peer_id: None, complete: false };
    let peers = swarms.peers_of(SWARM, &asker, 50, Duration::ZERO).expect("peers");
    assert_eq!(texts(&peers), set(&["10.0.0.1:1"]));
    assert_eq!(swarms.listed, 1);
}

#[test]
fn the_own_family_comes_first_and_the_other_has_a_fifth() {
    let families = |v4: u32, v6: u32, asker: &str, wanted: usize| {
        let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
        populate(&mut swarms, v4, v6);
        let peers = answered(&mut swarms, Announce { wanted, ..leecher(asker) }, Duration::ZERO).peers;
        let v6 = peers.iter().filter(|peer| peer.is_ipv6()).count();
        (peers.len() - v6, v6)
    };
    assert_eq!(families(100, 100, "10.9.0.1:0", 50), (40, 10));
    assert_eq!(families(100, 100, "[fd01::1]:0", 50), (10, 40));
    assert_eq!(families(100, 4, "10.9.0.1:0", 50), (46, 4), "what the other does not fill");
    assert_eq!(families(30, 100, "10.9.0.1:0", 50), (30, 20), "what the own does not fill");
    assert_eq!(families(0, 100, "10.9.0.1:0", 50), (0, 50));
    assert_eq!(families(100, 100, "10.9.0.1:0", 6), (4, 2), "a fifth is rounded up");
    assert_eq!(families(100, 100, "10.9.0.1:0", 1), (1, 0), "of one nothing is reserved");
}

#[test]
fn a_reserve_that_only_the_asker_could_fill_is_given_back() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    populate(&mut swarms, 100, 0);
    let v6 = leecher("[fd00::1]:1");
    answered(&mut swarms, v6, Duration::ZERO);
    let v4 = Announce { address: address("10.9.0.1:1"), ..v6 };
    assert_eq!(texts(&answered(&mut swarms, v4, Duration::ZERO).peers).len(), 50);
}

#[test]
fn intervals_vary_by_up_to_a_quarter() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    let answers = (0..1000).map(|_| answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO));
    let answers: Vec<Introduction> = answers.collect();
    let intervals = || answers.iter().map(|answer| answer.interval);
    assert!(intervals().all(|interval| interval >= seconds(60) && interval < seconds(75)));
    assert!(intervals().min() < Some(Duration::from_millis(60_200)));
    assert!(intervals().max() > Some(Duration::from_millis(74_800)));
    assert!(answers.iter().all(|answer| answer.min_interval == seconds(60) / MIN_INTERVAL_DIVISOR));
}

#[test]
fn a_join_enters_all_swarms_or_none() {
    let mut swarms = swarms(Settings::default());
    let first = leecher("10.0.0.1:1");
    let second = leecher("10.0.0.2:1");
    answered(&mut swarms, first, Duration::ZERO);
    let unknown = [SWARM, InfoHash([9; 20])];
    assert!(swarms.join(&unknown, second.peer_id, second.address, 50, Duration::ZERO).is_err());
    assert_eq!(swarms.listed, 1);
    let both = [OTHER_SWARM, SWARM];
    let answers = swarms.join(&both, second.peer_id, second.address, 50, Duration::ZERO).expect("answers");
    assert!(answers[0].peers.is_empty());
    assert_eq!(texts(&answers[1].peers), set(&["10.0.0.1:1"]));
    assert!(answers.iter().all(|answer| answer.listed));
    assert_eq!(swarms.listed, 3);
    swarms.check_invariants();
}

#[test]
fn a_seed_that_asks_for_its_plan_again_stays_a_seed() {
    let mut swarms = swarms(Settings::default());
    let announce = seed("10.0.0.1:1");
    answered(&mut swarms, announce, Duration::ZERO);
    let join =
        |swarms: &mut Swarms, peer_id| swarms.join(&[SWARM], peer_id, announce.address, 50, seconds(1));
    assert_eq!(join(&mut swarms, announce.peer_id).expect("an answer")[0].complete, 1);
    let restarted = join(&mut swarms, PeerId([7; 20])).expect("an answer");
    assert_eq!((restarted[0].complete, restarted[0].incomplete), (0, 1), "another one starts anew");
}

#[test]
fn the_overview_is_the_largest_swarms_in_order() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    populate(&mut swarms, 2, 1);
    let overview = |swarms: &Swarms, max| -> Vec<InfoHash> {
        swarms.busiest(max).iter().map(|swarm| swarm.info_hash).collect()
    };
    assert_eq!(overview(&swarms, 9), [SWARM], "the empty one is left out");
    for port in 1..=4 {
        let elsewhere = Announce { info_hash: OTHER_SWARM, ..leecher(&format!("10.0.0.1:{port}")) };
        answered(&mut swarms, elsewhere, Duration::ZERO);
    }
    assert_eq!(overview(&swarms, 9), [OTHER_SWARM, SWARM]);
    assert_eq!(overview(&swarms, 1), [OTHER_SWARM]);
    assert_eq!(overview(&swarms, 0), []);
}
