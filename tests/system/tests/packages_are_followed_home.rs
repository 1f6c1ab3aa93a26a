//! Whoever needs a package gets it from those who have it, also where it had another home when they fetched it.

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::Fetched;
use pkgtorrent_test_support::{Agent, Package};

/// So many packages of the same class, each of which is fetched by itself at first: more homes than a plan may have.
const PACKAGES: usize = 24;

/// The size of the first; the others are some bytes larger, and end within their pieces.
const SIZE: usize = 150_001;

fn site() -> Site {
    let names: Vec<String> = (0..PACKAGES).map(|number| format!("package-{number}.rpm")).collect();
    let files: Vec<(&str, usize)> =
        (0..).zip(&names).map(|(nth, name)| (name.as_str(), SIZE + 1000 * nth)).collect();
    Site::start_apart(&files, "")
}

fn bytes(packages: &[Package]) -> u64 {
    packages.iter().map(|package| package.size).sum()
}

fn fetch(agent: &Agent, site: &Site, packages: &[Package]) -> Fetched {
    agent.fetch(&site.service.url("/"), &agent.wants(packages)).all_placed()
}

/// Gives each package a home of its own.
fn fetch_one_by_one(agent: &Agent, site: &Site, packages: &[Package]) {
    for package in packages {
        let _ = fetch(agent, site, std::slice::from_ref(package));
    }
}

#[test]
fn who_wants_what_others_fetched_one_by_one_gets_it_from_them() {
    let site = site();
    let (first, second) = site.packages.split_at(PACKAGES / 2);
    let hosts = [Agent::new(), Agent::new()];
    fetch_one_by_one(&hosts[0], &site, first);
    fetch_one_by_one(&hosts[1], &site, second);
    let third = Agent::new();
    let fetched = fetch(&third, &site, &site.packages);
    let homes = site.plan().bundles.len();
    assert!(homes < PACKAGES / 2, "they were merged: {homes} homes");
    // A machine that stands still for seconds makes a host ask the origin, as it should.
    assert!(fetched.bytes().origin <= bytes(&site.packages) / 10, "{:?}", fetched.bytes());
}

#[test]
fn what_an_agent_had_before_a_restart_is_shared_with_what_it_fetches_now() {
    let site = site();
    let (had, wanted) = site.packages.split_at(PACKAGES - 1);
    let host = Agent::new();
    let _ = fetch(&host, &site, had);
    host.stop();
    // Elsewhere, so that all of it is asked of the agent.
    let again = host.wants_in("elsewhere", &site.packages);
    let _ = host.fetch(&site.service.url("/"), &again).all_placed();
    let other = Agent::new();
    let fetched = fetch(&other, &site, had);
    assert!(fetched.bytes().origin <= bytes(had) / 10, "{:?}", fetched.bytes());
    assert!(bytes(wanted) > 0 && host.status().is_some_and(|status| status.received.origin <= bytes(wanted)));
}
