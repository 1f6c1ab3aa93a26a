//! The tracker over HTTP, as clients of any make and as agents meet it: who is introduced to whom, and who is not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::{
    BATCH_SWARMS_MAX, BatchAnnounce, Event, GetAnnounce, GetAnswer, SCRAPE_SWARMS_MAX, SwarmAnnounce,
    SwarmAnswer,
};
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Launch, ask, http};
use rustix::net::{AddressFamily, SocketType};

/// How long a peer that went silent may take to vanish: two and a half intervals of one second, and much room.
const VANISH_LIMIT: Duration = Duration::from_secs(20);

/// A service on every address, and the swarms of a plan: one of small and one of large packages.
fn site(config: &str) -> (Site, Vec<InfoHash>) {
    let files = [("small.rpm", 5_000), ("large.rpm", 5_000_000)];
    let site = Site::start_with(&files, |launch: Launch| launch.listen("[::]:0").config(config));
    let swarms: Vec<InfoHash> = site.plan().bundles.iter().map(|bundle| bundle.info_hash).collect();
    assert_eq!(swarms.len(), 2);
    (site, swarms)
}

fn at(site: &Site, ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), site.service.addr().port())
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

fn peer(name: u8, port: u16, swarm: InfoHash) -> GetAnnounce {
    GetAnnounce { info_hash: swarm, peer_id: PeerId([name; 20]), port, left: 1, event: None, wanted: None }
}

fn sorted(peers: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut peers = peers.to_vec();
    peers.sort();
    peers
}

/// The body of the answer to a GET that comes from this address of the loopback.
fn get_from(from: IpAddr, service: SocketAddr, target: &str) -> Vec<u8> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::new(from, 0)).unwrap_or_else(|e| panic!("{from}: {e}"));
    rustix::net::connect(&socket, &service).unwrap_or_else(|e| panic!("{service}: {e}"));
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {service}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a header");
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body).expect("a body");
    body
}

/// Announces from this address; the failure reason when it is refused.
fn announce_from(from: &str, service: SocketAddr, announce: &GetAnnounce) -> Result<GetAnswer, String> {
    let body =
        get_from(from.parse().expect("an address"), service, &format!("/announce?{}", announce.to_query()));
    failure_or(&body)
}

fn failure_or(body: &[u8]) -> Result<GetAnswer, String> {
    let text = String::from_utf8_lossy(body);
    if let Some(rest) = text.strip_prefix("d14:failure reason") {
        let (len, reason) = rest.split_once(':').expect("a bencoded string");
        let reason = reason.strip_suffix('e').expect("the end of a dictionary");
        assert_eq!(len.parse(), Ok(reason.len()), "{text}");
        return Err(reason.to_owned());
    }
    Ok(GetAnswer::parse(body).unwrap_or_else(|e| panic!("{e}: {text}")))
}

#[test]
fn two_clients_meet_and_neither_meets_itself() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    let first = ask::announce(service, &peer(b'a', 1_001, swarms[0]));
    assert_eq!((first.peers.len(), first.complete, first.incomplete), (0, 0, 1));
    let second = ask::announce(service, &GetAnnounce { left: 0, ..peer(b'b', 1_002, swarms[0]) });
    assert_eq!(second.peers, [address("127.0.0.1", 1_001)]);
    assert_eq!((second.complete, second.incomplete), (1, 1));
    let again = ask::announce(service, &peer(b'a', 1_001, swarms[0]));
    assert_eq!(again.peers, [address("127.0.0.1", 1_002)]);
    assert!(again.interval >= 60 && again.interval <= 75 && again.min_interval <= again.interval);
    let elsewhere = ask::announce(service, &peer(b'c', 1_003, swarms[1]));
    assert_eq!(elsewhere.peers, [], "another swarm is another swarm");
    // A port of zero looks without being seen.
    assert_eq!(ask::announce(service, &peer(b'd', 0, swarms[0])).peers.len(), 2);
    assert_eq!(ask::announce(service, &peer(b'a', 1_001, swarms[0])).peers.len(), 1);
}

#[test]
fn both_address_families_meet_in_one_swarm_in_compact_form() {
    let (site, swarms) = site("");
    let (four, six) = (at(&site, "127.0.0.1"), at(&site, "::1"));
    ask::announce(four, &peer(b'a', 0x1234, swarms[0]));
    ask::announce(six, &peer(b'b', 0x5678, swarms[0]));
    let both = [address("127.0.0.1", 0x1234), address("::1", 0x5678)];
    for service in [four, six] {
        let query = peer(b'c', 0, swarms[0]).to_query();
        let response = http::get(service, &format!("/announce?{query}")).expect_status(200);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let answer = GetAnswer::parse(&response.body).expect("an answer");
        assert_eq!(sorted(&answer.peers), both, "asked at {service}");
        let holds = |bytes: &[u8]| response.body.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(b"5:peers6:\x7f\0\0\x01\x12\x34"), "{}", response.text());
        assert!(holds(b"6:peers618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x56\x78"), "{}", response.text());
    }
}

#[test]
fn who_stops_leaves_at_once_and_who_falls_silent_soon() {
    let (site, swarms) = site("announce_interval = 1\n");
    let service = at(&site, "127.0.0.1");
    let look = || ask::announce(service, &peer(b'z', 0, swarms[0])).peers;
    ask::announce(service, &peer(b'a', 1_001, swarms[0]));
    ask::announce(service, &peer(b'b', 1_002, swarms[0]));
    assert_eq!(look().len(), 2);
    let stopped = GetAnnounce { event: Some(Event::Stopped), ..peer(b'a', 1_001, swarms[0]) };
    assert_eq!(ask::announce(service, &stopped).peers, [], "who leaves needs nobody");
    assert_eq!(look(), [address("127.0.0.1", 1_002)]);

    let silent_since = Instant::now();
    wait_for("end of a silent peer", VANISH_LIMIT, || {
        // Who goes on announcing stays.
        ask::announce(service, &peer(b'c', 1_003, swarms[0]));
        (look() == [address("127.0.0.1", 1_003)]).then_some(())
    });
    assert!(silent_since.elapsed() > Duration::from_secs(1), "one missed interval is forgiven");
    wait_for("scrape without the silent peer", VANISH_LIMIT, || {
        ask::announce(service, &peer(b'c', 1_003, swarms[0]));
        (ask::scrape(service, swarms[0]) == (0, 1)).then_some(())
    });
}

#[test]
fn scrapes_count_the_swarms_that_they_name() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    assert_eq!(ask::scrape(service, swarms[0]), (0, 0));
    for port in 1..=5 {
        let left = u64::from(port > 2);
        ask::announce(service, &GetAnnounce { left, ..peer(port as u8, port, swarms[0]) });
    }
    assert_eq!(ask::scrape(service, swarms[0]), (2, 3));
    assert_eq!(ask::scrape(service, swarms[1]), (0, 0));
    let escaped = |swarm: InfoHash| swarm.0.iter().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let both = format!("info_hash={}&info_hash={}", escaped(swarms[0]), escaped(swarms[1]));
    let text = http::get(service, &format!("/scrape?{both}")).expect_status(200).text();
    assert_eq!(text.matches("8:complete").count(), 2, "{text}");
    let unknown = http::get(service, &format!("/scrape?info_hash={}", escaped(InfoHash([9; 20]))));
    assert_eq!(unknown.expect_status(200).text(), "d5:filesdee");
    let all = http::get(service, "/scrape").expect_status(200);
    assert!(failure_or(&all.body).is_err(), "nobody is told of all swarms: {}", all.text());
    let many = vec![format!("info_hash={}", escaped(swarms[0])); SCRAPE_SWARMS_MAX + 1].join("&");
    assert!(failure_or(&http::get(service, &format!("/scrape?{many}")).expect_status(200).body).is_err());
}

#[test]
fn what_is_no_announce_is_answered_with_a_reason() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    let unknown = announce_from("127.0.0.1", service, &peer(b'a', 1_001, InfoHash([9; 20])));
    let reason = unknown.expect_err("an unknown swarm");
    assert!(reason.contains(&InfoHash([9; 20]).to_string()), "{reason}");
    let good = peer(b'a', 1_001, swarms[0]).to_query();
    for (query, about) in [
        (String::new(), "info_hash"),
        ("info_hash=short&peer_id=x&port=1".into(), "info_hash"),
        (good.replace("port=1001", "port=65536"), "port"),
        (good.replace("port=1001", "port=-1"), "port"),
        (good.replace("left=1", "left=x"), "left"),
        (format!("{good}&event=exploded"), "event"),
        (format!("{good}&x={}", "x".repeat(20_000)), "at most"),
    ] {
        let response = http::get(service, &format!("/announce?{query}")).expect_status(200);
        let reason = failure_or(&response.body).expect_err(&query);
        assert!(reason.contains(about), "{reason}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!(ask::scrape(service, swarms[0]), (0, 0), "nobody was entered");
}

#[test]
fn an_answer_has_as_many_peers_as_are_wanted_and_never_more_than_the_limit() {
    let (site, swarms) = site("peers_per_answer = 10\nannounces_per_second = 0\n");
    let service = at(&site, "127.0.0.1");
    for port in 1..=30 {
        ask::announce(service, &peer(port as u8, port, swarms[0]));
    }
    for (wanted, given) in [(Some(0), 0), (Some(3), 3), (Some(10), 10), (Some(5_000), 10), (None, 10)] {
        let answer = ask::announce(service, &GetAnnounce { wanted, ..peer(b'z', 1_000, swarms[0]) });
        let distinct: BTreeSet<SocketAddr> = answer.peers.iter().copied().collect();
        assert_eq!((answer.peers.len(), distinct.len()), (given, given), "{wanted:?}");
        assert!(!distinct.contains(&address("127.0.0.1", 1_000)));
    }
    // Some clients say that they have no wish.
    let query = format!("{}&numwant=-1", peer(b'z', 1_000, swarms[0]).to_query());
    let body = http::get(service, &format!("/announce?{query}")).expect_status(200).body;
    assert_eq!(GetAnswer::parse(&body).expect("an answer").peers.len(), 10);
}

fn batch(port: u16, name: u8, swarms: &[InfoHash]) -> BatchAnnounce {
    let swarm = |&info_hash| SwarmAnnounce {
        info_hash,
        left: 1,
        event: None,
        wanted: None,
        served: false,
        lease: None,
    };
    BatchAnnounce {
        version: 1,
        peer_id: PeerId([name; 20]),
        port,
        swarms: swarms.iter().map(swarm).collect(),
        compact: false,
        report: None,
    }
}

fn peers_of(answer: &SwarmAnswer) -> &[SocketAddr] {
    match answer {
        SwarmAnswer::Known { peers, .. } => peers,
        SwarmAnswer::Refused { refused, .. } => panic!("refused: {refused}"),
    }
}

#[test]
fn an_agent_announces_all_its_swarms_at_once_and_an_unknown_one_spoils_nothing() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    let unknown = InfoHash([9; 20]);
    ask::announce(service, &peer(b'a', 1_001, swarms[1]));
    let named = [swarms[0], unknown, swarms[1]];
    let answer = ask::announce_all(service, &batch(1_002, b'b', &named));
    assert_eq!((answer.version, answer.swarms.len()), (1, 3));
    assert!(answer.interval >= 60);
    assert_eq!(peers_of(&answer.swarms[0]), []);
    assert!(
        matches!(&answer.swarms[1], SwarmAnswer::Refused { info_hash, refused } if *info_hash == unknown && !refused.is_empty()),
        "{answer:?}"
    );
    assert_eq!(peers_of(&answer.swarms[2]), [address("127.0.0.1", 1_001)]);
    assert_eq!(ask::announce(service, &peer(b'a', 1_001, swarms[0])).peers, [address("127.0.0.1", 1_002)]);
    let mut leaving = batch(1_002, b'b', &swarms);
    for swarm in &mut leaving.swarms {
        swarm.event = Some(Event::Stopped);
    }
    ask::announce_all(service, &leaving);
    assert_eq!(ask::announce(service, &peer(b'a', 1_001, swarms[0])).peers, []);

    for (text, about) in [
        (serde_json::to_string(&BatchAnnounce { version: 2, ..leaving }).expect("JSON"), "version 2"),
        (serde_json::to_string(&batch(1, 1, &vec![unknown; BATCH_SWARMS_MAX + 1])).expect("JSON"), "at most"),
        ("{}".into(), "missing"),
    ] {
        let request = http::Request::post(&format!("{}announce", ask::PREFIX), text);
        let refused = http::send(service, &request).expect_status(400);
        assert!(refused.text().contains(about), "{}", refused.text());
    }
}

#[test]
fn a_flood_from_one_address_is_refused_and_others_are_served() {
    let (site, swarms) = site("announces_per_second = 1\nannounces_burst = 20\n");
    let service = at(&site, "127.0.0.1");
    let announce = |from| announce_from(from, service, &peer(b'a', 1_001, swarms[0]));
    let started = Instant::now();
    let served = (0..60).filter(|_| announce("127.0.0.1").is_ok()).count();
    let refilled = started.elapsed().as_secs() as usize + 1;
    assert!((20..=20 + refilled).contains(&served), "{served} of 60");
    let reason = announce("127.0.0.1").expect_err("a refusal");
    assert!(reason.contains("too many") && reason.contains("try again in"), "{reason}");
    for from in ["127.0.0.2", "127.0.0.3"] {
        announce(from).unwrap_or_else(|reason| panic!("{from}: {reason}"));
    }
    announce_from("::1", at(&site, "::1"), &peer(b'b', 1_002, swarms[0])).expect("another address");
    // Who floods still gets its plan, and so its web seeds, but meets nobody.
    let plan = ask::post_set_as(service, &site.digests(), 1_001, PeerId([b'a'; 20]));
    assert_eq!(plan.unknown, []);
    assert!(plan.bundles.iter().all(|bundle| bundle.peers.is_empty()), "{plan:?}");
    // Time heals it.
    wait_for("announce of the flooder", Duration::from_secs(20), || announce("127.0.0.1").ok());
}

#[test]
fn a_plan_joins_its_swarms_and_names_first_peers() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    let first = ask::post_set_as(service, &site.digests(), 1_001, PeerId([b'a'; 20]));
    assert!(first.bundles.iter().all(|bundle| bundle.peers.is_empty()), "nobody is introduced to itself");
    let second = ask::post_set_as(at(&site, "::1"), &site.digests(), 1_002, PeerId([b'b'; 20]));
    assert_eq!(second.bundles.len(), 2);
    for bundle in &second.bundles {
        assert_eq!(bundle.peers, [address("127.0.0.1", 1_001)]);
        assert_eq!((bundle.complete, bundle.incomplete), (0, 2));
    }
    // The same by the set's digest alone.
    let set = ask::set_digest(&site.digests());
    let target = format!("{}sets/{set}?port=1003&peer_id={}", ask::PREFIX, PeerId([b'c'; 20]));
    let third = ask::plan_of(http::get(service, &target));
    let expected = [address("127.0.0.1", 1_001), address("::1", 1_002)];
    for bundle in &third.bundles {
        assert_eq!(sorted(&bundle.peers), expected);
    }
    for &swarm in &swarms {
        assert_eq!(ask::scrape(service, swarm), (0, 3));
    }
    // Without a port or without a name the asker looks and is not listed.
    for query in ["", "?port=1004", "?peer_id=dddddddddddddddddddd"] {
        let plan = ask::plan_of(http::get(service, &format!("{}sets/{set}{query}", ask::PREFIX)));
        assert!(plan.bundles.iter().all(|bundle| bundle.peers.len() == 3), "{query}: {plan:?}");
    }
    assert_eq!(ask::scrape(service, swarms[0]), (0, 3));
    assert_eq!(
        ask::announce(service, &peer(b'a', 1_001, swarms[0])).peers.len(),
        2,
        "a plan and an announce make one peer"
    );
}

#[test]
fn who_is_outside_the_peer_networks_gets_nobody_and_is_given_to_nobody() {
    let (site, swarms) = site("peer_networks = ['127.0.0.1/32', '127.0.0.2/32']\n");
    let service = at(&site, "127.0.0.1");
    announce_from("127.0.0.2", service, &peer(b'i', 1_001, swarms[0])).expect("a host inside");
    let reason =
        announce_from("127.0.0.3", service, &peer(b'o', 1_002, swarms[0])).expect_err("a host outside");
    assert!(reason.contains("127.0.0.3"), "{reason}");
    announce_from("::1", at(&site, "::1"), &peer(b'o', 1_003, swarms[0])).expect_err("a host outside");
    let set = ask::set_digest(&site.digests());
    let target = format!("{}sets/{set}?port=1004&peer_id={}", ask::PREFIX, PeerId([b'o'; 20]));
    let body = get_from("127.0.0.3".parse().expect("an address"), service, &target);
    let plan: pkgtorrent_protocol::plan::Plan = serde_json::from_slice(&body).expect("a plan");
    assert_eq!(plan.bundles.len(), 2, "its web seeds are of use to everyone");
    assert!(plan.bundles.iter().all(|bundle| bundle.peers.is_empty()), "{plan:?}");
    let answer = announce_from("127.0.0.1", service, &peer(b'j', 1_005, swarms[0])).expect("a host inside");
    assert_eq!(answer.peers, [address("127.0.0.2", 1_001)]);
    assert_eq!(ask::scrape(service, swarms[0]), (0, 2));
}

#[test]
fn the_bytes_of_all_answers_are_counted() {
    let (site, swarms) = site("");
    let service = at(&site, "127.0.0.1");
    let batch = serde_json::to_vec(&batch(1_002, b'b', &swarms)).expect("JSON");
    let mut answered = 0;
    for request in [
        http::Request::get(&format!("/announce?{}", peer(b'a', 1_001, swarms[0]).to_query())),
        http::Request::get(&format!("/announce?{}", peer(b'a', 1_001, InfoHash([9; 20])).to_query())),
        http::Request::get("/announce?no=announce"),
        http::Request::post(&format!("{}announce", ask::PREFIX), batch),
    ] {
        let before = answered;
        answered += http::send(service, &request).expect_status(200).body.len();
        assert!(answered > before, "an empty answer counts nothing");
        assert_eq!(site.service.metric("pkgtorrent_announce_bytes_total"), answered as f64);
    }
}
