//! When the origin is asked although there are peers.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn requests(actions: &[String]) -> Vec<&String> {
    actions.iter().filter(|action| action.starts_with('r') && action.contains(" s0 ")).collect()
}

/// A host with one web seed and one file of ten pieces, that is told of others.
fn host(lease: &[(u32, u32)]) -> (Host, Vec<String>) {
    let mut host = Host::new().with_files(&[10]);
    host.guided(5, lease);
    let actions = host.want(0, 0);
    (host, actions)
}

#[test]
fn alone_everything_comes_from_the_origin() {
    let mut host = Host::new().with_files(&[10]);
    host.guided(0, &[(0, 10)]);
    assert_eq!(requests(&host.want(0, 0)).len(), 3);
}

#[test]
fn with_others_only_the_lease_is_fetched() {
    let (mut host, actions) = host(&[(4, 7)]);
    assert_eq!(actions, ["r0 s0 f0.0 ....RR....", "r1 s0 f0.0 ......R..."]);
    host.peer(0, "..........");
    assert_eq!(requests(&host.bring_all(0)), requests(&[]));
    assert_eq!(requests(&host.pass(SECOND)), requests(&[]), "the rest is others'");
}

#[test]
fn a_leased_piece_that_a_peer_has_is_not_fetched() {
    let mut host = Host::new().with_files(&[10]);
    host.guided(5, &[]);
    host.want(0, 0);
    host.peer(0, ".....#....");
    let actions = host.guided(5, &[(4, 7)]);
    assert_eq!(actions, ["r0 s0 f0.0 ....R....."]);
    assert_eq!(host.bring_all(0).last().map(String::as_str), Some("r1 s0 f0.0 ......R..."));
}

#[test]
fn when_nothing_comes_the_tracker_is_asked_and_then_nobody() {
    let (mut host, actions) = host(&[]);
    assert_eq!(actions, NOTHING);
    host.peer(0, "..........");
    let actions = host.pass(3 * SECOND + SECOND / 2);
    assert_eq!(actions, ["ask tracker: got [], lacks [0..10], starved"], "once");
    host.guided(5, &[]);
    let actions = host.pass(8 * SECOND);
    assert!(!requests(&actions).is_empty(), "holding off ends: {actions:?}");
}

#[test]
fn the_tracker_hears_of_the_last_piece_of_a_lease_at_once() {
    let told =
        |actions: &[String]| actions.iter().filter(|it| it.starts_with("ask")).cloned().collect::<Vec<_>>();
    let mut host = Host::new().with_files(&[3, 7]);
    host.guided(5, &[(0, 3)]);
    host.want(0, 0);
    host.peer(0, "..........");
    assert_eq!(told(&host.bring_all(0)), NOTHING);
    assert_eq!(told(&host.bring_all(1)), ["ask tracker: got [0..3], lacks []"]);
    assert_eq!(told(&host.guided(5, &[])), NOTHING, "it knows of all");

    // What comes while it is being told of something else.
    let mut host = Host::new().with_files(&[3, 7]);
    host.guided(5, &[(0, 3)]);
    host.want(0, 0);
    host.now += SECOND;
    assert_eq!(told(&host.bring_all(0)), ["ask tracker: got [0..1], lacks [1..3]"]);
    assert_eq!(told(&host.bring_all(1)), NOTHING);
    assert_eq!(told(&host.guided(5, &[(1, 3)])), ["ask tracker: got [1..3], lacks []"]);

    // So does who has all of the bundle now: a single seed does not end leases.
    let mut host = Host::new().with_files(&[3]);
    host.guided(5, &[(0, 3)]);
    host.want(0, 0);
    host.bring_all(0);
    assert_eq!(told(&host.bring_all(1)), ["ask tracker: got [0..3], lacks []"]);

    // A seed that brought nothing does not keep others from the origin.
    let mut host = Host::new().with_files(&[3]);
    host.guided(5, &[(0, 3)]);
    assert_eq!(told(&host.tell(Event::Offer { bundle: BundleId(0), file: FileIndex(0) })), NOTHING);
    assert_eq!(told(&host.guided(5, &[(0, 3)])), NOTHING);
}

#[test]
fn one_peer_more_is_no_reason_to_wait_on() {
    let (mut host, _) = host(&[]);
    let mut actions = Vec::new();
    for link in 0..5 {
        host.peer(link, "..........");
        actions.extend(host.pass(SECOND * 3 / 4));
    }
    assert_eq!(actions, ["ask tracker: got [], lacks [0..10], starved"]);
}

#[test]
fn a_first_copy_at_a_peer_is_a_reason_to_wait_on() {
    let (mut host, _) = host(&[]);
    host.tell(Event::Linked { link: LinkId(0), bundle: BundleId(0) });
    host.tell(Event::Unchoked { link: LinkId(0) });
    for piece in 0..10 {
        let mut actions = host.have(0, piece);
        actions.extend(host.pass(SECOND));
        actions.extend(host.arrive_whole(0, piece));
        assert!(!actions.iter().any(|action| action.starts_with("ask tracker")), "{actions:?}");
        assert!(requests(&actions).is_empty(), "{actions:?}");
    }
}

#[test]
fn a_tracker_that_does_not_answer_is_not_waited_for() {
    let (mut host, _) = host(&[]);
    host.peer(0, "..........");
    let actions = host.tell(Event::Unguided { bundle: BundleId(0) });
    assert_eq!(requests(&actions).len(), 1, "{actions:?}");
    let (first, pieces) = host.requests[&0];
    assert!(pieces <= 8 && first + pieces <= 10);
}

#[test]
fn what_has_come_is_reported_and_more_is_asked_for() {
    let (mut host, _) = host(&[(0, 4)]);
    host.now += SECOND / 8;
    assert_eq!(host.bring(0, "##", Outcome::Complete), NOTHING, "the tracker has only just spoken");
    host.now += SECOND / 8;
    let actions = host.verified(1, 2);
    assert_eq!(
        actions.iter().filter(|action| action.starts_with("ask tracker")).collect::<Vec<_>>(),
        ["ask tracker: got [0..3], lacks [3..10]"]
    );
}

#[test]
fn decisions_are_noted() {
    let (mut host, _) = host(&[(4, 7)]);
    host.peer(0, "..........");
    host.pass(20 * SECOND);
    let notes: Vec<crate::Happening> = host.swarm.notes().map(|note| note.what).collect();
    let bundle = BundleId(0);
    assert!(notes.contains(&crate::Happening::Leased { bundle, pieces: 3 }), "{notes:?}");
    assert!(notes.contains(&crate::Happening::Linked { link: LinkId(0), bundle }));
    assert!(notes.iter().any(|note| matches!(note, crate::Happening::Starved { .. })), "{notes:?}");
}

#[test]
fn half_a_piece_of_a_peer_that_is_gone_keeps_nobody_from_fetching_it() {
    let mut host = Host::new().with_files(&[10]);
    host.guided(5, &[]);
    host.want(0, 0);
    host.peer(1, "..........");
    host.peer(0, ".....#....");
    assert_eq!(host.arrive(0, 5, 0), ["keep 5.0"]);
    host.tell(Event::LinkGone { link: LinkId(0) });
    host.pass(SECOND);
    assert_eq!(requests(&host.guided(5, &[(5, 6)])).len(), 1);
}

#[test]
fn half_a_piece_of_the_last_peer_is_fetched_when_that_is_gone() {
    let mut host = Host::new().with_files(&[1]);
    host.guided(0, &[]);
    host.peer(0, "#");
    host.want(0, 0);
    assert_eq!(host.arrive(0, 0, 0), ["keep 0.0"]);
    assert_eq!(host.tell(Event::LinkGone { link: LinkId(0) }), ["discard 0", "r0 s0 f0.0 R"]);
}

#[test]
fn half_a_piece_of_a_peer_that_chokes_is_fetched_after_a_wait_in_vain() {
    let mut host = Host::new().with_files(&[1]);
    host.guided(5, &[]);
    host.peer(0, "#");
    host.want(0, 0);
    host.arrive(0, 0, 0);
    host.tell(Event::Choked { link: LinkId(0) });
    assert_eq!(requests(&host.pass(SECOND)), requests(&[]), "it may go on");
    let actions = host.pass(3 * SECOND);
    assert!(actions.iter().any(|action| action == "discard 0"), "{actions:?}");
    assert_eq!(requests(&host.guided(5, &[(0, 1)])).len(), 1);
}

#[test]
fn what_the_origin_does_not_have_keeps_nothing_else_from_being_fetched() {
    let mut host = Host::new().with_files(&[1, 1]);
    host.guided(5, &[(0, 2)]);
    assert_eq!(host.want(0, 0), ["r0 s0 f0.0 R"]);
    host.peer(0, "..");
    assert_eq!(host.end(0, Outcome::Missing), NOTHING, "others may bring it");
    assert_eq!(host.want(0, 1), ["r1 s0 f0.1 R"]);
}

#[test]
fn a_lease_that_is_only_told_again_is_no_sign_of_life() {
    let (mut host, _) = host(&[(4, 7)]);
    host.peer(0, "..........");
    let mut actions = Vec::new();
    for _ in 0..10 {
        actions.extend(host.pass(SECOND));
        host.guided(5, &[(4, 7)]);
    }
    assert!(actions.iter().any(|action| action.ends_with(", starved")), "{actions:?}");
}

#[test]
fn where_none_of_the_others_can_be_reached_one_wait_is_enough() {
    let (mut host, _) = host(&[]);
    assert!(!requests(&host.pass(4 * SECOND)).is_empty());
}
