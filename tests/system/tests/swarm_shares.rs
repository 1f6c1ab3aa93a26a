//! Hosts that want the same fetch it from each other, and the service sends little more than one copy.

use std::time::Duration;

use pkgtorrent_protocol::InfoHash;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Fetched, Fetching};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, ask, proxy};

/// Packages of two classes, which are in two bundles, and their bytes together.
const FILES: [(&str, usize); 4] =
    [("a.rpm", 400_000), ("b.rpm", 700_001), ("c.rpm", 6_000_000), ("d.rpm", 3_000_000)];
const TOTAL: u64 = 10_100_001;

/// How long the tracker may take to hear of a host: its last word and its first take milliseconds.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

fn site() -> Site {
    Site::start(&FILES, "")
}

fn start(agent: &Agent, service: &str, site: &Site) -> Fetching {
    agent.start_fetch(service, &agent.wants(&site.packages))
}

fn fetch(agent: &Agent, site: &Site) -> Fetched {
    start(agent, &site.service.url("/"), site).wait().all_placed()
}

/// How many bytes the web seed has sent.
fn sent_by_origin(site: &Site) -> u64 {
    site.service.metric("pkgtorrent_webseed_bytes_total") as u64
}

/// Which bundles there are.
fn bundles(site: &Site) -> Vec<InfoHash> {
    site.plan().bundles.iter().map(|bundle| bundle.info_hash).collect()
}

#[test]
fn who_comes_later_gets_everything_from_who_was_there() {
    let site = site();
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    let fetched = hosts.each_ref().map(|host| fetch(host, &site));
    let sources = fetched.each_ref().map(|fetched| (fetched.bytes().origin, fetched.bytes().peers));
    assert_eq!(sources[0], (TOTAL, 0), "nobody was there");
    // A machine that stands still for seconds makes a host ask the origin, as it should.
    let little = TOTAL / 20;
    for (from_origin, from_peers) in &sources[1..] {
        assert_eq!(from_origin + from_peers, TOTAL);
        assert!(*from_origin <= little, "{sources:?}");
    }
    assert!(sent_by_origin(&site) <= TOTAL + 2 * little, "little more than the first host's copy");
    let status = |host: &Agent| host.status().expect("an agent runs");
    let from_peers = hosts.each_ref().map(|host| status(host).received.peers);
    assert_eq!(from_peers, sources.map(|(_, from_peers)| from_peers));
    wait_for("two copies sent by the hosts", HEARD_WITHIN, || {
        let sent: u64 = hosts.iter().map(|host| status(host).sent).sum();
        (sent >= from_peers.iter().sum()).then_some(())
    });
}

#[test]
fn what_is_gone_from_the_mirror_is_fetched_from_who_has_it() {
    let site = site();
    let hosts = [Agent::new(), Agent::new()];
    fetch(&hosts[0], &site);
    site.repository.remove(&site.packages[0]);
    site.repository.list(&site.packages[1..]);
    let listed = site.packages.len() - 1;
    wait_for("a catalog without the package", HEARD_WITHIN, || {
        (site.service.metric("pkgtorrent_catalog_packages") == listed as f64).then_some(())
    });
    let fetched = fetch(&hosts[1], &site);
    assert!(fetched.bytes().peers >= site.packages[0].size, "{fetched:?}");
}

#[test]
fn who_comes_at_once_shares_the_first_copy() {
    let site = site();
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    let url = site.service.url("/");
    let fetching = hosts.each_ref().map(|host| start(host, &url, &site));
    let fetched = fetching.map(|fetching| fetching.wait().all_placed());
    let from_peers: u64 = fetched.iter().map(|fetched| fetched.bytes().peers).sum();
    let from_origin: u64 = fetched.iter().map(|fetched| fetched.bytes().origin).sum();
    assert_eq!(from_peers + from_origin, 3 * TOTAL);
    assert!(sent_by_origin(&site) < TOTAL * 16 / 10, "{} of {TOTAL}: {fetched:?}", sent_by_origin(&site));
}

#[test]
fn hosts_that_wait_for_the_same_package_are_connected() {
    let site = site();
    let (service, gate) = proxy::before_with_gate(site.service.addr(), "c.rpm");
    let hosts = [Agent::new(), Agent::new()];
    let fetching = hosts.each_ref().map(|host| start(host, &service.url("/"), &site));
    for host in &hosts {
        wait_for("connection", HEARD_WITHIN, || (host.status()?.peers == 1).then_some(()));
    }
    gate.open();
    for fetching in fetching {
        let _ = fetching.wait().all_placed();
    }
}

#[test]
fn a_host_that_ends_says_so() {
    let site = site();
    let bundles = bundles(&site);
    let hosts = [Agent::new(), Agent::new()];
    for host in &hosts {
        let _ = fetch(host, &site);
    }
    let expect = |complete: u32| {
        for bundle in &bundles {
            let found = || ask::scrape(site.service.addr(), *bundle);
            let what = format!("{complete} complete peers");
            wait_for(&what, HEARD_WITHIN, || (found() == (complete, 0)).then_some(()));
        }
    };
    expect(2);
    hosts[0].stop();
    expect(1);
    hosts[1].stop();
    expect(0);
}
