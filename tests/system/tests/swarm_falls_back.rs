//! At every moment the install goes on: whatever becomes of peers, tracker and origin, each package is placed as long as
//! anybody has it, and left to the package manager soon where nobody does.

use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_system_tests::fake_peer::{FakePeer, Manner, Wire};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Fetched, Fetching};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Agent, Server};

/// Packages of two classes, which are in two bundles, and their bytes together.
const FILES: [(&str, usize); 4] =
    [("a.rpm", 300_000), ("b.rpm", 700_001), ("c.rpm", 3_000_000), ("d.rpm", 5)];
const TOTAL: u64 = 4_000_006;

/// The longest hold-off, the time that a peer may owe a block twice over, and a busy machine.
const HOLD_OFF_LIMIT: Duration = Duration::from_secs(15);

/// The longest hold-off, which is three seconds, and two for everything else: the origin gives all in a moment.
const LOSS_LIMIT: Duration = Duration::from_secs(5);

/// The shim's `timeout`, after which it leaves a transaction to the package manager.
const SHIM_PATIENCE: Duration = Duration::from_secs(30);

/// How long the service's answer to one host is on its way, in which that host is named to others.
const PLAN_DELAY: Duration = Duration::from_secs(2);

/// Bytes a second that let a download of everything take several seconds.
const SLOW: &str = "upload_limit = 400_000\n";

fn site() -> Site {
    Site::start_apart(&FILES, "")
}

fn fetch(agent: &Agent, service: &str, site: &Site) -> Fetched {
    agent.fetch(service, &agent.wants(&site.packages))
}

fn start(agent: &Agent, service: &str, site: &Site) -> Fetching {
    agent.start_fetch(service, &agent.wants(&site.packages))
}

/// A host that has everything.
fn complete(config: &str, site: &Site) -> Agent {
    let agent = Agent::with_config(config);
    let fetched = fetch(&agent, &site.service.url("/"), site).all_placed();
    assert_eq!(fetched.bytes().origin, TOTAL);
    agent
}

/// Peers with these manners, of which the tracker says that they have everything.
fn bad_peers(manner: Manner, site: &Site) -> Vec<FakePeer> {
    let bundles = site.plan().bundles;
    assert_eq!(bundles.len(), 2);
    let peers: Vec<FakePeer> = (b'a'..b'd').map(|name| FakePeer::start(name, manner)).collect();
    for (peer, bundle) in peers.iter().flat_map(|peer| bundles.iter().map(move |bundle| (peer, bundle))) {
        peer.join(site.service.addr(), bundle.info_hash);
    }
    peers
}

/// Fetches from a swarm of such peers alone: everything comes from the origin, soon. Gives the peers and the agent.
fn assert_falls_back(manner: Manner) -> (Vec<FakePeer>, Agent) {
    let site = site();
    let peers = bad_peers(manner, &site);
    let agent = Agent::new();
    let fetched = fetch(&agent, &site.service.url("/"), &site).all_placed();
    assert_eq!(fetched.bytes().origin, TOTAL, "{manner:?}: {fetched:?}");
    assert!(fetched.duration < HOLD_OFF_LIMIT, "{manner:?}: {fetched:?}");
    (peers, agent)
}

fn calls(peers: &[FakePeer]) -> usize {
    peers.iter().map(FakePeer::calls).sum()
}

fn requests(peers: &[FakePeer]) -> usize {
    peers.iter().map(FakePeer::requests).sum()
}

/// A service that answers everything but requests for packages.
fn without_packages(site: &Site) -> Server {
    proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => Answer::new(503, ""),
        _ => answer,
    })
}

/// A service that answers these requests alone, and for which every other connection ends at once.
fn dying(site: &Site, answered: &'static [Part]) -> Server {
    proxy::before(site.service.addr(), move |request, answer| {
        if answered.contains(&Part::of(request)) { answer } else { Answer::Raw(Vec::new()) }
    })
}

/// Fetches where nobody has anything, and expects that all is left to the package manager before its patience ends.
fn assert_given_up(service: &Server, site: &Site) {
    let agent = Agent::new();
    let fetched = fetch(&agent, &service.url("/"), site);
    assert_eq!((fetched.status, fetched.done().1), (Some(3), FILES.len()), "{fetched:?}");
    assert!(fetched.duration < SHIM_PATIENCE, "{fetched:?}");
}

#[test]
fn peers_that_are_not_there_are_done_without() {
    let _ = assert_falls_back(Manner::Absent);
}

#[test]
fn peers_that_never_accept_are_done_without() {
    let _ = assert_falls_back(Manner::NeverAccepts);
}

#[test]
fn peers_that_never_speak_are_done_without() {
    let (peers, _) = assert_falls_back(Manner::NeverSpeaks);
    assert!(calls(&peers) > 0);
}

#[test]
fn peers_that_never_unchoke_are_done_without() {
    let (peers, _) = assert_falls_back(Manner::NeverUnchokes);
    assert!(calls(&peers) > 0 && requests(&peers) == 0);
}

#[test]
fn peers_that_never_send_are_done_without() {
    let (peers, _) = assert_falls_back(Manner::NeverSends);
    assert!(requests(&peers) > 0);
}

#[test]
fn peers_that_garble_are_done_without() {
    let (peers, _) = assert_falls_back(Manner::Garbles);
    assert!(calls(&peers) > 0);
}

#[test]
fn liars_are_banned_and_done_without() {
    let (peers, agent) = assert_falls_back(Manner::Lies);
    assert!(requests(&peers) > 0);
    assert!(agent.log().contains("is banned"));
    let status = agent.status().expect("an agent runs");
    assert_eq!((status.received.peers, status.peers), (0, 0));
}

#[test]
fn one_good_peer_among_bad_ones_is_enough_when_the_origin_is_dead() {
    let site = site();
    let _good = complete("", &site);
    let origin = without_packages(&site);
    for manner in [Manner::NeverSpeaks, Manner::NeverSends, Manner::Lies] {
        let _bad = bad_peers(manner, &site);
        let agent = Agent::new();
        let fetched = fetch(&agent, &origin.url("/"), &site).all_placed();
        assert_eq!(fetched.bytes().peers, TOTAL, "{manner:?}: {fetched:?}");
        assert!(fetched.duration < HOLD_OFF_LIMIT, "{manner:?}: {fetched:?}");
        agent.stop();
    }
}

#[test]
fn a_complete_peer_is_enough_when_the_origin_is_dead() {
    let site = site();
    let good = complete("", &site);
    let origin = without_packages(&site);
    let agent = Agent::new();
    let fetched = fetch(&agent, &origin.url("/"), &site).all_placed();
    assert_eq!(fetched.bytes().peers, TOTAL, "{fetched:?}");
    assert!(fetched.duration < HOLD_OFF_LIMIT, "{fetched:?}");
    assert_eq!(good.status().expect("an agent runs").received.origin, TOTAL);
}

#[test]
fn a_complete_peer_is_enough_when_the_service_dies_after_its_plan() {
    let site = site();
    let _good = complete("", &site);
    let service = dying(&site, &[Part::Plan]);
    let agent = Agent::new();
    let fetched = fetch(&agent, &service.url("/"), &site).all_placed();
    assert_eq!(fetched.bytes().peers, TOTAL, "{fetched:?}");
    assert!(fetched.duration < HOLD_OFF_LIMIT, "{fetched:?}");
}

#[test]
fn without_peers_a_service_that_dies_after_its_plan_is_given_up_soon() {
    let site = site();
    for answered in [&[Part::Plan][..], &[Part::Plan, Part::Info]] {
        assert_given_up(&dying(&site, answered), &site);
    }
}

#[test]
fn with_peers_that_are_not_there_a_service_that_dies_after_its_plan_is_given_up_soon() {
    let site = site();
    let _bad = bad_peers(Manner::Absent, &site);
    assert_given_up(&dying(&site, &[Part::Plan, Part::Info]), &site);
}

#[test]
fn with_peers_that_never_send_a_service_that_dies_after_its_plan_is_given_up_soon() {
    let site = site();
    let _bad = bad_peers(Manner::NeverSends, &site);
    assert_given_up(&dying(&site, &[Part::Plan, Part::Info]), &site);
}

#[test]
fn a_peer_that_is_named_before_it_has_its_own_plan_is_called_again() {
    let site = site();
    let late = proxy::before(site.service.addr(), |request, answer| {
        if Part::of(request) == Part::Plan {
            std::thread::sleep(PLAN_DELAY);
        }
        answer
    });
    let (early, other) = (Agent::new(), Agent::new());
    // The service knows its set already, so that its first question names it to others.
    let _ = site.plan();
    let first = start(&early, &late.url("/"), &site);
    wait_for("a first peer", PLAN_DELAY, || (site.plan().bundles[0].incomplete == 1).then_some(()));
    let origin = without_packages(&site);
    let fetched = fetch(&other, &origin.url("/"), &site).all_placed();
    assert_eq!(fetched.bytes().peers, TOTAL, "{fetched:?}");
    let _ = first.wait().all_placed();
}

/// Half of the hosts, the only one that has everything among them, are lost in mid-download.
fn assert_survives_loss(lose: impl Fn(&Agent)) {
    let site = site();
    let seed = complete(SLOW, &site);
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    let url = site.service.url("/");
    let [mut first, second, third] = hosts.each_ref().map(|host| start(host, &url, &site));
    first.wait_for_progress(1);
    lose(&seed);
    lose(&hosts[0]);
    for fetching in [second, third] {
        let fetched = fetching.wait().all_placed();
        assert!(fetched.duration < LOSS_LIMIT, "{fetched:?}");
    }
    // Whoever is only frozen could not be asked to end.
    seed.kill9();
    hosts[0].kill9();
}

#[test]
fn peers_that_are_killed_in_mid_download_are_done_without() {
    assert_survives_loss(Agent::kill9);
}

#[test]
fn peers_that_fall_silent_in_mid_download_are_done_without() {
    assert_survives_loss(Agent::freeze);
}

#[test]
fn outside_the_peer_networks_nobody_is_called_or_let_in() {
    let site = site();
    let good = complete("", &site);
    let peers = bad_peers(Manner::NeverSpeaks, &site);
    let agent = Agent::with_config("peer_networks = [\"10.0.0.0/8\"]\n");
    let fetched = fetch(&agent, &site.service.url("/"), &site).all_placed();
    assert_eq!(fetched.bytes().origin, TOTAL, "{fetched:?}");
    assert!(fetched.duration < HOLD_OFF_LIMIT, "{fetched:?}");
    assert_eq!(calls(&peers), 0);
    let (good, status) = (good.status(), agent.status().expect("an agent runs"));
    assert_eq!((good.map(|good| good.sent), status.sent, status.peers), (Some(0), 0, 0));
    let info_hash = site.plan().bundles[0].info_hash;
    assert!(Wire::call(&agent, info_hash, PeerId([b'x'; 20])).is_err(), "it was let in");
}

#[test]
fn a_host_that_is_named_many_times_is_called_once_for_each_bundle() {
    let site = site();
    let peer = FakePeer::start(b'a', Manner::NeverSpeaks);
    let address = peer.address();
    let crowded = proxy::before_with_plan(site.service.addr(), move |plan| {
        for bundle in &mut plan.bundles {
            (bundle.peers, bundle.incomplete) = (vec![address; 50], 50);
        }
    });
    let agent = Agent::new();
    let fetched = fetch(&agent, &crowded.url("/"), &site).all_placed();
    assert!(fetched.duration < HOLD_OFF_LIMIT, "{fetched:?}");
    assert_eq!(peer.calls(), 2);
}

#[test]
fn hosts_that_all_have_nothing_of_a_package_that_the_origin_refuses_give_it_up_soon() {
    let site = site();
    let service = without_packages(&site);
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    let fetching = hosts.each_ref().map(|host| start(host, &service.url("/"), &site));
    for fetched in fetching.map(Fetching::wait) {
        assert_eq!((fetched.status, fetched.done().1), (Some(3), FILES.len()), "{fetched:?}");
        assert!(fetched.duration < Duration::from_secs(12), "{fetched:?}");
    }
}
