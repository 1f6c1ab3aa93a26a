//! Nothing grows without bound, and nobody stays longer than they announce.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::InfoHash;

use super::*;
use crate::sweep::REMOVAL_STEPS;

#[test]
fn limits_leave_who_comes_late_unlisted_but_answered() {
    let per_address = Settings { peers_per_address_max: 3, ..Settings::default() };
    let per_swarm = Settings { swarm_peers_max: 3, ..Settings::default() };
    let in_all = Settings { peers_max: 3, ..Settings::default() };
    for settings in [per_address, per_swarm, in_all] {
        let mut swarms = swarms(settings);
        for port in 1..=3 {
            assert!(answered(&mut swarms, leecher(&format!("10.0.0.1:{port}")), Duration::ZERO).listed);
        }
        let late = answered(&mut swarms, leecher("10.0.0.1:4"), Duration::ZERO);
        assert!(!late.listed);
        assert_eq!((late.peers.len(), late.incomplete), (3, 3));
        assert!(answered(&mut swarms, leecher("10.0.0.1:2"), Duration::ZERO).listed, "the listed stay");
        answered(&mut swarms, stopped(leecher("10.0.0.1:2")), Duration::ZERO);
        assert!(answered(&mut swarms, leecher("10.0.0.1:4"), Duration::ZERO).listed, "a place is free");
    }
}

#[test]
fn an_address_beyond_its_limit_does_not_keep_others_out() {
    let mut swarms = swarms(Settings { peers_per_address_max: 1, ..Settings::default() });
    assert!(answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO).listed);
    assert!(!answered(&mut swarms, leecher("10.0.0.1:2"), Duration::ZERO).listed);
    assert!(answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO).listed);
    let elsewhere = Announce { info_hash: OTHER_SWARM, ..leecher("10.0.0.1:2") };
    assert!(answered(&mut swarms, elsewhere, Duration::ZERO).listed, "the limit is per swarm");
}

#[test]
fn an_answer_has_what_was_wanted_up_to_the_limit() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    populate(&mut swarms, 120, 0);
    for (wanted, expected) in [(0, 0), (1, 1), (30, 30), (50, 50), (51, 50), (usize::MAX, 50)] {
        let announce = Announce { wanted, ..leecher("10.9.0.1:0") };
        let peers = answered(&mut swarms, announce, Duration::ZERO).peers;
        assert_eq!(texts(&peers).len(), expected);
    }
}

#[test]
fn other_limits_hold_from_then_on() {
    let flood = FloodLimit { burst: 1, refill_per_second: 1, ..FloodLimit::default() };
    let slow = Settings { flood: Some(flood), peers_per_answer_max: 1, ..Settings::default() };
    let mut swarms = swarms(slow.clone());
    for name in ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"] {
        answered(&mut swarms, leecher(name), Duration::ZERO);
    }
    let again = |swarms: &mut Swarms| swarms.announce(&leecher("10.0.0.3:1"), Duration::ZERO);
    assert!(again(&mut swarms).is_err());
    swarms.reconfigure(&slow);
    assert!(again(&mut swarms).is_err(), "what did not change goes on");
    let ttl = Settings::with_interval(seconds(10)).peer_ttl;
    swarms.reconfigure(&Settings {
        flood: None,
        peers_per_answer_max: 2,
        ..Settings::with_interval(seconds(10))
    });
    let answer = again(&mut swarms).expect("no limit any more");
    assert_eq!(answer.peers.len(), 2);
    assert!(answer.interval < seconds(20), "{:?}", answer.interval);
    assert_eq!(swarms.sweep(ttl + seconds(1)), 3, "who does not announce is gone as soon as it says");
}

#[test]
fn a_peer_whose_time_is_up_is_not_handed_out_though_nothing_was_swept() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), seconds(100));
    let peers_at = |swarms: &mut Swarms, now| answered(swarms, leecher("10.0.0.2:0"), now).peers.len();
    assert_eq!(peers_at(&mut swarms, seconds(250)), 1);
    let past = seconds(250) + Duration::from_millis(1);
    assert_eq!(peers_at(&mut swarms, past), 0);
    assert_eq!(swarms.count(&SWARM).map(|count| count.incomplete), Some(1), "it still counts");
    assert_eq!(swarms.sweep(past), 1);
    assert_eq!(swarms.count(&SWARM), Some(SwarmCount::default()));
    swarms.check_invariants();
}

#[test]
fn an_announce_keeps_a_peer_alive() {
    let mut swarms = swarms(Settings::default());
    for now in (0..1000).step_by(150) {
        answered(&mut swarms, leecher("10.0.0.1:1"), seconds(now));
        assert_eq!(swarms.sweep(seconds(now + 150)), 0);
    }
}

/// The number of a peer of the sweep's tests, as its address.
fn numbered(number: u32) -> Announce {
    let info_hash = if number.is_multiple_of(3) { SWARM } else { OTHER_SWARM };
    let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
    let mut peer_id = [0; 20];
    peer_id[..4].copy_from_slice(&number.to_be_bytes());
    let (address, peer_id) = (SocketAddr::from((ip, 1)), PeerId(peer_id));
    Announce { info_hash, peer_id, address, complete: number.is_multiple_of(5), event: None, wanted: 0 }
}

#[test]
fn the_sweep_does_bounded_work_and_misses_nobody() {
    const PEERS: u32 = 2000;
    const STEPS: usize = 100;
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    for number in 0..PEERS {
        // Every tenth one is there for the last time, scattered among the others.
        let now = if number % 10 == 7 { Duration::ZERO } else { seconds(100) };
        swarms.announce(&numbered(number), now).expect("an answer");
    }
    let stale = PEERS as usize / 10;
    let mut forgotten = 0;
    // Each fresh peer costs a step, each stale one its removal, and each of twelve vectors one more.
    let calls = (PEERS as usize + stale * REMOVAL_STEPS + 12).div_ceil(STEPS - REMOVAL_STEPS);
    for call in 0..calls as u32 {
        let now_forgotten = swarms.sweep_steps(seconds(200), STEPS);
        assert!(now_forgotten <= STEPS / REMOVAL_STEPS + 1, "{now_forgotten} in one call");
        forgotten += now_forgotten;
        // Between the calls fresh ones leave, come, and change sides, so that positions change hands.
        for number in (call * 20..call * 20 + 20).filter(|number| number % 10 != 7) {
            let moving = numbered(number);
            let moved = if number % 2 == 0 { stopped(moving) } else { Announce { complete: true, ..moving } };
            swarms.announce(&moved, seconds(200)).expect("an answer");
        }
    }
    swarms.check_invariants();
    assert_eq!(forgotten, stale);
    assert_eq!(swarms.sweep(seconds(200)), 0, "all of them, and no other");
}

#[test]
fn floods_are_refused_with_the_time_to_wait() {
    let limit = FloodLimit { burst: 3, refill_per_second: 2, addresses_max: 100 };
    let mut swarms = swarms(Settings { flood: Some(limit), ..Settings::default() });
    let announce = leecher("10.0.0.1:1");
    answered(&mut swarms, announce, seconds(1));
    // A join is one announce, whatever the number of swarms; one of an unknown swarm counts too.
    let joined = swarms.join(&[SWARM, OTHER_SWARM], announce.peer_id, announce.address, 50, seconds(1));
    assert_eq!(joined.map(|answers| answers.len()), Ok(2));
    let unknown = Announce { info_hash: InfoHash([9; 20]), ..announce };
    assert!(matches!(swarms.announce(&unknown, seconds(1)), Err(Refusal::UnknownSwarm(_))));
    let retry_after = Duration::from_millis(500);
    let refusal = Err(Refusal::TooManyAnnounces { retry_after });
    assert_eq!(swarms.announce(&announce, seconds(1)), refusal);
    answered(&mut swarms, leecher("10.0.0.2:1"), seconds(1));
    answered(&mut swarms, announce, seconds(1) + retry_after);
}

#[test]
fn a_removed_swarm_takes_its_peers_along() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO);
    swarms.remove(&SWARM);
    swarms.remove(&SWARM);
    assert_eq!((swarms.listed, swarms.len()), (0, 1));
    assert!(swarms.announce(&leecher("10.0.0.1:1"), Duration::ZERO).is_err());
    swarms.register(InfoHash([3; 20]));
    swarms.check_invariants();
    assert_eq!(swarms.slots.len(), 2, "the free slot is taken again");
    assert_eq!(swarms.count(&InfoHash([3; 20])), Some(SwarmCount::default()));
}

#[test]
fn an_answer_costs_the_same_however_many_peers_are_passed_over() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    populate(&mut swarms, 3000, 0);
    // Alone among the stale, who are looked at in random order and not to the end.
    answered(&mut swarms, leecher("10.9.0.1:1"), seconds(200));
    let found = (0..300).filter(|_| {
        let peers = swarms.announce(&leecher("10.9.0.2:0"), seconds(200)).expect("an answer").peers;
        !peers.is_empty()
    });
    let found = found.count();
    // A thousand of 3001 are looked at: 100 of 300, deviation 8.2.
    assert!((50..150).contains(&found), "{found}");
}

#[test]
fn one_request_for_many_swarms_costs_one_announce() {
    let flood = Some(FloodLimit { burst: 2, refill_per_second: 1, ..FloodLimit::default() });
    let mut swarms = swarms(Settings { flood, ..Settings::default() });
    let unknown = Announce { info_hash: InfoHash([99; 20]), ..leecher("10.0.0.1:1") };
    let other = Announce { info_hash: OTHER_SWARM, ..leecher("10.0.0.1:1") };
    let asked = [leecher("10.0.0.1:1"), unknown, other];
    let address = leecher("10.0.0.1:1").address;
    for _ in 0..2 {
        let answers = swarms.announce_all(address, &asked, Duration::ZERO).expect("within the limit");
        assert!(matches!(answers[..], [Ok(_), Err(Refusal::UnknownSwarm(_)), Ok(_)]), "{answers:?}");
    }
    let refused = swarms.announce_all(address, &asked, Duration::ZERO);
    assert!(matches!(refused, Err(Refusal::TooManyAnnounces { .. })), "{refused:?}");
}
