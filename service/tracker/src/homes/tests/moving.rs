//! Whoever needs a package that has moved meets those who share it where it was.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};
use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen};
use proptest::prelude::*;

use super::{assign, expire, identity, seconds, small, tracker};
use crate::{Announce, LeaseQuestion, Settings, Tracker};

/// Each package has so many pieces.
const PIECES: u32 = 3;

fn address(host: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (host >> 8) as u8, host as u8], 6881))
}

fn announce(tracker: &mut Tracker, host: u16, info_hash: InfoHash, complete: bool) -> Vec<SocketAddr> {
    let peer_id = PeerId([host as u8; 20]);
    let announce = Announce { info_hash, peer_id, address: address(host), complete, event: None, wanted: 50 };
    tracker.announce(&announce, seconds(1)).expect("an answer").peers
}

fn lease(
    tracker: &mut Tracker,
    host: u16,
    info_hash: InfoHash,
    packages: u32,
    wish: &LeaseWish,
) -> Vec<PieceRange> {
    let (peer_id, address, pieces) = (PeerId([host as u8; 20]), address(host), packages * PIECES);
    let piece_len = PieceLen::Small;
    let asked = LeaseQuestion { info_hash, peer_id, address, pieces, piece_len, wish };
    let lease = tracker.lease(&asked, seconds(1)).expect("it is listed").pieces;
    tracker.check_invariants();
    lease
}

fn wants() -> LeaseWish {
    LeaseWish { wants: true, ..LeaseWish::default() }
}

/// Twenty homes of two packages each, the lower of which one request merges later.
fn twenty_homes() -> Tracker {
    let mut tracker = tracker(1000);
    for home in 0..20 {
        assign(&mut tracker, [2 * home, 2 * home + 1], 0);
    }
    tracker
}

fn merge(tracker: &mut Tracker) -> InfoHash {
    let merged = assign(tracker, (0..40).step_by(2), 1);
    assert_eq!(merged.len(), 1);
    merged[0].info_hash
}

#[test]
fn who_shares_an_old_home_is_introduced_in_the_new_one_and_hears_of_it() {
    let mut tracker = twenty_homes();
    let old = small([6, 7]);
    announce(&mut tracker, 1, old, true);
    announce(&mut tracker, 2, small([8, 9]), false);
    assert_eq!(tracker.moved(&old), 0);
    let new = merge(&mut tracker);
    assert_eq!((tracker.moved(&old), tracker.moved(&new)), (2, 0));
    let mut introduced = announce(&mut tracker, 3, new, false);
    introduced.sort_unstable();
    assert_eq!(introduced, [address(1), address(2)]);
    assert_eq!(tracker.count(&new).map(|count| count.complete), Some(0), "nobody has all of it");
    expire(&mut tracker, 3600);
    assert_eq!(tracker.count(&new).map(|count| count.incomplete), Some(0), "nor is anybody listed for ever");
}

#[test]
fn first_copies_that_are_out_or_on_their_way_are_leased_to_nobody_else() {
    let mut tracker = twenty_homes();
    let (reported, seeded, leased) = (small([0, 1]), small([2, 3]), small([4, 5]));
    announce(&mut tracker, 1, reported, false);
    let got = LeaseWish { got: vec![(1, 2)], ..LeaseWish::default() };
    lease(&mut tracker, 1, reported, 2, &got);
    announce(&mut tracker, 2, seeded, true);
    announce(&mut tracker, 3, leased, false);
    let second = LeaseWish { lacks: vec![(3, 3)], ..wants() };
    assert_eq!(lease(&mut tracker, 3, leased, 2, &second), [(3, 3)]);

    let new = merge(&mut tracker);
    announce(&mut tracker, 4, new, false);
    let lacks = |lacks: &[PieceRange]| LeaseWish { lacks: lacks.to_vec(), ..wants() };
    // Packages 0 to 5 are the first six of the new bundle, three pieces each.
    assert_eq!(lease(&mut tracker, 4, new, 40, &lacks(&[(1, 2), (6, 6)])), [], "out");
    assert_eq!(lease(&mut tracker, 3, new, 40, &LeaseWish::default()), [(15, 3)], "still its holder's");
    let rest = lease(&mut tracker, 4, new, 40, &lacks(&[(0, 15)]));
    assert_eq!(rest, [(3, 3)], "the longest stretch of what nobody has or holds");
    expire(&mut tracker, 3600);
    announce(&mut tracker, 5, new, false);
    let everything: u32 = lease(&mut tracker, 5, new, 40, &wants()).iter().map(|(_, len)| len).sum();
    assert_eq!(everything, 40 * PIECES, "all who had something are gone");
}

#[test]
fn limits_on_peers_hold_for_those_who_move_too() {
    let settings = Settings { flood: None, peers_max: 5, ..Settings::default() };
    let mut tracker = Tracker::new(settings, 7);
    for home in 0..20 {
        assign(&mut tracker, [2 * home, 2 * home + 1], 0);
    }
    for host in 0..4 {
        announce(&mut tracker, host, small([0, 1]), false);
    }
    let new = merge(&mut tracker);
    tracker.check_invariants();
    assert_eq!(tracker.count(&new).map(|count| count.incomplete), Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whoever says whatever of leases in homes that are merged all the time: counts and lists stay right.
    #[test]
    fn what_is_known_of_leases_stays_right(
        steps in proptest::collection::vec(
            (proptest::collection::btree_set(0_u32..80, 1..30), 0_u16..5, (0_u32..90, 0_u32..20), any::<[bool; 3]>()),
            1..60,
        ),
    ) {
        let mut tracker = tracker(1000);
        for (wanted, host, range, [complete, starved, has_got]) in steps {
            for share in assign(&mut tracker, wanted, 1) {
                announce(&mut tracker, host, share.info_hash, complete);
                let members = tracker.members(&share.info_hash).map_or(0, |members| members.len());
                let got = if has_got { vec![range] } else { vec![] };
                let wish = LeaseWish { got, starved, ..wants() };
                lease(&mut tracker, host, share.info_hash, members as u32, &wish);
                let members = tracker.members(&share.info_hash).unwrap_or_default();
                let left = members.iter().filter(|it| tracker.home_of(it) != Some(share.info_hash)).count();
                prop_assert_eq!(tracker.moved(&share.info_hash) as usize, left);
            }
        }
        tracker.expire(Duration::from_secs(3600));
        tracker.check_invariants();
        prop_assert!((0..80).all(|number| tracker.home_of(&identity(number)).is_none_or(|it| tracker.knows(&it))));
    }
}
