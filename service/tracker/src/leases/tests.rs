//! What hosts can count on, one promise each.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};
use rand_pcg::Pcg64Mcg;

use super::granting::{STARVED_BRINGERS_MAX, STARVED_MAX, STARVED_PIECES_MIN};
use super::{LeaseCounts, Leases, STRETCHES_MAX, Speaker, Stretch, Terms};
use crate::lid::Lid;

const TTL: Duration = Duration::from_secs(10);
const PIECE_LEN: u32 = 32 << 10;

/// The leases of a swarm with so many pieces, and what hosts say.
pub(super) struct Swarm {
    pub(super) leases: Leases,
    pub(super) counts: LeaseCounts,
    pub(super) pieces: u32,
    pub(super) at_once: u32,
    pub(super) seeded: bool,
    second_hand: bool,
    pub(super) millis: u64,
    pub(super) lid: Option<Lid>,
    random: Pcg64Mcg,
}

impl Swarm {
    pub(super) fn new(pieces: u32) -> Self {
        let (leases, counts, random) = (Leases::default(), LeaseCounts::default(), Pcg64Mcg::new(7));
        let (at_once, seeded, second_hand, millis, lid) = (1, false, false, 0, None);
        Self { leases, counts, pieces, at_once, seeded, second_hand, millis, lid, random }
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.millis)
    }

    pub(super) fn say(&mut self, host: u8, wish: &LeaseWish) -> Vec<PieceRange> {
        let now = self.now();
        let mut terms = Terms {
            ttl: TTL,
            random: &mut self.random,
            counts: &mut self.counts,
            lid: self.lid.as_mut(),
            is_in_vain: false,
        };
        let speaker = Speaker {
            address: address(host),
            complete: false,
            pieces: self.pieces,
            piece_len: PIECE_LEN,
            at_once: self.at_once,
            seeded: self.seeded,
            second_hand: self.second_hand,
        };
        let lease = self.leases.answer(&speaker, wish, now, &mut terms);
        self.leases.check_invariants();
        lease
    }

    fn wants(&mut self, host: u8) -> Vec<PieceRange> {
        self.say(host, &wants())
    }

    fn wants_of(&mut self, host: u8, lacks: &[PieceRange]) -> Vec<PieceRange> {
        self.say(host, &LeaseWish { lacks: lacks.to_vec(), ..wants() })
    }

    fn got(&mut self, host: u8, got: &[PieceRange]) -> Vec<PieceRange> {
        self.say(host, &LeaseWish { got: got.to_vec(), ..LeaseWish::default() })
    }

    fn starves(&mut self, host: u8, lacks: &[PieceRange]) -> Vec<PieceRange> {
        self.say(host, &LeaseWish { lacks: lacks.to_vec(), starved: true, ..LeaseWish::default() })
    }

    pub(super) fn leave(&mut self, host: u8) {
        self.leases.forget(address(host), self.seeded);
        self.leases.check_invariants();
    }

    fn wait(&mut self, millis: u64) {
        self.millis += millis;
    }
}

pub(super) fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 6881))
}

fn wants() -> LeaseWish {
    LeaseWish { wants: true, ..LeaseWish::default() }
}

impl Leases {
    /// Panics unless stretches, hosts and pieces say the same.
    pub(crate) fn check_invariants(&self) {
        let mut end_before = 0;
        for (&start, stretch) in &self.stretches {
            assert!(start >= end_before && start < stretch.end && stretch.end <= self.pieces());
            end_before = stretch.end;
        }
        assert!(self.stretches.len() <= STRETCHES_MAX);
        for (host, known) in &self.hosts {
            let own = self.stretches.iter().filter(|(_, it)| it.holder == *host);
            assert_eq!(known.held, own.map(|(start, it)| it.end - start).sum::<u32>());
            assert_eq!(known.sole as usize, self.sole.iter().filter(|sole| **sole == Some(*host)).count());
            assert!(known.held > 0 || known.sole > 0, "nothing to remember of {host}");
        }
        let is_known = |host: &SocketAddr| self.hosts.contains_key(host);
        assert!(self.stretches.values().all(|stretch| is_known(&stretch.holder)));
        assert!(self.sole.iter().flatten().all(is_known));
        let pieces = 0..self.pieces();
        let free = pieces.filter(|&piece| self.copies[piece as usize] == 0 && !self.is_leased(piece)).count();
        assert_eq!(self.free as usize, free);
        for (copies, sole) in self.copies.iter().zip(&self.sole) {
            assert!(sole.is_none() || *copies == 1);
        }
    }

    /// Who holds each piece.
    pub(super) fn holders(&self) -> Vec<Option<SocketAddr>> {
        let holder = |piece: u32| {
            let (_, stretch) = self.stretches.range(..=piece).next_back()?;
            (piece < stretch.end).then_some(stretch.holder)
        };
        (0..self.pieces()).map(holder).collect()
    }
}

#[test]
fn the_first_host_is_leased_all_that_it_wants() {
    let mut swarm = Swarm::new(100);
    assert_eq!(
        swarm.wants_of(1, &[(0, 10), (50, 5), (40, 2), (55, 1), (99, 9)]),
        [(0, 10), (40, 2), (50, 6), (99, 1)]
    );
    let mut swarm = Swarm::new(100);
    assert_eq!(swarm.wants(1), [(0, 100)]);
    assert_eq!(swarm.counts, LeaseCounts { granted: 1, ..LeaseCounts::default() });
}

#[test]
fn where_pieces_are_brought_from_another_site_few_starved_hosts_are_leased_little() {
    let given = |second_hand, seeded| {
        let mut swarm = Swarm { second_hand, seeded, ..Swarm::new(100) };
        swarm.got(99, &[(0, 100)]);
        let leases = (0..20).map(|host| swarm.starves(host, &[(0, 100)]));
        let pieces = leases.map(|lease| lease.iter().map(|(_, len)| *len).sum::<u32>());
        pieces.filter(|pieces| *pieces > 0).collect::<Vec<u32>>()
    };
    assert_eq!(given(true, false), [STARVED_PIECES_MIN; STARVED_BRINGERS_MAX]);
    assert_eq!(given(false, false), [100], "all that there is");
    assert_eq!(given(true, true), [100], "of seeds nobody brings anything");
}

#[test]
fn who_comes_later_takes_the_second_half_of_the_longest_stretch() {
    let mut swarm = Swarm::new(100);
    swarm.wants(1);
    assert_eq!(swarm.wants(2), [(50, 50)]);
    assert_eq!(swarm.got(1, &[(0, 11)]), [(11, 39)], "what it has got is no lease any more");
    assert_eq!(swarm.wants(3), [(75, 25)]);
    assert_eq!(swarm.wants(4), [(31, 19)], "half of 39, the smaller one");
    assert_eq!(swarm.got(1, &[]), [(11, 20)], "the holder learns of it");
    assert_eq!(swarm.counts, LeaseCounts { granted: 4, stolen: 3, ..LeaseCounts::default() });
}

#[test]
fn only_what_is_wanted_is_taken() {
    let mut swarm = Swarm::new(100);
    swarm.wants(1);
    assert_eq!(swarm.wants_of(2, &[(10, 4), (30, 10)]), [(35, 5)]);
    assert_eq!(swarm.got(1, &[]), [(0, 35), (40, 60)]);
    assert_eq!(swarm.wants_of(3, &[(20, 1)]), [(20, 1)]);
    assert_eq!(swarm.wants_of(4, &[(0, 1)]), [], "its holder is at this one");
    assert_eq!(swarm.wants_of(4, &[(200, 1)]), []);
}

#[test]
fn the_last_piece_of_a_stretch_is_taken_only_from_who_brings_nothing() {
    let mut swarm = Swarm::new(1);
    assert_eq!(swarm.wants(1), [(0, 1)]);
    assert_eq!(swarm.wants(2), []);
    swarm.wait(5_000);
    assert_eq!(swarm.wants(2), []);
    swarm.wait(1);
    assert_eq!(swarm.wants(2), [(0, 1)]);
    assert_eq!(swarm.got(1, &[]), []);
}

#[test]
fn who_holds_something_takes_only_from_who_holds_more() {
    let mut swarm = Swarm::new(64);
    swarm.wants(1);
    assert_eq!(swarm.wants(2), [(32, 32)]);
    assert_eq!(swarm.wants(2), [(32, 32)]);
    assert_eq!(swarm.got(2, &[(32, 1)]), [(33, 31)]);
    assert_eq!(swarm.wants(2), [(16, 16), (33, 31)]);
}

#[test]
fn a_lease_that_is_not_renewed_goes_to_the_next_who_asks() {
    let mut swarm = Swarm::new(8);
    swarm.wants(1);
    swarm.wait(9_000);
    assert_eq!(swarm.got(1, &[(0, 2)]), [(2, 6)]);
    swarm.wait(10_000);
    assert_eq!(swarm.wants(2), [(5, 3)], "half of what is still renewed");
    swarm.wait(100);
    assert_eq!(swarm.wants(3), [(2, 3)], "all of what is not");
    assert_eq!(swarm.got(1, &[]), []);
    assert_eq!(swarm.counts.expired, 1);
}

#[test]
fn a_host_that_is_late_keeps_what_nobody_else_wanted() {
    let mut swarm = Swarm::new(8);
    swarm.wants(1);
    swarm.wait(60_000);
    assert_eq!(swarm.wants(1), [(0, 8)]);
}

#[test]
fn what_is_given_back_or_left_behind_is_free() {
    let mut swarm = Swarm::new(8);
    swarm.wants(1);
    let returned = LeaseWish { got: vec![(0, 2)], returned: true, ..LeaseWish::default() };
    assert_eq!(swarm.say(1, &returned), []);
    assert_eq!(swarm.wants(2), [(2, 6)]);
    swarm.leave(2);
    assert_eq!(swarm.wants(3), [(2, 6)], "the first host still has its two pieces");
    swarm.leave(1);
    assert_eq!(swarm.wants(3), [(0, 8)], "nobody has them any more");
}

#[test]
fn what_several_have_or_a_seed_has_stays_out_when_one_leaves() {
    let mut swarm = Swarm::new(4);
    swarm.got(1, &[(0, 4)]);
    swarm.got(2, &[(0, 2)]);
    swarm.leave(1);
    assert_eq!(swarm.wants(3), [(2, 2)]);
    swarm.got(3, &[(2, 2)]);
    swarm.seeded = true;
    swarm.leave(3);
    swarm.seeded = false;
    assert_eq!(swarm.wants(4), []);
}

#[test]
fn a_seeded_swarm_leases_nothing_and_ends_no_lease() {
    let mut swarm = Swarm::new(8);
    swarm.wants_of(1, &[(0, 4)]);
    swarm.seeded = true;
    assert_eq!(swarm.wants(2), []);
    assert_eq!(swarm.got(1, &[]), [(0, 4)]);
}

#[test]
fn who_has_everything_holds_nothing() {
    let mut swarm = Swarm::new(8);
    swarm.wants(1);
    let speaker = Speaker {
        address: address(1),
        complete: true,
        pieces: 8,
        piece_len: 1,
        at_once: 1,
        seeded: true,
        second_hand: false,
    };
    let (random, counts) = (&mut Pcg64Mcg::new(1), &mut LeaseCounts::default());
    let mut terms = Terms { ttl: TTL, random, counts, lid: None, is_in_vain: false };
    assert_eq!(swarm.leases.answer(&speaker, &wants(), Duration::ZERO, &mut terms), []);
    swarm.leases.check_invariants();
}

#[test]
fn a_starved_host_gets_a_share_of_what_it_lacks_although_others_have_it() {
    let mut swarm = Swarm::new(100);
    swarm.got(1, &[(0, 100)]);
    swarm.got(2, &[(0, 90)]);
    assert_eq!(swarm.wants(3), []);
    assert_eq!(swarm.starves(3, &[(40, 60)]), [(40, 60)], "the only one");
    assert_eq!(swarm.starves(4, &[(0, 100)]), [(0, 40)], "another one may not have the same");
    assert_eq!(swarm.got(1, &[(40, 10)]), []);
    assert_eq!(swarm.got(3, &[(40, 5)]), [(45, 55)], "it is still starved if others have its pieces");
    assert_eq!(swarm.starves(4, &[(0, 100)]), [(0, 40)]);
    assert_eq!(swarm.counts, LeaseCounts { granted: 3, starved: 3, ..LeaseCounts::default() });
}

#[test]
fn a_starved_host_gets_what_is_leased_to_one_that_reports_no_more() {
    let mut swarm = Swarm::new(100);
    swarm.wants_of(1, &[(0, 60)]);
    swarm.wants_of(2, &[(60, 40)]);
    swarm.seeded = true;
    swarm.millis = 1_000;
    swarm.got(2, &[]);
    swarm.millis = 2_000;
    assert_eq!(swarm.wants(3), [], "the lease has not run out");
    assert_eq!(swarm.starves(3, &[(0, 100)]), [(0, 60)]);
    assert_eq!(swarm.got(2, &[]), [(60, 40)], "who reports keeps what it holds");
}

#[test]
fn a_starved_host_gets_first_what_the_fewest_have() {
    let mut swarm = Swarm::new(100);
    swarm.got(1, &[(0, 100)]);
    swarm.got(2, &[(0, 100)]);
    swarm.got(3, &[(0, 50), (60, 40)]);
    assert_eq!(swarm.starves(4, &[(0, 1)]), [(0, 1)], "so there is one already");
    assert_eq!(
        swarm.starves(5, &[(40, 32)]),
        [(50, 16)],
        "half of it: ten that two have, and six of the others"
    );
}

#[test]
fn only_so_many_starve_at_once() {
    let mut swarm = Swarm::new(200);
    swarm.got(100, &[(0, 200)]);
    let leases: Vec<u32> =
        (0..20).map(|host| swarm.starves(host, &[(0, 200)]).iter().map(|range| range.1).sum()).collect();
    assert_eq!(
        leases.iter().filter(|&&pieces| pieces > 0).count(),
        1,
        "the first may have all that it lacks"
    );
    let mut swarm = Swarm::new(200);
    swarm.got(100, &[(0, 200)]);
    let lacks = |host: u8| [(u32::from(host) * 10, 10)];
    let served = (0..20).filter(|&host| !swarm.starves(host, &lacks(host)).is_empty()).count();
    assert_eq!(served, STARVED_MAX);
    swarm.got(0, &[(0, 10)]);
    assert_eq!(swarm.starves(19, &lacks(19)).len(), 1, "one is done, another may");
    swarm.wait(9_000);
    (0..20).for_each(|host| drop(swarm.got(host, &[])));
    swarm.wait(1_001);
    assert_eq!(swarm.starves(18, &lacks(18)).len(), 1, "those that have brought nothing make room");
}

#[test]
fn who_has_nothing_goes_before_who_has_something() {
    let mut swarm = Swarm::new(9);
    swarm.wants_of(1, &[(0, 1)]);
    swarm.wants_of(2, &[(1, 8)]);
    assert_eq!(swarm.wants_of(3, &[(0, 1)]), []);
    swarm.leave(2);
    assert_eq!(swarm.wants(1), [(0, 1)], "the third waits");
    assert_eq!(swarm.wants(3), [(1, 8)]);
    swarm.say(3, &LeaseWish { returned: true, ..LeaseWish::default() });
    swarm.wants_of(4, &[(0, 1)]);
    swarm.wait(2_001);
    assert_eq!(swarm.wants(1), [(0, 9)], "who has not asked again does not wait");
}

#[test]
fn stretches_have_an_end() {
    let mut swarm = Swarm::new(65_536);
    let odd: Vec<PieceRange> = (0..32_768).map(|n| (2 * n, 1)).collect();
    let lease = swarm.wants_of(1, &odd);
    assert_eq!(lease.len(), STRETCHES_MAX);
    let mut swarm = Swarm::new(65_536);
    swarm.wants(1);
    let lease = swarm.got(1, &odd);
    assert_eq!(lease.len(), STRETCHES_MAX, "one that leaves holes everywhere loses the rest");
    assert_eq!(swarm.wants(2).len(), 0);
}

#[test]
fn a_host_that_only_asks_is_not_remembered() {
    let mut swarm = Swarm::new(1);
    swarm.wants(1);
    (2..250).for_each(|host| drop(swarm.wants(host)));
    assert_eq!(swarm.leases.hosts.len(), 1);
}

#[test]
fn a_lease_remembers_since_when() {
    let mut swarm = Swarm::new(2);
    swarm.wait(3);
    swarm.wants(1);
    let stretch = Stretch { end: 2, holder: address(1), since: swarm.now(), starved: false };
    assert_eq!(swarm.leases.stretches[&0], stretch);
}

#[test]
fn a_holder_that_is_twice_as_slow_as_others_loses_what_it_is_at() {
    let mut swarm = Swarm::new(40);
    assert_eq!(swarm.wants(1), [(0, 40)]);
    assert_eq!(swarm.wants(2), [(20, 20)]);
    // The first brings nothing, the second a piece each second.
    for piece in 20..23 {
        swarm.wait(1000);
        swarm.got(2, &[(piece, 1)]);
        swarm.say(1, &LeaseWish::default());
    }
    assert_eq!(swarm.wants_of(3, &[(0, 1)]), [(0, 1)], "three seconds, and others take one");
}

#[test]
fn a_holder_that_is_as_slow_as_others_keeps_what_it_is_at() {
    let mut swarm = Swarm::new(40);
    swarm.wants(1);
    swarm.wants(2);
    swarm.wait(3000);
    swarm.got(2, &[(20, 1)]);
    assert_eq!(swarm.wants_of(3, &[(0, 1)]), []);
}

#[test]
fn what_a_holder_fetches_at_once_is_not_taken_from_it() {
    let mut swarm = Swarm::new(8);
    swarm.at_once = 4;
    assert_eq!(swarm.wants(1), [(0, 8)]);
    assert_eq!(swarm.wants(2), [(4, 4)]);
    assert_eq!(swarm.wants(3), [], "both are at all that they hold");
    swarm.wait(1000);
    swarm.got(1, &[(0, 4)]);
    assert_eq!(swarm.wants(1), [], "the other is at it");
}

/// A lid of a piece in each of 250 ms, and stretches of one piece.
fn lidded(pieces: u32) -> Swarm {
    Swarm { lid: Some(Lid::new(4 * u64::from(PIECE_LEN))), ..Swarm::new(pieces) }
}

#[test]
fn under_a_lid_nobody_is_leased_all_and_who_comes_later_gets_the_next() {
    let mut swarm = lidded(8);
    assert_eq!(swarm.wants(1), [(0, 1)]);
    assert_eq!(swarm.wants(2), [], "the lid is reached");
    swarm.wait(250);
    assert_eq!(swarm.wants(2).len(), 1);
    assert_eq!(swarm.wants(3), []);
}

#[test]
fn under_a_lid_holders_keep_what_they_hold_and_hand_it_on() {
    let mut swarm = lidded(8);
    swarm.wants(1);
    assert_eq!(swarm.wants(1), [(0, 1)], "asking again costs nothing");
    swarm.leave(1);
    swarm.wait(250);
    assert_eq!(swarm.wants(2), [(0, 1)], "what a host that has gone held is free");
}

#[test]
fn under_a_lid_first_copies_go_before_what_others_have() {
    let mut swarm = lidded(4);
    swarm.got(9, &[(0, 2)]);
    swarm.wait(1000);
    assert_eq!(swarm.wants_of(1, &[(2, 2)]).len(), 1);
    assert_eq!(swarm.starves(2, &[(0, 2)]), [], "what is left is kept for first copies");
    swarm.wait(100);
    assert_eq!(swarm.starves(2, &[(0, 2)]), []);
    assert_eq!(swarm.wants_of(3, &[(2, 2)]).len(), 1);
    swarm.wait(1000);
    assert_eq!(swarm.starves(2, &[(0, 2)]).len(), 1);
}

#[test]
fn under_a_lid_nothing_is_taken_from_a_holder_that_brings_some() {
    let mut swarm = Swarm { lid: Some(Lid::new(32 * u64::from(PIECE_LEN))), ..Swarm::new(4) };
    assert_eq!(swarm.wants(1), [(0, 4)]);
    assert_eq!(swarm.wants(2), []);
    swarm.wait(9_000);
    swarm.say(1, &LeaseWish::default());
    assert_eq!(swarm.wants(2).len(), 1, "it has brought nothing");
}
