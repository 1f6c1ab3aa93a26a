//! What a host does where there is a lid on what hosts take from the origin.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A host that wants ten pieces, and is leased these of them under a lid; a peer has nothing yet.
fn host(lease: &[(u32, u32)]) -> Host {
    let mut host = Host::new().with_files(&[10]);
    host.told(lease);
    host.want(0, 0);
    host.peer(0, "..........");
    host
}

impl Host {
    fn told(&mut self, lease: &[(u32, u32)]) -> Vec<String> {
        self.guided_under(Some(SECOND), 5, lease)
    }

    /// Time passes under a lid, and the tracker has nothing. What is asked of the origin and the tracker.
    fn is_held_back(&mut self, time: Duration) -> (Vec<String>, u32) {
        let (mut requests, mut asks) = (Vec::new(), 0);
        for _ in 0..(time.as_millis() / 250) {
            for action in self.pass(SECOND / 4) {
                if action.starts_with("ask tracker") {
                    asks += 1;
                    requests.extend(self.told(&[]));
                } else if action.starts_with('r') {
                    requests.push(action);
                }
            }
        }
        (requests, asks)
    }
}

#[test]
fn it_asks_for_more_when_it_may_and_takes_nothing_until_then() {
    let mut host = host(&[]);
    assert_eq!(host.pass(SECOND * 3 / 4), NOTHING);
    let actions = host.pass(SECOND / 2);
    assert_eq!(actions, ["ask tracker: got [], lacks [0..10]"], "before any hold-off has run out");
    assert_eq!(host.told(&[(2, 4)]), ["r0 s0 f0.0 ..RR......"]);
}

#[test]
fn it_takes_one_stretch_when_nothing_comes_for_ten_seconds() {
    let mut host = host(&[]);
    let (requests, asks) = host.is_held_back(9 * SECOND);
    assert_eq!(requests, NOTHING);
    assert!((6..=9).contains(&asks), "{asks}");
    let (requests, _) = host.is_held_back(7 * SECOND);
    assert_eq!(requests.len(), 1, "{requests:?}");
    host.bring_all(0);
    let (requests, _) = host.is_held_back(9 * SECOND);
    assert_eq!(requests, NOTHING, "its patience begins anew");
}

#[test]
fn its_patience_lasts_while_anything_comes() {
    let mut host = host(&[]);
    for piece in 0..4 {
        assert_eq!(host.is_held_back(9 * SECOND).0, NOTHING);
        host.have(0, piece);
        host.arrive_whole(0, piece);
    }
}

#[test]
fn slow_peers_are_no_reason_to_starve() {
    let mut host = host(&[]);
    for piece in 0..8 {
        host.have(0, piece);
        host.arrive_whole(0, piece);
        let actions = host.pass(SECOND * 7 / 4);
        host.told(&[]);
        assert!(!actions.iter().any(|action| action.ends_with("starved")), "{actions:?}");
    }
}

#[test]
fn without_a_tracker_it_takes_a_stretch_now_and_then() {
    let mut host = Host::new().with_files(&[200]);
    host.told(&[]);
    host.want(0, 0);
    host.peer(0, &".".repeat(200));
    host.pass(SECOND * 5 / 4);
    host.tell(Event::Unguided { bundle: BundleId(0) });
    let mut requests = 0;
    for _ in 0..60 {
        let actions = host.pass(SECOND);
        assert!(actions.len() <= 1, "{actions:?}");
        for _ in actions {
            host.bring_all(requests);
            requests += 1;
        }
    }
    assert!(
        (10..=15).contains(&requests),
        "{requests} in a minute, where a hold-off is two to three seconds"
    );
}

#[test]
fn alone_it_takes_all() {
    let mut host = Host::new().with_files(&[10]);
    host.guided_under(Some(SECOND), 0, &[(0, 1)]);
    assert_eq!(host.want(0, 0).len(), 3);
}

#[test]
fn what_it_fetched_alone_is_reported() {
    let mut host = Host::new().with_files(&[40]);
    host.guided_under(Some(SECOND), 0, &[(0, 1)]);
    host.want(0, 0);
    host.now += 2 * SECOND;
    let actions = host.bring_all(0);
    let asked: Vec<&String> = actions.iter().filter(|action| action.starts_with("ask tracker")).collect();
    assert_eq!(asked, ["ask tracker: got [0..1], lacks [1..40]"]);
    host.now += 2 * SECOND;
    host.guided_under(Some(SECOND), 0, &[]);
    host.now += 2 * SECOND;
    let actions = host.bring_all(1);
    let asked: Vec<&String> = actions.iter().filter(|action| action.starts_with("ask tracker")).collect();
    assert!(asked[0].starts_with("ask tracker: got [1..5], "), "{asked:?}");
}

#[test]
fn what_the_tracker_did_not_hear_it_is_told_again() {
    let mut host = Host::new().with_files(&[40]);
    host.guided_under(Some(SECOND), 0, &[(0, 1)]);
    host.want(0, 0);
    host.bring_all(0);
    host.now += 2 * SECOND;
    host.guided_under(Some(SECOND), 0, &[]);
    host.now += 2 * SECOND;
    let told = |actions: Vec<String>| {
        let asked = actions.iter().find(|action| action.starts_with("ask tracker")).expect("it is told");
        asked.split(", lacks").next().map(ToOwned::to_owned)
    };
    assert_eq!(told(host.bring_all(1)).as_deref(), Some("ask tracker: got [1..5]"));
    host.tell(Event::Unguided { bundle: BundleId(0) });
    // Another plan says that there is a tracker after all.
    host.guided_under(Some(SECOND), 0, &[]);
    host.now += 2 * SECOND;
    assert_eq!(told(host.bring_all(2)).as_deref(), Some("ask tracker: got [1..9]"));
    host.guided_under(Some(SECOND), 0, &[]);
    host.now += 2 * SECOND;
    assert_eq!(told(host.bring_all(3)).as_deref(), Some("ask tracker: got [9..13]"));
}

#[test]
fn being_held_back_is_noted_once_and_is_over_when_nothing_moves() {
    let mut host = host(&[]);
    let is_held_back = |host: &Host| host.swarm.is_held_back(BundleId(0));
    assert!(is_held_back(&host));
    host.is_held_back(5 * SECOND);
    let held_back = crate::Happening::HeldBack { bundle: BundleId(0) };
    assert_eq!(host.swarm.notes().filter(|note| note.what == held_back).count(), 1);
    host.is_held_back(40 * SECOND);
    assert!(!is_held_back(&host), "nobody waits for ever");
}
