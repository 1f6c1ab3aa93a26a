//! What peers of other sites are asked for, and when the origin is asked instead.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn requests(actions: &[String]) -> Vec<&String> {
    actions.iter().filter(|action| action.starts_with('r') && action.contains(" s0 ")).collect()
}

fn asked(actions: &[String]) -> Vec<&String> {
    actions.iter().filter(|action| action.starts_with("ask l")).collect()
}

impl Host {
    /// As `guided`, where hosts of another site fetch the first copies.
    fn guided_second_hand(&mut self, lease: &[(u32, u32)]) -> Vec<String> {
        let lease = lease.iter().map(|(start, end)| *start..*end).collect();
        let (bundle, lease, is_second_hand) = (BundleId(0), Some(lease), true);
        self.tell(Event::Guided { bundle, others: 5, lease, is_second_hand, ask_again: None })
    }

    /// As `peer`, in another site.
    fn far_peer(&mut self, link: u64, pieces: &str) -> Vec<String> {
        self.tell(Event::Linked { link: LinkId(link), bundle: BundleId(0) });
        self.tell(Event::Far { link: LinkId(link) });
        self.tell(Event::Unchoked { link: LinkId(link) });
        let mut actions = Vec::new();
        for (piece, _) in (0..).zip(pieces.chars()).filter(|(_, sign)| *sign == '#') {
            actions.extend(self.have(link, piece));
        }
        actions
    }
}

/// A host of the second site that wants ten pieces.
fn host(lease: &[(u32, u32)]) -> Host {
    let mut host = Host::new().with_files(&[10]);
    host.guided_second_hand(lease);
    assert_eq!(host.want(0, 0), NOTHING, "far peers are about to come");
    host
}

#[test]
fn a_far_peer_is_asked_for_the_lease_in_its_order_and_the_origin_for_nothing() {
    let mut host = host(&[(4, 6)]);
    let actions = host.far_peer(0, "##########");
    assert_eq!(asked(&actions), ["ask l0 4.0", "ask l0 4.1", "ask l0 5.0", "ask l0 5.1"]);
    assert_eq!(requests(&actions), requests(&[]));
    host.arrive_whole(0, 4);
    let actions = host.arrive_whole(0, 5);
    assert_eq!(asked(&actions), asked(&[]), "the rest is others'");
    assert_eq!(requests(&host.pass(SECOND)), requests(&[]));
    assert_eq!(asked(&host.guided_second_hand(&[(8, 9)])), ["ask l0 8.0", "ask l0 8.1"]);
}

#[test]
fn what_a_neighbour_has_is_not_asked_of_a_far_peer() {
    let mut host = host(&[(4, 6)]);
    host.peer(1, "....#.....");
    let actions = host.far_peer(0, "##########");
    assert_eq!(asked(&actions), ["ask l0 5.0", "ask l0 5.1"]);
}

#[test]
fn one_far_peer_is_asked_at_a_time() {
    let mut host = host(&[(0, 10)]);
    assert!(!asked(&host.far_peer(0, "#.........")).is_empty());
    assert_eq!(asked(&host.far_peer(1, ".##.......")), asked(&[]));
    host.arrive_whole(0, 0);
    assert_eq!(asked(&host.pass(SECOND))[..2], ["ask l1 1.0", "ask l1 1.1"]);
}

#[test]
fn where_first_copies_are_its_own_a_site_has_them_from_the_origin() {
    let mut host = Host::new().with_files(&[10]);
    host.guided(5, &[(4, 6)]);
    host.far_peer(0, "##########");
    let actions = host.want(0, 0);
    assert_eq!((asked(&actions), requests(&actions).len()), (asked(&[]), 1), "{actions:?}");
}

#[test]
fn who_reaches_no_far_peer_has_its_lease_from_the_origin_after_one_wait() {
    let mut host = host(&[(4, 6)]);
    host.peer(1, "..........");
    assert_eq!(requests(&host.pass(SECOND)), requests(&[]));
    assert_eq!(requests(&host.pass(2 * SECOND)), ["r0 s0 f0.0 ....RR...."]);
}

#[test]
fn the_last_far_peer_that_goes_is_missed_for_one_wait() {
    let mut host = host(&[(4, 6)]);
    host.peer(1, "..........");
    host.far_peer(0, "....#.....");
    host.arrive(0, 4, 0);
    host.tell(Event::LinkGone { link: LinkId(0) });
    assert_eq!(requests(&host.pass(SECOND)), requests(&[]));
    assert_eq!(requests(&host.pass(2 * SECOND)), ["r0 s0 f0.0 ....RR...."]);
}

#[test]
fn far_peers_that_have_nothing_are_waited_for_in_vain_and_then_until_they_have_something() {
    let mut host = host(&[(0, 10)]);
    host.peer(1, "..........");
    host.far_peer(0, "..........");
    assert_eq!(requests(&host.pass(5 * SECOND)), requests(&[]), "longer than neighbours");
    assert!(!requests(&host.pass(5 * SECOND)).is_empty());
    assert_eq!(asked(&host.have(0, 9)), ["ask l0 9.0", "ask l0 9.1"], "it lives");
}

#[test]
fn far_peers_are_asked_again_where_the_origin_fails_too() {
    let mut host = host(&[(0, 1)]);
    host.peer(1, "..........");
    host.far_peer(0, "#.........");
    host.tell(Event::Choked { link: LinkId(0) });
    let actions = host.pass(19 * SECOND / 2);
    assert_eq!(requests(&actions).len(), 1, "{actions:?}");
    host.end(0, Outcome::Missing);
    let actions = host.tell(Event::Unchoked { link: LinkId(0) });
    assert_eq!(asked(&actions), asked(&[]), "it rests");
    assert_eq!(asked(&host.pass(5 * SECOND)), ["ask l0 0.0", "ask l0 0.1"]);
}

#[test]
fn who_holds_no_lease_asks_the_tracker_and_nobody_else() {
    let mut host = host(&[]);
    host.peer(1, "..........");
    host.far_peer(0, "##########");
    let mut actions = Vec::new();
    for _ in 0..5 {
        actions.extend(host.pass(5 * SECOND));
        host.guided_second_hand(&[]);
    }
    assert!(actions.iter().any(|action| action.ends_with(", starved")), "{actions:?}");
    assert_eq!((asked(&actions), requests(&actions)), (asked(&[]), requests(&[])), "{actions:?}");
    for _ in 0..12 {
        actions.extend(host.pass(5 * SECOND));
        host.guided_second_hand(&[]);
    }
    assert!(!requests(&actions).is_empty(), "waiting ends");
}

#[test]
fn without_a_tracker_far_peers_bring_what_no_neighbour_has() {
    let mut host = host(&[]);
    host.peer(1, "#########.");
    host.far_peer(0, "##########");
    let actions = host.tell(Event::Unguided { bundle: BundleId(0) });
    assert_eq!(asked(&actions), ["ask l0 9.0", "ask l0 9.1"], "{actions:?}");
}
