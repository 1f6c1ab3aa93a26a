//! How long, how fast and whether at all a host gives to others: by its own settings and by the service's rules.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Fetched, Fetching};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, ask};
use rustix::process::{Pid, Signal, kill_process};

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

/// Hours of giving that begin and end at these times, counted from now.
fn hours(from: &str, until: &str) -> String {
    let hour = |from_now: &str| {
        let output = Command::new("date").args(["-d", from_now, "+%H:%M"]).output().expect("date runs");
        String::from_utf8(output.stdout).expect("a time").trim().to_owned()
    };
    format!("upload_hours = [\"{}-{}\"]", hour(from), hour(until))
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
}

#[test]
fn hosts_that_are_to_give_nothing_do_not_wait_for_each_other() {
    let site = Site::start(&FILES, r#"uploads = { vpn = { groups = ["laptops"], max_rate = "0" } }"#);
    let laptops = [0, 1, 2].map(|_| Agent::with_config(r#"group = "laptops""#));
    let url = site.service.url("/");
    let fetching = laptops.each_ref().map(|host| host.start_fetch(&url, &host.wants(&site.packages)));
    for fetched in fetching.map(Fetching::wait) {
        assert_eq!(fetched.all_placed().bytes().origin, TOTAL);
    }
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
fn an_agent_goes_by_its_hours_when_they_change() {
    let site = Site::start(&FILES, "");
    let agent = Agent::new();
    // The user that it becomes when root starts it has to find the file again.
    fs::set_permissions(agent.path(""), Permissions::from_mode(0o755)).expect("set");
    let reload = |config: &str| {
        agent.set_config(config);
        kill_process(agent.running(), Signal::HUP).expect("it is there");
    };
    let _ = fetch(&agent, &site);
    let lists = listed(&site);
    assert!(lists > 0);
    reload(&hours("+8 hours", "+16 hours"));
    wait_for("nobody in the lists", HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    let other = Agent::new();
    assert_eq!(fetch(&other, &site).bytes().origin, TOTAL, "nobody gave it anything");
    other.stop();
    wait_for("nobody in the lists", HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    reload("");
    wait_for("it in the lists again", HEARD_WITHIN, || (listed(&site) == lists).then_some(()));
    let later = fetch(&Agent::new(), &site).bytes();
    assert!(later.peers >= TOTAL * 19 / 20, "{later:?}");
}

#[test]
fn a_host_that_gives_nothing_takes_one_package_after_the_other() {
    let site = Site::start(&FILES, "");
    let (giver, closed) = (Agent::new(), Agent::with_config(&hours("+8 hours", "+16 hours")));
    let _ = fetch(&giver, &site);
    for package in &site.packages {
        let wants = closed.wants_in(package.file_name(), std::slice::from_ref(package));
        let fetched = closed.fetch(&site.service.url("/"), &wants).all_placed();
        assert!(fetched.bytes().peers >= package.size * 9 / 10, "{fetched:?}");
        assert!(fetched.duration < Duration::from_secs(2), "{fetched:?}");
    }
}

#[test]
fn a_rule_that_is_made_later_holds_with_the_next_plan() {
    let mut site = Site::start_apart(&FILES, "");
    let agent = Agent::with_config(r#"group = "laptops""#);
    let fetch_one = |site: &Site, nth: usize| {
        let wants = agent.wants_in(&format!("fetch-{nth}"), &site.packages[nth..=nth]);
        let _ = agent.fetch(&site.service.url("/"), &wants).all_placed();
    };
    fetch_one(&site, 0);
    assert!(listed(&site) > 0);
    site.service.set_config(r#"uploads = { vpn = { groups = ["laptops"], max_rate = "0" } }"#);
    kill_process(Pid::from_raw(site.service.pid() as i32).expect("a process"), Signal::HUP)
        .expect("it is there");
    wait_for("the rule", HEARD_WITHIN, || site.service.log().contains("uploads").then_some(()));
    fetch_one(&site, 1);
    wait_for("nobody in the lists", HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    assert_eq!(agent.status().expect("an agent runs").upload_limit, Some(0));
}

#[test]
fn a_set_is_left_when_its_time_is_over_and_the_agent_stays() {
    let site = Site::start(&FILES, "");
    let agent = Agent::with_config("seed_min = 5\nseed_max = 5\nidle_timeout = 600\n");
    let _ = fetch(&agent, &site);
    assert!(listed(&site) > 0);
    wait_for("nobody in the lists", 2 * HEARD_WITHIN, || (listed(&site) == 0).then_some(()));
    assert!(agent.status().is_some(), "it waits for something to do");
    // What it had is in its store, and is shared again when it is wanted again.
    let again = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages)).all_placed();
    assert_eq!(again.bytes().store, TOTAL);
}
