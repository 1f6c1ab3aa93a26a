//! Leases of first copies over HTTP: who is told to fetch what from the origin, in plans and in announces.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::{
    BatchAnnounce, BatchAnswer, Event, GetAnnounce, LeaseWish, PieceRange, RANGES_MAX, SwarmAnnounce,
    SwarmAnswer,
};
use pkgtorrent_protocol::plan::{AskerQuery, Plan, SetRequest};
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::http::Request;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{ask, http};

/// Pieces of the bundle that [`site`] has.
const PIECES: u32 = 320;

/// A service with one bundle of forty packages, of eight pieces each.
fn site() -> Site {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}.rpm")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 8 * 32_768 - 5)).collect();
    Site::start(&files, "")
}

fn name(host: u8) -> PeerId {
    PeerId([host; 20])
}

fn port(host: u8) -> u16 {
    10_000 + u16::from(host)
}

/// The host's plan of everything, with which it joins.
fn join(site: &Site, host: u8) -> Plan {
    ask::post_set_as(site.service.addr(), &site.digests(), port(host), name(host))
}

fn lease_of(plan: &Plan) -> BTreeSet<u32> {
    assert_eq!(plan.bundles.len(), 1);
    pieces(&plan.bundles[0].lease)
}

fn pieces(ranges: &[PieceRange]) -> BTreeSet<u32> {
    ranges.iter().flat_map(|&(first, len)| first..first + len).collect()
}

fn announce(swarm: InfoHash, host: u8, event: Option<Event>, wish: Option<LeaseWish>) -> BatchAnnounce {
    let swarm =
        SwarmAnnounce { info_hash: swarm, left: 1, event, wanted: Some(0), served: false, lease: wish };
    BatchAnnounce {
        version: 1,
        peer_id: name(host),
        port: port(host),
        swarms: vec![swarm],
        compact: true,
        report: None,
    }
}

/// What the host is told that it holds after it has said this.
fn say(site: &Site, swarm: InfoHash, host: u8, wish: LeaseWish) -> BTreeSet<u32> {
    let answer = ask::announce_all(site.service.addr(), &announce(swarm, host, None, Some(wish)));
    lease_in(&answer).expect("an answer to the wish")
}

fn lease_in(answer: &BatchAnswer) -> Option<BTreeSet<u32>> {
    match &answer.swarms[..] {
        [SwarmAnswer::Known { lease, peers, compact_peers, .. }] => {
            assert!(peers.is_empty() && compact_peers.is_empty(), "none were wanted");
            lease.as_deref().map(pieces)
        }
        other => panic!("refused: {other:?}"),
    }
}

fn wants() -> LeaseWish {
    LeaseWish { wants: true, ..LeaseWish::default() }
}

#[test]
fn one_host_is_leased_all_that_it_wants_with_its_plan() {
    let site = site();
    let looking = site.plan();
    assert_eq!(looking.bundles[0].lease, [], "who does not join gets none");
    assert_eq!(looking.policy.lease_ttl, 10);
    let some = ask::post_set_as(site.service.addr(), &site.digests()[..3], port(1), name(1));
    assert_eq!(lease_of(&some).len(), 24, "only what it wants");
    ask::announce_all(
        site.service.addr(),
        &announce(looking.bundles[0].info_hash, 1, Some(Event::Stopped), None),
    );
    let all = join(&site, 2);
    assert_eq!(all.bundles[0].lease, [(0, PIECES)]);
    let set = ask::set_digest(&site.digests());
    let query =
        AskerQuery { port: Some(port(2)), peer_id: Some(name(2)), ..AskerQuery::default() }.to_query();
    let again = ask::plan_of(http::get(site.service.addr(), &format!("{}sets/{set}?{query}", ask::PREFIX)));
    assert_eq!(again.bundles[0].lease, [(0, PIECES)], "and so again");
    assert_eq!(again.bundles[0].incomplete, 1);
}

#[test]
fn under_a_lid_hosts_are_leased_a_little_at_a_time_and_told_when_to_ask_again() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}.rpm")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 8 * 32_768 - 5)).collect();
    let site = Site::start(&files, "origin.max_rate = \"4 Mbit/s\"");
    let started = Instant::now();
    let plans: Vec<Plan> = (1..=10).map(|host| join(&site, host)).collect();
    let leased: usize = plans.iter().map(|plan| lease_of(plan).len()).sum();
    assert!((4..40).contains(&leased), "{leased} pieces at once");
    let ask_again: Vec<u32> = plans.iter().filter_map(|plan| plan.bundles[0].ask_again).collect();
    assert_eq!(ask_again.len(), 10);
    assert!(ask_again.iter().all(|millis| (100..15_000).contains(millis)), "{ask_again:?}");
    let swarm = plans[0].bundles[0].info_hash;
    let metric = |name: &str| site.service.metric(&format!("pkgtorrent_lid_{name}_bytes_total"));
    let asked = wait_for("a metric of the lid", Duration::from_secs(10), || {
        Some(metric("asked")).filter(|asked| *asked > 0.0)
    });
    assert_eq!(asked, metric("granted") + metric("held_back"));
    assert!(metric("held_back") > 0.0);
    for turn in 0..100 {
        say(&site, swarm, 1 + turn % 10, wants());
        std::thread::sleep(Duration::from_millis(20));
    }
    let granted = wait_for("what was leased in two seconds", Duration::from_secs(10), || {
        Some(metric("granted")).filter(|granted| *granted >= 750_000.0)
    });
    let most = 500_000.0 * (0.25 + started.elapsed().as_secs_f64()) + 131_072.0;
    assert!(granted <= most, "{granted} bytes");
}

#[test]
fn a_crowd_shares_all_pieces_out_and_none_to_two() {
    let site = site();
    let swarm = site.plan().bundles[0].info_hash;
    std::thread::scope(|scope| {
        for host in 1..=20 {
            let site = &site;
            scope.spawn(move || join(site, host));
        }
    });
    let (mut shared, mut holders) = (BTreeSet::new(), 0);
    for host in 1..=20 {
        let lease = say(&site, swarm, host, LeaseWish::default());
        holders += u32::from(!lease.is_empty());
        assert!(lease.len() <= 40, "host {host} holds {}", lease.len());
        for piece in lease {
            assert!(shared.insert(piece), "piece {piece} is leased twice");
        }
    }
    assert!(holders >= 8, "{holders} holders");
    assert_eq!(shared.len() as u32, PIECES);
    wait_for("the metrics", Duration::from_secs(20), || {
        (site.service.metric("pkgtorrent_leased_pieces") == f64::from(PIECES)).then_some(())
    });
    assert!(site.service.metric("pkgtorrent_leases_stolen_total") >= 7.0);
    assert!(site.service.metric("pkgtorrent_leases_granted_total") >= 8.0);
}

#[test]
fn what_a_host_has_got_gives_back_or_leaves_behind_is_told_to_others() {
    let site = site();
    let swarm = join(&site, 1).bundles[0].info_hash;
    let got = LeaseWish { got: vec![(0, 300)], ..LeaseWish::default() };
    assert_eq!(say(&site, swarm, 1, got), (300..320).collect());
    assert_eq!(say(&site, swarm, 2, LeaseWish { lacks: vec![(300, 20)], ..wants() }), (310..320).collect());
    assert_eq!(say(&site, swarm, 1, LeaseWish::default()), (300..310).collect(), "half of it is another's");
    let returned = LeaseWish { returned: true, ..LeaseWish::default() };
    assert_eq!(say(&site, swarm, 2, returned), BTreeSet::new());
    assert_eq!(say(&site, swarm, 3, wants()), (310..320).collect());
    let stopped = announce(swarm, 1, Some(Event::Stopped), Some(wants()));
    assert_eq!(
        lease_in(&ask::announce_all(site.service.addr(), &stopped)),
        Some(BTreeSet::new()),
        "who leaves gets nothing"
    );
    assert_eq!(say(&site, swarm, 4, wants()), (0..310).collect(), "what it had left and what it had got");
}

#[test]
fn a_silent_hosts_lease_goes_to_the_next_who_asks() {
    let site = site();
    let swarm = join(&site, 1).bundles[0].info_hash;
    let joined = Instant::now();
    say(&site, swarm, 2, LeaseWish { lacks: vec![(0, 1)], ..wants() });
    let lacks = || LeaseWish { lacks: vec![(0, 1)], ..wants() };
    wait_for("the first host's piece", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(300));
        (!say(&site, swarm, 2, lacks()).is_empty()).then_some(())
    });
    // A stretch of which only its first piece is wanted is stolen from who has brought nothing for five seconds.
    assert!(joined.elapsed() >= Duration::from_secs(5), "after {:?}", joined.elapsed());
    let left = Duration::from_millis(10_200).saturating_sub(joined.elapsed());
    std::thread::sleep(left);
    assert_eq!(say(&site, swarm, 3, wants()), (1..PIECES).collect(), "all that the silent host held");
    assert_eq!(say(&site, swarm, 1, LeaseWish::default()), BTreeSet::new());
    wait_for("the metrics", Duration::from_secs(20), || {
        (site.service.metric("pkgtorrent_leases_expired_total") >= 1.0).then_some(())
    });
}

#[test]
fn a_seeded_swarm_leases_only_to_who_starves() {
    let site = site();
    let swarm = site.plan().bundles[0].info_hash;
    // One is enough for eight hosts, and there will be 28.
    for seed in 101..105 {
        let (peer_id, port) = (name(seed), port(seed));
        let seed = GetAnnounce { info_hash: swarm, peer_id, port, left: 0, event: None, wanted: None };
        ask::announce(site.service.addr(), &seed);
    }
    assert_eq!(lease_of(&join(&site, 2)), BTreeSet::new());
    assert_eq!(say(&site, swarm, 2, wants()), BTreeSet::new());
    let starves = |lacks| LeaseWish { lacks, starved: true, ..LeaseWish::default() };
    assert_eq!(say(&site, swarm, 2, starves(vec![(0, 20)])), (0..20).collect());
    assert_eq!(say(&site, swarm, 3, starves(vec![(0, 40)])).len(), 20, "half of it, beside the other");
    let served = (4..30).filter(|&host| {
        let own = u32::from(host) * 10;
        !say(&site, swarm, host, starves(vec![(own, 10)])).is_empty()
    });
    assert_eq!(served.count(), 6, "eight in all");
}

#[test]
fn lists_are_bounded_and_nonsense_is_cut_off() {
    let site = site();
    let swarm = site.plan().bundles[0].info_hash;
    let long = LeaseWish { lacks: vec![(0, 1); RANGES_MAX + 1], ..wants() };
    let body = serde_json::to_vec(&announce(swarm, 1, None, Some(long))).expect("encodes");
    let request = Request::post(&format!("{}announce", ask::PREFIX), body);
    let refused = http::send(site.service.addr(), &request).expect_status(400);
    assert!(refused.text().contains("65 ranges in lacks, at most 64"), "{}", refused.text());
    let odd = vec![(PIECES - 1, u32::MAX), (u32::MAX, u32::MAX), (5, 0)];
    assert_eq!(
        say(&site, swarm, 1, LeaseWish { lacks: odd.clone(), ..wants() }),
        BTreeSet::from([PIECES - 1])
    );
    assert_eq!(say(&site, swarm, 1, LeaseWish { got: odd, ..LeaseWish::default() }), BTreeSet::new());
    let unreachable = BatchAnnounce { port: 0, ..announce(swarm, 2, None, Some(wants())) };
    let answer = ask::announce_all(site.service.addr(), &unreachable);
    assert_eq!(lease_in(&answer), Some(BTreeSet::new()), "nobody could fetch it from there");
}

#[test]
fn an_older_agents_announce_is_answered_as_ever() {
    let site = site();
    let swarm = join(&site, 1).bundles[0].info_hash;
    let id = name(2);
    let asked =
        format!(r#"{{"version":1,"peer_id":"{id}","port":7,"swarms":[{{"info_hash":"{swarm}","left":5}}]}}"#);
    let request = Request::post(&format!("{}announce", ask::PREFIX), asked);
    let answered = http::send(site.service.addr(), &request).expect_status(200);
    let answer: BatchAnswer = serde_json::from_slice(&answered.body).expect("an answer");
    let known =
        format!(r#"{{"info_hash":"{swarm}","complete":0,"incomplete":2,"peers":["127.0.0.1:{}"]}}"#, port(1));
    let expected = format!(r#"{{"version":1,"interval":{},"swarms":[{known}]}}"#, answer.interval);
    assert_eq!(answered.text(), expected);
}

/// Forty packages of two classes for which a crowd asks: the most that the service sends a host beside packages.
#[test]
fn a_plan_in_a_crowd_takes_a_kilobyte_and_a_half() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}.rpm")).collect();
    let size = |n: usize| if n < 35 { 150_000 } else { 1_100_000 };
    let files: Vec<(&str, usize)> =
        names.iter().enumerate().map(|(n, name)| (name.as_str(), size(n))).collect();
    let site = Site::start(&files, "");
    let ask_for = |host: u8, compact: bool| {
        let (packages, port, peer_id) = (site.digests(), Some(port(host)), Some(name(host)));
        let question = SetRequest { version: 1, packages, port, peer_id, compact, group: None };
        let body = serde_json::to_vec(&question).expect("encodes");
        let response = http::send(site.service.addr(), &Request::post(&format!("{}sets", ask::PREFIX), body));
        (response.body.len(), ask::plan_of(response))
    };
    let (alone, plan) = ask_for(1, true);
    assert_eq!(plan.bundles.len(), 2);
    (2..=60).for_each(|host| drop(ask_for(host, true)));
    let (compact, plan) = ask_for(61, true);
    let peers: BTreeSet<SocketAddr> = plan.bundles[0].compact_peers.0.iter().copied().collect();
    assert_eq!((peers.len(), plan.bundles[0].peers.len()), (25, 0));
    assert!(peers.iter().all(|peer| (port(1)..=port(60)).contains(&peer.port())));
    let (as_text, plan) = ask_for(62, false);
    assert_eq!((plan.bundles[0].peers.len(), plan.bundles[0].compact_peers.0.len()), (50, 0));
    println!("a plan takes {alone} bytes alone, {compact} with 25 compact peers, {as_text} with 50 as texts");
    assert!(compact <= 1536 && compact < as_text, "{compact} bytes");
}
