//! Every install of a host can be explained: where each byte came from and when, who was slow, what was waited for, and why
//! something was left to the package manager. The agent need not run any more.

use std::fs;
use std::time::Duration;

use pkgtorrent_protocol::control::Sources;
use pkgtorrent_system_tests::fake_peer::{FakePeer, Manner};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Agent, Server};
use serde_json::Value;

const FILES: [(&str, usize); 3] = [("a.rpm", 300_000), ("b.rpm", 700_001), ("c.rpm", 3_000_000)];
const TOTAL: u64 = 4_000_001;

/// A record is written once the last package is in place.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

fn site() -> Site {
    Site::start_apart(&FILES, "")
}

/// The record with this number, once it is written.
fn record(agent: &Agent, number: u64) -> Value {
    let number = number.to_string();
    wait_for("a record", WRITTEN_WITHIN, || {
        let ran = agent.run(&["explain", &number, "--json"]);
        (ran.status == Some(0)).then(|| serde_json::from_str(&ran.output).expect("JSON"))
    })
}

/// What is told of the last install.
fn told(agent: &Agent) -> String {
    agent.run(&["explain", "--last"]).succeeded().output
}

fn sum(numbers: &Value) -> u64 {
    numbers.as_array().expect("a list").iter().map(|number| number.as_u64().expect("a number")).sum()
}

/// What the timeline of a record adds up to.
fn timeline(record: &Value) -> Sources {
    let of = |source: &str| sum(&record["timeline"][source]);
    Sources { peers: of("near") + of("far"), origin: of("origin"), store: of("store") }
}

/// A service that answers everything but requests for packages.
fn without_packages(site: &Site) -> Server {
    proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => Answer::new(503, ""),
        _ => answer,
    })
}

/// A peer with these manners, of which the tracker says that it has everything.
fn bad_peer(manner: Manner, site: &Site) -> FakePeer {
    let peer = FakePeer::start(b'a', manner);
    site.plan().bundles.iter().for_each(|bundle| peer.join(site.service.addr(), bundle.info_hash));
    peer
}

#[test]
fn the_seconds_add_up_to_what_the_last_event_says() {
    let site = site();
    let (first, second) = (Agent::new(), Agent::new());
    let (url, wants) = (site.service.url("/"), first.wants(&site.packages));
    let from_origin = first.fetch(&url, &wants).all_placed().bytes();
    let from_peers = second.fetch(&url, &second.wants(&site.packages)).all_placed().bytes();
    let from_store = first.fetch(&url, &first.wants_in("again", &site.packages)).all_placed().bytes();
    let records = [record(&first, 1), record(&second, 1), record(&first, 2)];
    for (record, bytes) in records.iter().zip([from_origin, from_peers, from_store]) {
        assert_eq!(timeline(record), bytes, "{record:#}");
        assert_eq!(bytes.peers + bytes.origin + bytes.store, TOTAL);
        assert_eq!((&record["packages"], &record["placed"]), (&Value::from(3), &Value::from(3)));
    }
    let [by_origin, by_peers, _] = &records;
    let of_peers: u64 = by_peers["peers"].as_array().unwrap().iter().map(|peer| sum(&peer["timeline"])).sum();
    assert_eq!(of_peers, from_peers.peers);
    assert!(from_peers.peers > 0 && by_origin["origin_busy"].as_u64() > Some(0), "{by_origin:#}");

    // Whoever comes later needs no agent, and names the install by its set.
    let set = by_peers["set"].as_str().expect("a set").to_owned();
    second.stop();
    let by_set = second.run(&["explain", &set[..8]]).succeeded().output;
    assert!(by_set.contains(&set) && by_set.contains("3 of 3 packages in place"), "{by_set}");
    assert!(by_set.contains("would have sent 4.0 MB instead of"), "{by_set}");
    let list = first.run(&["explain", "--list"]).succeeded().output;
    assert_eq!(list.lines().count(), 2, "{list}");
    let status = second.run(&["status"]).failed_with("no agent is running");
    assert!(status.errors.contains("3 of 3 packages"), "{status:?}");
}

#[test]
fn what_is_not_recorded_is_a_problem_and_what_names_nothing_is_wrong_usage() {
    let agent = Agent::new();
    let _ = agent.run(&["explain"]).failed_with("no install is recorded");
    let _ = agent.run(&["explain", "7"]).failed_with("7 names");
    let list = agent.run(&["explain", "--list"]).succeeded();
    assert_eq!(list.output, "");
    assert_eq!(agent.run(&["explain", "../x"]).status, Some(2));
    assert!(!agent.state_dir().exists());
}

#[test]
fn a_silent_peer_a_liar_and_a_slow_one_are_named() {
    for (manner, words) in
        [(Manner::NeverSends, "fell silent"), (Manner::Lies, "sent wrong bytes and is banned")]
    {
        let site = site();
        let peer = bad_peer(manner, &site);
        let agent = Agent::new();
        let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
        let _ = record(&agent, 1);
        let told = told(&agent);
        let line = told.lines().find(|line| line.trim_start().starts_with(&peer.address().to_string()));
        assert!(line.is_some_and(|line| line.contains(words)), "{manner:?}: {told}");
    }
    let site = site();
    let slow = Agent::with_config("upload_limit = 2_000_000\n");
    let _ = slow.fetch(&site.service.url("/"), &slow.wants(&site.packages)).all_placed();
    let origin = without_packages(&site);
    let agent = Agent::new();
    let fetched = agent.fetch(&origin.url("/"), &agent.wants(&site.packages)).all_placed();
    let record = record(&agent, 1);
    let peer = &record["peers"][0];
    assert_eq!((peer["bytes"].as_u64(), fetched.bytes().peers), (Some(TOTAL), TOTAL), "{record:#}");
    assert!(peer["owed"].as_u64() > Some(500), "{record:#}");
    assert!(record["timeline"]["near"].as_array().unwrap().len() >= 2, "{record:#}");
    assert!(told(&agent).contains("4.0 MB at "));
}

#[test]
fn a_dead_origin_and_a_dead_service_are_named_with_what_to_do() {
    let site = site();
    let origin = without_packages(&site);
    let agent = Agent::new();
    assert_eq!(agent.fetch(&origin.url("/"), &agent.wants(&site.packages)).status, Some(3));
    let of_origin = record(&agent, 1);
    assert_eq!(of_origin["fallbacks"][0]["reason"], "not_brought", "{of_origin:#}");
    let text = told(&agent);
    assert!(
        text.contains("3 packages: neither hosts nor the mirror brought them") && text.contains("503"),
        "{text}"
    );
    assert!(text.contains("what to do: see the service's log"), "{text}");
    drop(origin);

    let url = site.service.url("/");
    drop(site.service);
    assert_eq!(agent.fetch(&url, &agent.wants(&site.packages)).status, Some(3));
    let of_service = record(&agent, 2);
    assert_eq!(of_service["fallbacks"][0]["reason"], "no_plan", "{of_service:#}");
    assert!(told(&agent).contains("the service gave no plan"));
}

#[test]
fn an_install_that_is_cut_short_is_recorded_too() {
    let site = site();
    let slow = Agent::with_config("upload_limit = 500_000\n");
    let _ = slow.fetch(&site.service.url("/"), &slow.wants(&site.packages)).all_placed();
    let origin = without_packages(&site);
    let agent = Agent::new();
    let mut fetching = agent.start_fetch(&origin.url("/"), &agent.wants(&site.packages));
    fetching.wait_for_progress(1);
    agent.stop();
    assert_eq!(fetching.end().status, Some(3));
    let record = record(&agent, 1);
    let left: u64 =
        record["fallbacks"].as_array().unwrap().iter().filter_map(|it| it["packages"].as_u64()).sum();
    assert_eq!(record["placed"].as_u64().unwrap() + left, 3, "{record:#}");
    assert_eq!(record["fallbacks"][0]["reason"], "interrupted", "{record:#}");
}

#[test]
fn fifty_installs_are_kept_and_each_state_directory_has_its_own() {
    let site = Site::start_apart(&[("a.rpm", 1000)], "");
    let (url, agent, other) = (site.service.url("/"), Agent::new(), Agent::new());
    for number in 1..=51 {
        let wants = agent.wants_in(&format!("cache-{number}"), &site.packages);
        let _ = agent.fetch(&url, &wants).all_placed();
    }
    let _ = record(&agent, 51);
    let _ = other.fetch(&url, &other.wants(&site.packages)).all_placed();
    let _ = record(&other, 1);
    let files = |agent: &Agent| fs::read_dir(agent.state_dir().join("installs")).unwrap().count();
    wait_for("the oldest to go", WRITTEN_WITHIN, || (files(&agent) == 50).then_some(()));
    assert_eq!(files(&other), 1);
    let _ = agent.run(&["explain", "1"]).failed_with("1 names");
    // Numbers go on with the next agent.
    agent.stop();
    let _ = agent.fetch(&url, &agent.wants_in("again", &site.packages)).all_placed();
    let _ = record(&agent, 52);
}

#[test]
fn a_hostile_name_stays_text() {
    let site = site();
    let agent = Agent::new();
    let mut wants = agent.wants(&site.packages);
    wants[0].name = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}name".into();
    let _ = agent.fetch(&site.service.url("/"), &wants).all_placed();
    let _ = record(&agent, 1);
    let told = told(&agent);
    assert!(told.contains("?[2J?]0;owned??name"), "{told}");
    assert!(told.chars().all(|sign| sign == '\n' || !sign.is_control()), "{told:?}");
}

#[test]
fn a_lid_that_is_waited_for_is_named() {
    let site = Site::start_apart(&FILES, "origin.max_rate = \"6 Mbit/s\"");
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    let _ = site.plan();
    let url = site.service.url("/");
    let fetching = hosts.each_ref().map(|host| host.start_fetch(&url, &host.wants(&site.packages)));
    fetching.into_iter().for_each(|fetching| drop(fetching.wait().all_placed()));
    let records = hosts.each_ref().map(|host| record(host, 1));
    let lids = |record: &Value| {
        record["waits"].as_array().unwrap().iter().filter(|wait| wait["why"] == "lid").count()
    };
    assert!(records.iter().any(|record| lids(record) > 0), "{records:#?}");
    let waited = records.iter().zip(&hosts).find(|(record, _)| lids(record) > 0);
    let (record, host) = waited.expect("one that waited");
    assert!(record["waited"].as_u64() > Some(0), "{record:#}");
    assert!(told(host).contains("the mirror's lid is reached"));
}
