//! How long, how fast and whether at all a host gives to others: by its own settings and by the service's rules.

use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::Fetched;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, ask};

const FILES: [(&str, usize); 2] = [("a.rpm", 1_000_000), ("b.rpm", 2_000_001)];
const TOTAL: u64 = 3_000_001;

/// How long the tracker may take to hear of a host.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

fn fetch(agent: &Agent, site: &Site) -> Fetched {
    agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed()
}

/// How many hosts are listed in all of the set's swarms.
fn listed(site: &Site) -> u32 {
    let bundles = site.plan().bundles;
    let counts = bundles.iter().map(|bundle| ask::scrape(site.service.addr(), bundle.info_hash));
    counts.map(|(complete, incomplete)| complete + incomplete).sum()
}

fn sent(agent: &Agent) -> u64 {
    agent.status().expect("an agent runs").sent
}

#[test]
fn a_group_that_is_to_give_nothing_takes_from_others() {
    let site = Site::start(&FILES, r#"uploads = { vpn = { groups = ["laptops"], max_rate = "0" } }"#);
    let (giver, laptop) = (Agent::new(), Agent::with_config(r#"group = "laptops""#));
    let _ = fetch(&giver, &site);
    // A machine that stands still for seconds makes a host ask the origin, as it should.
    let of_laptop = fetch(&laptop, &site).bytes();
    assert!(of_laptop.peers >= TOTAL * 19 / 20, "{of_laptop:?}");
    assert_eq!(laptop.status().expect("an agent runs").upload_limit, Some(0));
    assert_eq!(giver.status().expect("an agent runs").upload_limit, None);
    giver.stop();
    wait_for("nobody in the lists", HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    let alone = fetch(&Agent::new(), &site).bytes();
    assert_eq!((alone.origin, sent(&laptop)), (TOTAL, 0));
    // Two of them and nobody else: each is as fast as without the other.
    let other = Agent::with_config(r#"group = "laptops""#);
    let fetched = fetch(&other, &site);
    assert!(fetched.bytes().origin + fetched.bytes().peers == TOTAL, "{fetched:?}");
}

#[test]
fn a_group_gives_no_faster_than_it_may() {
    let site = Site::start(&FILES, r#"uploads = { thin = { groups = ["branch"], max_rate = "8 Mbit/s" } }"#);
    let (branch, other) = (Agent::with_config(r#"group = "branch""#), Agent::new());
    let _ = fetch(&branch, &site);
    assert_eq!(branch.status().expect("an agent runs").upload_limit, Some(1_000_000));
    let fetched = fetch(&other, &site);
    // What the sockets hold goes at once.
    let seconds = fetched.bytes().peers.saturating_sub(500_000) as f64 / 1e6;
    assert!(fetched.bytes().peers > TOTAL / 2, "{fetched:?}");
    assert!(fetched.duration.as_secs_f64() > seconds * 0.9, "{fetched:?}");
}

#[test]
fn outside_its_hours_a_host_gives_nothing() {
    let site = Site::start(&FILES, "");
    let hour = |from_now: &str| {
        let output = Command::new("date").args(["-d", from_now, "+%H:%M"]).output().expect("date runs");
        String::from_utf8(output.stdout).expect("a time").trim().to_owned()
    };
    let hours = |from, until| format!(r#"upload_hours = ["{}-{}"]"#, hour(from), hour(until));
    let closed = Agent::with_config(&hours("+8 hours", "+16 hours"));
    let _ = fetch(&closed, &site);
    assert_eq!(listed(&site), 0);
    let open = Agent::with_config(&hours("-8 hours", "+8 hours"));
    assert_eq!(fetch(&open, &site).bytes().origin, TOTAL, "nobody gave it anything");
    let later = fetch(&Agent::new(), &site).bytes();
    assert!(later.peers >= TOTAL * 19 / 20, "{later:?}");
    assert_eq!(sent(&closed), 0);
}

#[test]
fn a_set_is_left_when_its_time_is_over_and_the_agent_stays() {
    let site = Site::start(&FILES, "");
    let agent = Agent::with_config("seed_min = 2\nseed_max = 2\nidle_timeout = 600\n");
    let _ = fetch(&agent, &site);
    assert!(listed(&site) > 0);
    wait_for("nobody in the lists", HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    assert!(agent.status().is_some(), "it waits for something to do");
    // What it had is in its store, and is shared again when it is wanted again.
    let again = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages)).all_placed();
    assert_eq!(again.bytes().store, TOTAL);
}
