//! Nothing grows without bound, and nobody stays longer than they announce.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::InfoHash;

use super::*;

#[test]
fn limits_leave_who_comes_late_unlisted_but_answered() {
    let per_address = Settings {
        peers_per_address_max: 3,
        ..Settings::default()
    };
    let per_swarm = Settings {
        swarm_peers_max: 3,
        ..Settings::default()
    };
    let in_all = Settings {
        peers_max: 3,
        ..Settings::default()
    };
    for settings in [per_address, per_swarm, in_all] {
        let mut swarms = swarms(settings);
        for port in 1..=3 {
            assert!(answered(&mut swarms, leecher(&format!("10.0.0.1:{port}")), Duration::ZERO).listed);
        }
        let late = answered(&mut swarms, leecher("10.0.0.1:4"), Duration::ZERO);
        assert!(!late.listed);
        assert_eq!((late.peers.len(), late.incomplete), (3, 3));
        assert!(
            answered(&mut swarms, leecher("10.0.0.1:2"), Duration::ZERO).listed,
            "the listed stay"
        );
        answered(&mut swarms, stopped(leecher("10.0.0.1:2")), Duration::ZERO);
        assert!(
            answered(&mut swarms, leecher("10.0.0.1:4"), Duration::ZERO).listed,
            "a place is free"
        );
    }
}

#[test]
fn an_address_beyond_its_limit_does_not_keep_others_out() {
    let mut swarms = swarms(Settings {
        peers_per_address_max: 1,
        ..Settings::default()
    });
    assert!(answered(&mut swarms, leecher("10.0.0.1:1"), Duration::ZERO).listed);
    assert!(!answered(&mut swarms, leecher("10.0.0.1:2"), Duration::ZERO).listed);
    assert!(answered(&mut swarms, leecher("10.0.0.2:1"), Duration::ZERO).listed);
    let elsewhere = Announce {
        info_hash: OTHER_SWARM,
        ..leecher("10.0.0.1:2")
    };
    assert!(
        answered(&mut swarms, elsewhere, Duration::ZERO).listed,
        "the limit is per swarm"
    );
}

#[test]
fn an_answer_has_what_was_wanted_up_to_the_limit() {
    let mut swarms = swarms(Settings {
        flood: None,
        ..Settings::default()
    });
    populate(&mut swarms, 120, 0);
    for (wanted, expected) in [(0, 0), (1, 1), (30, 30), (50, 50), (51, 50), (usize::MAX, 50)] {
        let announce = Announce {
            wanted,
            ..leecher("10.9.0.1:0")
        };
        let peers = answered(&mut swarms, announce, Duration::ZERO).peers;
        assert_eq!(texts(&peers).len(), expected);
    }
}

#[test]
fn a_peer_whose_time_is_up_is_not_handed_out_though_nothing_was_swept() {
    let mut swarms = swarms(Settings::default());
    answered(&mut swarms, leecher("10.0.0.1:1"), seconds(100));
    let peers_at = |swarms: &mut Swarms, now| answered(swarms, leecher("10.0.0.2:0"), now).peers.len();
    assert_eq!(peers_at(&mut swarms, seconds(250)), 1);
    let past = seconds(250) + Duration::from_millis(1);
    assert_eq!(peers_at(&mut swarms, past), 0);
    assert_eq!(
        swarms.count(&SWARM).map(|count| count.incomplete),
        Some(1),
        "it still counts"
    );
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

#[test]
fn the_sweep_does_bounded_work_and_misses_nobody() {
    const PEERS: usize = 70_000;
    let mut swarms = Swarms::new(
        Settings {
            flood: None,
            ..Settings::default()
        },
        1,
    );
    for number in 0..PEERS as u32 {
        let info_hash = InfoHash([(number % 7) as u8; 20]);
        swarms.register(info_hash);
        let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 1));
        let announce = Announce {
            info_hash,
            address,
            complete: number % 3 == 0,
            ..leecher("10.0.0.1:1")
        };
        // Every tenth one comes later, and stays.
        let now = if number % 10 == 0 {
            seconds(100)
        } else {
            Duration::ZERO
        };
        swarms.announce(&announce, now).expect("an answer");
    }
    let mut calls = 0;
    while swarms.listed > PEERS / 10 {
        let forgotten = swarms.sweep(seconds(200));
        assert!(
            forgotten > 0 && forgotten <= PEERS / 3,
            "{forgotten} of {} in one call",
            swarms.listed
        );
        calls += 1;
    }
    swarms.check_invariants();
    assert!(calls > 1 && calls <= Swarms::calls_to_forget(PEERS), "{calls}");
    assert_eq!(swarms.sweep(seconds(200)), 0, "the fresh ones stay");
}

#[test]
fn floods_are_refused_with_the_time_to_wait() {
    let limit = FloodLimit {
        burst: 3,
        refill_per_second: 2,
        addresses_max: 100,
    };
    let mut swarms = swarms(Settings {
        flood: Some(limit),
        ..Settings::default()
    });
    let announce = leecher("10.0.0.1:1");
    answered(&mut swarms, announce, seconds(1));
    // A join is one announce, whatever the number of swarms; one of an unknown swarm counts too.
    let joined = swarms.join(
        &[SWARM, OTHER_SWARM],
        announce.peer_id,
        announce.address,
        seconds(1),
    );
    assert_eq!(joined.map(|answers| answers.len()), Ok(2));
    let unknown = Announce {
        info_hash: InfoHash([9; 20]),
        ..announce
    };
    assert!(matches!(
        swarms.announce(&unknown, seconds(1)),
        Err(Refusal::UnknownSwarm(_))
    ));
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
