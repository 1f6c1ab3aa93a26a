//! `fetch --dry-run` says of each package where it would come from, and changes nothing: no file, no agent, no swarm.

use std::fs;

use pkgtorrent_protocol::control::{FetchEvent, FetchPackage, FetchRequest, PlannedSource, Sources, VERSION};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, Fetched};

fn dry_run(agent: &Agent, service: &str, wants: &[FetchPackage]) -> Fetched {
    let request = FetchRequest { version: VERSION, packages: wants.to_vec(), reserve: None };
    let text = serde_json::to_vec(&request).expect("a request encodes");
    agent.fetch_text(&["--dry-run", "--service", service], &text)
}

/// What was said of each package, in the order of the request: where from, and how many hosts have all and some of it.
fn planned(fetched: &Fetched) -> Vec<(usize, PlannedSource, u32, u32)> {
    let of = |event: &FetchEvent| match event {
        FetchEvent::Planned { index, from, complete, partial } => Some((*index, *from, *complete, *partial)),
        _ => None,
    };
    let mut planned: Vec<_> = fetched.events.iter().filter_map(of).collect();
    planned.sort_by_key(|(index, ..)| *index);
    planned
}

#[test]
fn each_package_has_its_place() {
    let site = Site::start(&[("a.rpm", 200_000), ("b.rpm", 200_000), ("c.rpm", 200_000)], "");
    let url = site.service.url("/");
    let other = Agent::new();
    let _ = other.fetch(&url, &other.wants(&site.packages)).all_placed();

    let agent = Agent::new();
    let _ = agent.fetch(&url, &agent.wants(&site.packages[..2])).all_placed();
    fs::remove_file(agent.path("cache/b.rpm")).expect("removed");
    agent.stop();
    let mut wants = agent.wants(&site.packages);
    let mut unknown = wants[0].clone();
    unknown.digest = format!("sha256:{}", "e".repeat(64)).parse().expect("a digest");
    unknown.dest = agent.path("cache/e.rpm").to_str().expect("a path").into();
    wants.push(unknown);

    let fetched = dry_run(&agent, &url, &wants);
    assert_eq!(fetched.status, Some(3), "{fetched:?}");
    let found = planned(&fetched);
    let sources: Vec<_> = found.iter().map(|(_, from, ..)| *from).collect();
    use PlannedSource::{Bundle, Destination, Store, Unknown};
    assert_eq!(sources, [Destination, Store, Bundle, Unknown], "{fetched:?}");
    assert_eq!(found[2].2, 1, "the other host has all of it: {fetched:?}");
    assert_eq!(fetched.done(), (3, 1, Sources::default()));

    let known = dry_run(&agent, &url, &wants[..3]);
    assert_eq!(known.status, Some(0), "{known:?}");
}

#[test]
fn nothing_is_changed_by_it() {
    let site = Site::start(&[("a.rpm", 200_000)], "");
    let url = site.service.url("/");
    let agent = Agent::new();
    let wants = agent.wants(&site.packages);
    for _ in 0..2 {
        let fetched = dry_run(&agent, &url, &wants);
        assert_eq!(planned(&fetched), [(0, PlannedSource::Bundle, 0, 0)], "nobody joined: {fetched:?}");
    }
    assert!(!agent.state_dir().exists() && !agent.path("cache").exists());
    assert!(agent.processes().is_empty(), "an agent was started");
    assert_eq!(site.service.metric("pkgtorrent_webseed_bytes_total"), 0.0);
    // With one that runs it is the same.
    let _ = agent.fetch(&url, &wants).all_placed();
    let elsewhere = agent.wants_in("elsewhere", &site.packages);
    assert_eq!(planned(&dry_run(&agent, &url, &elsewhere)), [(0, PlannedSource::Store, 0, 0)]);
    assert!(!agent.path("elsewhere").exists());
}

#[test]
fn what_nobody_can_be_asked_for_is_left_with_its_reason() {
    let agent = Agent::new();
    let site = Site::start(&[("a.rpm", 1000)], "");
    let wants = agent.wants(&site.packages);
    let down = format!("http://{}/", "127.0.0.1:1");
    let fetched = dry_run(&agent, &down, &wants);
    assert_eq!((fetched.status, planned(&fetched).len()), (Some(3), 0));
    assert!(fetched.failure(0).is_some_and(|reason| reason.contains("127.0.0.1:1")), "{fetched:?}");
    assert_eq!(dry_run(&agent, "", &wants).failure(0), Some("no service is configured"));
    assert_eq!(agent.fetch_text(&["--dry-run"], b"{").status, Some(2));
}

#[test]
fn lines_have_it_too() {
    let site = Site::start(&[("a.rpm", 1000)], "");
    let agent = Agent::new();
    let request = FetchRequest { version: VERSION, packages: agent.wants(&site.packages), reserve: None };
    fs::write(agent.path("in"), serde_json::to_vec(&request).expect("encodes")).expect("written");
    let mut command =
        agent.command(&["fetch", "--dry-run", "--events", "lines", "--service", &site.service.url("/")]);
    command.stdin(fs::File::open(agent.path("in")).expect("the request"));
    let output = command.output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "planned\t0\tbundle\t0\t0\ndone\t1\t0\t0\t0\t0\n");
}
