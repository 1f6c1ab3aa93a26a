//! Random histories: what must hold whatever hosts say, against a list of who reported what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};
use proptest::prelude::*;

use super::tests::{Swarm, address};

const PIECES: u32 = 40;
const HOSTS: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Say(u8, LeaseWish),
    Leave(u8),
    Seeded(bool),
    Wait(u64),
}

fn any_ranges() -> impl Strategy<Value = Vec<PieceRange>> {
    proptest::collection::vec((0..PIECES + 4, 0_u32..12), 0..4)
}

fn any_wish() -> impl Strategy<Value = LeaseWish> {
    let got = prop_oneof![3 => Just(Vec::new()), 1 => any_ranges()];
    let flags = [0.1, 0.2, 0.7].map(proptest::bool::weighted);
    (got, any_ranges(), flags).prop_map(|(got, lacks, [returned, starved, wants])| LeaseWish {
        got,
        lacks,
        returned,
        starved,
        wants,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..HOSTS, any_wish()).prop_map(|(host, wish)| Step::Say(host, wish)),
        1 => (0..HOSTS).prop_map(Step::Leave),
        1 => proptest::bool::weighted(0.2).prop_map(Step::Seeded),
        3 => (0_u64..6_000).prop_map(Step::Wait),
    ]
}

fn pieces(ranges: &[PieceRange]) -> BTreeSet<u32> {
    ranges.iter().flat_map(|&(first, len)| first..(first + len).min(PIECES)).collect()
}

/// Who is in the swarm and has said to have which piece.
type Reporters = BTreeMap<u32, BTreeSet<u8>>;

fn run(swarm: &mut Swarm, steps: Vec<Step>) {
    let mut reporters = Reporters::new();
    for step in steps {
        match step {
            Step::Leave(host) => {
                swarm.leave(host);
                assert!(!swarm.leases.holders().contains(&Some(address(host))));
                for hosts in reporters.values_mut() {
                    hosts.remove(&host);
                }
            }
            Step::Seeded(seeded) => swarm.seeded = seeded,
            Step::Wait(millis) => swarm.millis += millis,
            Step::Say(host, wish) => {
                let before = swarm.leases.holders();
                let lease = pieces(&swarm.say(host, &wish));
                for piece in pieces(&wish.got) {
                    reporters.entry(piece).or_default().insert(host);
                }
                let change = Change { host, wish, before, after: swarm.leases.holders() };
                change.check_answer(&lease);
                change.check_new(&reporters, swarm.seeded);
            }
        }
    }
}

/// What one host has said, and who held each piece before and after.
struct Change {
    host: u8,
    wish: LeaseWish,
    before: Vec<Option<SocketAddr>>,
    after: Vec<Option<SocketAddr>>,
}

impl Change {
    fn own(&self, holders: &[Option<SocketAddr>]) -> BTreeSet<u32> {
        let is_own = |piece: &u32| holders.get(*piece as usize) == Some(&Some(address(self.host)));
        (0..PIECES).filter(is_own).collect()
    }

    /// A host is told exactly what it holds, and holds nothing that it says to have or to give back.
    fn check_answer(&self, lease: &BTreeSet<u32>) {
        assert_eq!(*lease, self.own(&self.after));
        let kept: BTreeSet<u32> =
            self.own(&self.before).difference(&pieces(&self.wish.got)).copied().collect();
        match (self.wish.wants || self.wish.starved, self.wish.returned) {
            (false, true) => assert!(lease.is_empty()),
            (false, false) => assert_eq!(*lease, kept, "who only speaks keeps what it holds"),
            (true, _) => {}
        }
    }

    /// What a host is newly leased it lacks, and nobody has it unless the host starves.
    fn check_new(&self, reporters: &Reporters, seeded: bool) {
        let lacks = &self.wish.lacks;
        let lacks = if lacks.is_empty() { (0..PIECES).collect() } else { pieces(lacks) };
        for piece in self.own(&self.after).difference(&self.own(&self.before)) {
            assert!(lacks.contains(piece), "{piece} is not lacked");
            assert!(!seeded || self.wish.starved, "a seeded swarm leases nothing");
            let is_out = reporters.get(piece).is_some_and(|hosts| !hosts.is_empty());
            assert!(!is_out || self.wish.starved, "{piece} is out");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_host_holds_what_it_is_told_and_nobody_else_does(
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        run(&mut Swarm::new(PIECES), steps);
    }

    /// Whatever others have done before they left or crashed, a host that goes on asking is leased all that nobody has.
    #[test]
    fn what_nobody_has_comes_to_who_asks(
        steps in proptest::collection::vec(any_step(), 1..60), leaving in 0..HOSTS,
    ) {
        let mut swarm = Swarm::new(PIECES);
        run(&mut swarm, steps);
        (0..leaving).for_each(|host| swarm.leave(host));
        swarm.seeded = false;
        swarm.millis += 10_101;
        let free_or_held: BTreeSet<u32> = {
            swarm.say(HOSTS, &LeaseWish::default());
            (0..PIECES).filter(|&piece| swarm.leases.copies[piece as usize] == 0).collect()
        };
        let mut had = BTreeSet::new();
        for _ in 0..=PIECES {
            let lease = swarm.say(HOSTS, &LeaseWish { wants: true, ..LeaseWish::default() });
            had.extend(pieces(&lease));
            swarm.say(HOSTS, &LeaseWish { got: lease, ..LeaseWish::default() });
        }
        prop_assert_eq!(had, free_or_held);
        prop_assert!(swarm.leases.copies.iter().all(|&copies| copies > 0));
    }
}
