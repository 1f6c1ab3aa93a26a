//! The rules of homes, one promise each.

mod moving;
mod wanting;

use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen, Sha256Digest};
use proptest::prelude::*;

use super::{BUNDLE_PACKAGES_MAX, BUNDLE_PIECES_MAX, HomePackage, Share};
use crate::{Announce, Bundler, Event, Settings, Tracker};

const IDLE: u64 = 3600;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tracker(bundles_max: usize) -> Tracker {
    Tracker::new(Settings { bundles_max, flood: None, ..Settings::default() }, 7)
}

fn identity(number: u32) -> Sha256Digest {
    let mut bytes = [0xa5; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Sha256Digest(bytes)
}

fn packages(numbers: impl IntoIterator<Item = u32>) -> Vec<HomePackage> {
    let package = |number| HomePackage { identity: identity(number), piece_len: PieceLen::Small, pieces: 3 };
    numbers.into_iter().map(package).collect()
}

fn identities(numbers: impl IntoIterator<Item = u32>) -> Vec<Sha256Digest> {
    numbers.into_iter().map(identity).collect()
}

/// Every package is in the repository, and bundles are formed by the function.
struct Forming<F>(F);

impl<F: FnMut(PieceLen, &[Sha256Digest]) -> InfoHash> Bundler for Forming<F> {
    fn can_move(&mut self, _: &Sha256Digest, _: PieceLen) -> bool {
        true
    }

    fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
        (self.0)(piece_len, members)
    }
}

/// As the service does it: the info hash follows from the content.
fn form(piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
    InfoHash::of(format!("{piece_len:?} {members:?}").as_bytes())
}

fn assign(tracker: &mut Tracker, numbers: impl IntoIterator<Item = u32>, now: u64) -> Vec<Share> {
    let shares = tracker.assign(&packages(numbers), seconds(now), &mut Forming(form));
    tracker.check_invariants();
    shares
}

fn expire(tracker: &mut Tracker, now: u64) -> Vec<InfoHash> {
    let expired = tracker.expire(seconds(now)).bundles;
    tracker.check_invariants();
    expired
}

fn announce(tracker: &mut Tracker, info_hash: InfoHash, event: Option<Event>, now: u64) {
    let address = "10.0.0.1:6881".parse().expect("an address");
    let peer_id = PeerId([1; 20]);
    let announce = Announce { info_hash, peer_id, address, complete: true, event, wanted: 0 };
    tracker.announce(&announce, seconds(now)).expect("an answer");
}

fn small(numbers: impl IntoIterator<Item = u32>) -> InfoHash {
    form(PieceLen::Small, &identities(numbers))
}

#[test]
fn hosts_with_different_sets_meet_in_the_same_bundle() {
    let mut tracker = tracker(100);
    let first = assign(&mut tracker, [3, 1, 2, 1], 0);
    let expected = Share { info_hash: small(1..4), formed: true, members: identities(1..4) };
    assert_eq!(first, std::slice::from_ref(&expected));
    let second = assign(&mut tracker, [2, 4, 3, 5], 10);
    assert_eq!(second.len(), 2);
    let old = Share { formed: false, members: identities(2..4), ..expected };
    let new = Share { info_hash: small(4..6), formed: true, members: identities(4..6) };
    assert!(second.contains(&old) && second.contains(&new), "{second:?}");
    assert_eq!(tracker.homes_generation(), 0, "nothing that was remembered is out of date");
    assert_eq!((tracker.stats().bundles, tracker.stats().swarms), (2, 2));
    assert!(tracker.knows(&small(1..4)));
    assert_eq!(tracker.members(&small(1..4)).as_deref(), Some(identities(1..4).as_slice()));
}

#[test]
fn the_order_of_a_request_does_not_change_the_bundle() {
    let forwards = assign(&mut tracker(100), 0..50, 0);
    let backwards = assign(&mut tracker(100), (0..50).rev(), 0);
    assert_eq!(forwards, backwards);
}

#[test]
fn a_bundle_holds_one_class_and_no_more_than_its_limits() {
    let mut formed = Vec::new();
    let mut assign = |packages: &[HomePackage]| {
        formed.clear();
        let mut forming = Forming(|piece_len, members: &[Sha256Digest]| {
            formed.push((piece_len, members.to_vec()));
            form(piece_len, members)
        });
        let mut shares = tracker(1000).assign(packages, Duration::ZERO, &mut forming);
        shares.sort_by_key(|share| share.members.first().copied());
        (shares.iter().map(|share| share.members.len()).collect::<Vec<_>>(), formed.clone())
    };
    let of_class = |number: u32| HomePackage {
        identity: identity(number),
        piece_len: PieceLen::ALL[number as usize % 3],
        pieces: 1,
    };
    let (_, classes) = assign(&(0..9).map(of_class).collect::<Vec<_>>());
    let expected = [(0, PieceLen::Small), (1, PieceLen::Medium), (2, PieceLen::Large)];
    assert_eq!(classes, expected.map(|(n, class)| (class, identities([n, n + 3, n + 6]))));

    let (many, _) = assign(&packages(0..BUNDLE_PACKAGES_MAX as u32 + 1));
    assert_eq!(many, [BUNDLE_PACKAGES_MAX, 1]);
    let with_pieces = |pieces: &[u32]| -> Vec<HomePackage> {
        let numbered = packages(0..pieces.len() as u32).into_iter().zip(pieces);
        numbered.map(|(package, &pieces)| HomePackage { pieces, ..package }).collect()
    };
    let (full, _) = assign(&with_pieces(&[BUNDLE_PIECES_MAX - 1, 1, 1]));
    assert_eq!(full, [2, 1]);
    let (unfit, _) = assign(&with_pieces(&[0, BUNDLE_PIECES_MAX + 1, u32::MAX, BUNDLE_PIECES_MAX]));
    assert_eq!(unfit, [1], "what fits no bundle is in none");
}

#[test]
fn a_home_that_nobody_uses_gives_way_to_what_is_asked_together_now() {
    let mut tracker = tracker(100);
    assign(&mut tracker, 1..4, 0);
    assert_eq!(assign(&mut tracker, 2..6, IDLE - 1)[0].members.len(), 2, "still live");
    // That call planned it, so it lives another hour, and then not.
    let moved = assign(&mut tracker, 2..6, 2 * IDLE);
    assert_eq!(moved, [Share { info_hash: small(2..6), formed: true, members: identities(2..6) }]);
    assert_eq!(tracker.homes_generation(), 4, "four packages moved");
    assert_eq!(expire(&mut tracker, 2 * IDLE), [small(4..6)], "nobody's home; the other is still that of 1");
    assert!(tracker.knows(&small(1..4)));
    assign(&mut tracker, [1], 2 * IDLE);
    assert_eq!(expire(&mut tracker, 2 * IDLE), [small(1..4)]);
    assert_eq!(expire(&mut tracker, 2 * IDLE), [], "each is reported once");
}

#[test]
fn the_same_packages_revive_their_dead_bundle() {
    let mut tracker = tracker(100);
    assign(&mut tracker, 1..4, 0);
    assert_eq!(expire(&mut tracker, 10 * IDLE), [], "a dead home stays while there is room");
    let revived = assign(&mut tracker, 1..4, 10 * IDLE);
    assert_eq!(revived, [Share { info_hash: small(1..4), formed: false, members: identities(1..4) }]);
    assert_eq!(tracker.homes_generation(), 0);
    assert_eq!(assign(&mut tracker, 1..3, 11 * IDLE - 1)[0].info_hash, small(1..4), "it is live");
}

#[test]
fn peers_announces_and_plans_keep_a_home_alive() {
    let home_after = |keep: &dyn Fn(&mut Tracker), now| {
        let mut tracker = tracker(100);
        assign(&mut tracker, 1..4, 0);
        keep(&mut tracker);
        assign(&mut tracker, 2..6, now).iter().any(|share| share.info_hash == small(1..4))
    };
    assert!(!home_after(&|_| (), IDLE));
    assert!(home_after(&|tracker| assert!(tracker.touch(&small(1..4), seconds(5))), IDLE));
    let planned = |tracker: &mut Tracker| assert_eq!(assign(tracker, [1], 5).len(), 1);
    assert!(home_after(&planned, IDLE + 4), "a plan for any of its packages will do");
    let announced = |tracker: &mut Tracker| announce(tracker, small(1..4), Some(Event::Stopped), 5);
    assert!(home_after(&announced, IDLE + 4), "announced within the hour, though nobody is there");
    assert!(!home_after(&announced, IDLE + 5));
    let populated = |tracker: &mut Tracker| announce(tracker, small(1..4), None, 5);
    assert!(home_after(&populated, 9 * IDLE), "with peers");
    let emptied = |tracker: &mut Tracker| {
        announce(tracker, small(1..4), None, 5);
        tracker.expire(seconds(1000));
    };
    assert!(!home_after(&emptied, 9 * IDLE), "whose peers are gone");
    assert!(!tracker(100).touch(&small(1..4), Duration::ZERO), "unknown");
}

#[test]
fn who_touches_too_many_homes_gets_one_of_their_size() {
    let mut tracker = tracker(100);
    for number in 0..40 {
        assign(&mut tracker, [2 * number, 2 * number + 1], 0);
    }
    let few = assign(&mut tracker, (0..18).step_by(2), 1);
    assert_eq!(few.len(), 9, "nine are not too many for nine packages");
    let many = assign(&mut tracker, (0..40).step_by(2), 2);
    let expected = Share { info_hash: small(0..40), formed: true, members: identities((0..40).step_by(2)) };
    assert_eq!(many, [expected], "whole homes were merged, and the plan names what was asked for");
    assert_eq!(assign(&mut tracker, 10..20, 3).len(), 1, "nor is anybody else's plan longer");
    assert_eq!(assign(&mut tracker, 70..72, 3)[0].info_hash, small(70..72), "what was not touched stays");
    let merged = (0..20).map(|home| small(2 * home..2 * home + 2)).collect::<Vec<_>>();
    announce(&mut tracker, merged[0], None, IDLE);
    let over = expire(&mut tracker, IDLE + 5);
    assert_eq!(over.len(), merged.len() - 1, "nobody's homes any more");
    assert!(!over.contains(&merged[0]), "its peers go on");
}

#[test]
fn new_packages_are_merged_with_what_they_are_asked_with() {
    let mut tracker = tracker(100);
    for number in 0..10 {
        assign(&mut tracker, [number], 0);
    }
    let shares = assign(&mut tracker, 0..12, 1);
    assert_eq!(shares, [Share { info_hash: small(0..12), formed: true, members: identities(0..12) }]);
}

#[test]
fn a_package_that_is_gone_from_the_repository_stays_with_its_peers() {
    /// Knows all packages but one.
    struct Without(Sha256Digest);
    impl Bundler for Without {
        fn can_move(&mut self, identity: &Sha256Digest, _: PieceLen) -> bool {
            *identity != self.0
        }
        fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
            form(piece_len, members)
        }
    }
    let mut tracker = tracker(100);
    for number in 0..20 {
        assign(&mut tracker, [2 * number, 2 * number + 1], 0);
    }
    let gone = identity(7);
    let wanted = packages((0..40).step_by(2));
    let shares = tracker.assign(&wanted, seconds(1), &mut Without(gone));
    tracker.check_invariants();
    assert_eq!(shares[0].info_hash, small((0..40).filter(|number| *number != 7)));
    assert_eq!(tracker.home_of(&gone), Some(small(6..8)));
}

#[test]
fn a_registered_bundle_is_no_home_and_goes_when_it_is_idle() {
    let mut tracker = tracker(100);
    let whole_set = InfoHash([9; 20]);
    assert!(tracker.register(whole_set, seconds(0)));
    assert!(!tracker.register(whole_set, seconds(10)));
    assert_eq!(tracker.members(&whole_set).as_deref(), Some([].as_slice()));
    announce(&mut tracker, whole_set, None, 20);
    tracker.check_invariants();
    assert_eq!(expire(&mut tracker, 20 + IDLE - 1), []);
    assert_eq!(expire(&mut tracker, 20 + IDLE), [whole_set]);
    assert_eq!(tracker.count(&whole_set), None, "its swarm went too");
    assert_eq!(tracker.homes_generation(), 1);
}

#[test]
fn a_registered_bundle_becomes_a_home_when_the_same_one_is_formed() {
    let mut tracker = tracker(100);
    tracker.register(small(1..4), seconds(0));
    assert!(!assign(&mut tracker, 1..4, 1)[0].formed);
    assert_eq!(tracker.members(&small(1..4)).as_deref(), Some(identities(1..4).as_slice()));
    assert_eq!(expire(&mut tracker, 9 * IDLE), [], "it is a home now");
}

#[test]
fn beyond_the_limit_the_oldest_goes_and_those_with_peers_last() {
    let mut tracker = tracker(4);
    let with_peers = small([0]);
    assign(&mut tracker, [0], 0);
    announce(&mut tracker, with_peers, None, 0);
    for number in 1..4 {
        assign(&mut tracker, [number], 100 + u64::from(number));
    }
    tracker.touch(&small([1]), seconds(200));
    assign(&mut tracker, [4], 300);
    assert!(!tracker.knows(&small([2])), "used least recently of those without peers");
    assert_eq!(tracker.count(&small([2])), None, "gone with its swarm at once");
    assign(&mut tracker, [5], 301);
    assign(&mut tracker, [6], 302);
    assert_eq!(tracker.stats().bundles, 4);
    assert!(tracker.knows(&with_peers));
    let mut dropped = identities(1..4).iter().map(|it| form(PieceLen::Small, &[*it])).collect::<Vec<_>>();
    dropped.sort_unstable();
    let generation = tracker.homes_generation();
    assert_eq!(generation, 3);
    assert_eq!(tracker.expire(seconds(0)).bundles, dropped);
    assert_eq!(assign(&mut tracker, [2], 400)[0].info_hash, small([2]), "it is formed again");
}

#[test]
fn bundles_with_peers_go_only_when_there_is_nothing_else() {
    let mut tracker = tracker(3);
    for number in 0..3 {
        assign(&mut tracker, [number], u64::from(number));
        announce(&mut tracker, small([number]), None, 10 - u64::from(number));
    }
    assign(&mut tracker, [3], 20);
    assert!(!tracker.knows(&small([2])), "the one that was announced least recently");
    assign(&mut tracker, [4], 80);
    assert_eq!(expire(&mut tracker, 80).len(), 2);
    assert!(tracker.knows(&small([0])) && tracker.knows(&small([1])), "the one without peers went");
}

#[test]
fn a_plan_never_loses_its_own_bundles_to_the_limit() {
    let mut tracker = tracker(2);
    assign(&mut tracker, [1], 0);
    assign(&mut tracker, [2], 1);
    let each_its_class =
        |number: u32, piece_len| HomePackage { identity: identity(number), piece_len, pieces: 1 };
    let mut wanted = packages([1]);
    wanted.extend(PieceLen::ALL.map(|piece_len| each_its_class(10 + piece_len as u32, piece_len)));
    let shares = tracker.assign(&wanted, seconds(50), &mut Forming(form));
    tracker.check_invariants();
    assert_eq!(shares.len(), 4);
    assert!(shares.iter().all(|share| tracker.knows(&share.info_hash)));
    assert_eq!(expire(&mut tracker, 50), [small([2])]);
    assign(&mut tracker, [20], 51);
    assert_eq!(tracker.stats().bundles, 2, "the next one makes up for it");
}

#[test]
fn what_is_formed_again_before_its_end_was_reported_is_not_reported() {
    let mut tracker = tracker(1);
    assign(&mut tracker, [1], 0);
    assign(&mut tracker, [2], 1);
    assert!(assign(&mut tracker, [1], 2)[0].formed);
    assert_eq!(expire(&mut tracker, 2), [small([2])]);
    assert!(tracker.count(&small([1])).is_some());
}

#[test]
fn homes_survive_a_restart_and_the_last_one_wins() {
    let mut tracker = tracker(100);
    tracker.restore(small(1..4), &packages(1..4), seconds(0));
    tracker.restore(small(3..6), &packages(3..6), seconds(0));
    tracker.check_invariants();
    let shares = assign(&mut tracker, 1..6, 10);
    assert!(shares.iter().all(|share| !share.formed));
    let members =
        |info_hash| shares.iter().find(|share| share.info_hash == info_hash).map(|it| it.members.clone());
    assert_eq!(members(small(1..4)), Some(identities(1..3)));
    assert_eq!(members(small(3..6)), Some(identities(3..6)));
    announce(&mut tracker, small(1..4), None, 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whoever asks for whatever: packages that live together do so ever after, no plan has more homes than it may, and
    /// no package moves more often than a bundle can double.
    #[test]
    fn no_request_parts_what_lives_together(
        requests in proptest::collection::vec(proptest::collection::btree_set(0_u32..300, 1..40), 1..120),
    ) {
        let mut tracker = tracker(1000);
        let mut former: Vec<Option<InfoHash>> = vec![None; 300];
        let mut moves = vec![0; 300];
        for wanted in requests {
            let homes_max = super::merging::homes_max(wanted.len());
            let shares = assign(&mut tracker, wanted, 0);
            prop_assert!(shares.len() <= homes_max, "{} homes", shares.len());
            let homes: Vec<_> = (0..300).map(|number| tracker.home_of(&identity(number))).collect();
            for (number, home) in former.iter().enumerate().filter(|(_, home)| home.is_some()) {
                moves[number] += u32::from(homes[number] != *home);
                let neighbour = former[number + 1..].iter().position(|other| other == home);
                let neighbour = neighbour.map_or(number, |at| number + 1 + at);
                prop_assert_eq!(homes[number], homes[neighbour]);
            }
            former = homes;
        }
        prop_assert!(moves.into_iter().all(|moves| moves <= 300_u32.ilog2()));
    }

    /// Plans, peers and time in any order: every wanted package is in exactly one share, that share's bundle is known,
    /// two plans within the idle time put a package into the same one unless the limit interfered, and what was
    /// remembered under the same generation still holds.
    #[test]
    fn every_package_has_one_home(
        bundles_max in 3_usize..40,
        steps in proptest::collection::vec((0_u8..10, 0_u32..30, 1_u32..8, 0_u64..2000), 1..80),
    ) {
        let mut tracker = tracker(bundles_max);
        let mut now = 0;
        let mut remembered: Vec<(u64, Vec<Share>)> = Vec::new();
        for (kind, start, len, waited) in steps {
            now += waited;
            let wanted = start..start + len;
            match kind {
                0..6 => {
                    let shares = tracker.assign(&packages(wanted.clone()), seconds(now), &mut Forming(form));
                    let mut members: Vec<_> = shares.iter().flat_map(|share| share.members.clone()).collect();
                    members.sort_unstable();
                    prop_assert_eq!(members, identities(wanted));
                    prop_assert!(shares.iter().all(|share| tracker.knows(&share.info_hash)));
                    prop_assert!(shares.is_sorted_by_key(|share| share.info_hash));
                    remembered.push((tracker.homes_generation(), shares));
                }
                6 => { tracker.register(small(wanted), seconds(now)); }
                7 => {
                    if let Some(share) = remembered.last().and_then(|(_, shares)| shares.first())
                        && tracker.knows(&share.info_hash)
                    {
                        announce(&mut tracker, share.info_hash, None, now);
                    }
                }
                _ => {
                    let expired = tracker.expire(seconds(now)).bundles;
                    prop_assert!(expired.iter().all(|info_hash| !tracker.knows(info_hash)));
                }
            }
            tracker.check_invariants();
            prop_assert!(tracker.stats().bundles <= bundles_max.max(8));
            remembered.retain(|(generation, _)| *generation == tracker.homes_generation());
            for share in remembered.iter().flat_map(|(_, shares)| shares) {
                prop_assert!(tracker.knows(&share.info_hash));
                for member in &share.members {
                    prop_assert_eq!(tracker.home_of(member), Some(share.info_hash));
                }
            }
        }
    }
}
