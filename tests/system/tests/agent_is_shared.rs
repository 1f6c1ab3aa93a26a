//! One agent serves however many ask at once: each package is downloaded once, and nobody disturbs anybody else.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pkgtorrent_protocol::control::{FetchEvent, FetchPackage, FetchRequest, VERSION};
use pkgtorrent_protocol::socket::AgentStatus;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::Package;
use pkgtorrent_test_support::agent::{Agent, assert_placed, want};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Server;
use rustix::process::Signal;

const WEB_SEED_BYTES: &str = "pkgtorrent_webseed_bytes_total";

/// How long what is certain to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn bytes_of<'a>(packages: impl IntoIterator<Item = &'a Package>) -> u64 {
    packages.into_iter().map(|package| package.size).sum()
}

/// A service, behind a proxy that sends each package slowly, 6 KiB every 10 ms on a connection, until
/// the flag is set.
fn slow_site(files: &[(&str, usize)]) -> (Site, Server, Arc<AtomicBool>) {
    let site = Site::start(files, "");
    let fast = Arc::new(AtomicBool::new(false));
    let is_fast = Arc::clone(&fast);
    let server = proxy::before(site.service.addr(), move |request, answer| {
        match Part::of(request) == Part::Package && !is_fast.load(Ordering::Relaxed) {
            true => answer.slow(6 << 10, Duration::from_millis(10)),
            false => answer,
        }
    });
    (site, server, fast)
}

#[test]
fn twenty_fetches_at_once_download_each_package_once() {
    let names: Vec<String> = (0..30).map(|n| format!("package-{n}.rpm")).collect();
    let files: Vec<(&str, usize)> =
        names.iter().enumerate().map(|(n, name)| (name.as_str(), 1_000 + n * n * n * 150)).collect();
    let site = Site::start(&files, "");
    let agent = Agent::new();
    let sets: Vec<Vec<&Package>> = (0..20)
        .map(|host| {
            site.packages.iter().enumerate().filter(|(n, _)| (n * 7 + host) % 3 > 0).map(|it| it.1).collect()
        })
        .collect();
    // None has an agent when it starts, so that they all start one.
    let fetchings: Vec<_> = (0..)
        .zip(&sets)
        .map(|(host, set): (usize, _)| {
            let wants = agent.wants_in(&format!("cache-{host}"), set.iter().copied());
            agent.start_fetch(&site.service.url("/"), &wants)
        })
        .collect();
    let mut from_origin = 0;
    for (host, fetching) in fetchings.into_iter().enumerate() {
        let fetched = fetching.wait().all_placed();
        assert_eq!(fetched.bytes().origin + fetched.bytes().store, bytes_of(sets[host].iter().copied()));
        from_origin += fetched.bytes().origin;
        for package in &sets[host] {
            assert_placed(package, agent.path(&format!("cache-{host}")).join(package.file_name()));
        }
    }
    let all = bytes_of(&site.packages);
    assert_eq!(site.service.metric(WEB_SEED_BYTES), all as f64, "each package once");
    assert_eq!(from_origin, all, "each byte is said to be from the origin once");
    assert_eq!(agent.processes().len(), 1, "one agent is left");
    assert_eq!(agent.verify().len(), site.packages.len());
}

#[test]
fn one_set_does_not_wait_for_another() {
    let (site, slow, fast) = slow_site(&[("slow.rpm", 8_000_000)]);
    let other = Site::start(&[("a.rpm", 300_000), ("b.rpm", 3_000_000)], "");
    let agent = Agent::new();
    let mut first = agent.start_fetch(&slow.url("/"), &agent.wants(&site.packages));
    first.wait_for_progress(1);
    let second = agent.fetch(&other.service.url("/"), &agent.wants(&other.packages)).all_placed();
    assert_eq!(second.bytes().origin, 3_300_000);
    assert!(first.program().ended().is_none(), "the slow one was to be slower");
    fast.store(true, Ordering::Relaxed);
    assert_eq!(first.wait().all_placed().bytes().origin, 8_000_000);
}

#[test]
fn an_interrupted_fetch_ends_neither_the_agent_nor_the_download() {
    // Most of it is waiting, so it is done at once.
    std::thread::scope(|scope| {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
            scope.spawn(move || interrupt(signal));
        }
    });
}

fn interrupt(signal: Signal) {
    let (site, slow, fast) = slow_site(&[("a.rpm", 4_000_000)]);
    let agent = Agent::new();
    let wants = |name: &str| agent.wants_in(name, &site.packages);
    let mut stays = agent.start_fetch(&slow.url("/"), &wants("stays"));
    stays.wait_for_progress(1);
    let pid = agent.running();
    let mut goes = agent.start_fetch(&slow.url("/"), &wants("goes"));
    goes.wait_for_event("progress", |event| matches!(event, FetchEvent::Progress { .. }));
    goes.program().signal(signal);
    let ended = goes.end();
    assert_ne!(ended.status, Some(0), "{signal:?}: {ended:?}");
    assert!(ended.duration < SOON, "{signal:?}: {ended:?}");
    assert_eq!(agent.running(), pid, "{signal:?}");
    // Also when it was the only one: who comes back within seconds finds the download where it is.
    stays.program().signal(signal);
    let _ = stays.end();
    wait_for("end of its wants", SOON, || agent.status().filter(|status| status.waiting == 0));
    std::thread::sleep(Duration::from_millis(1200));
    fast.store(true, Ordering::Relaxed);
    let again = agent.fetch(&slow.url("/"), &wants("again")).all_placed();
    assert_placed(&site.packages[0], agent.path("again/a.rpm"));
    assert_eq!(agent.running(), pid, "{signal:?}: {again:?}");
    assert_eq!(site.service.metric(WEB_SEED_BYTES), 4_000_000.0, "{signal:?}: nothing came twice");
    for name in ["stays", "goes"] {
        assert_eq!(names_in(&agent, name), [""; 0], "{signal:?}: {name}");
    }
}

#[test]
fn a_download_that_nobody_waits_for_ends_and_is_kept() {
    let site = Site::start(&[("a.rpm", 40_000_000)], "");
    let never = proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => answer.slow(16 << 10, Duration::from_millis(100)),
        _ => answer,
    });
    let agent = Agent::new();
    let mut fetching = agent.start_fetch(&never.url("/"), &agent.wants(&site.packages));
    fetching.wait_for_progress(1);
    fetching.program().kill9();
    let ended = |status: &AgentStatus| status.downloads.is_empty();
    wait_for("end of the download", SOON, || agent.status().filter(ended));
    let again = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert!(again.bytes().store > 0, "{again:?}");
}

/// The files in a directory of this host, which need not be there.
fn names_in(agent: &Agent, directory: &str) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(agent.path(directory)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

#[test]
fn a_fetch_that_is_not_read_from_disturbs_nobody() {
    let site = Site::start(&[("a.rpm", 300_000), ("b.rpm", 2_000_000)], "");
    let agent = Agent::new();
    // Their events are more than a pipe holds.
    let strangers = (0..4_000_u32).map(|n| FetchPackage {
        digest: format!("sha256:{n:064x}").parse().expect("a digest"),
        ..want(&site.packages[0], &agent.path(&format!("strange/{n}")))
    });
    let packages = agent.wants_in("unread", &site.packages).into_iter().chain(strangers).collect();
    let request = FetchRequest { version: VERSION, packages, reserve: None };
    std::fs::write(agent.path("request"), serde_json::to_vec(&request).unwrap()).unwrap();
    let mut command = agent.command(&["fetch", "--service", &site.service.url("/")]);
    command.stdin(std::fs::File::open(agent.path("request")).unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut unread = command.spawn().expect("fetch starts");
    wait_for("an agent that is asked", SOON, || {
        agent.pid().and_then(|_| agent.status()).filter(|status| status.waiting == 1)
    });
    // It has asked for both packages, and these get them in spite of it.
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert!(unread.try_wait().unwrap().is_none(), "it was to be stuck");
    assert!(fetched.duration < SOON, "{fetched:?}");
    assert_eq!(site.service.metric(WEB_SEED_BYTES), 2_300_000.0);
    unread.kill().unwrap();
    unread.wait().unwrap();
    wait_for("end of its wants", SOON, || agent.status().filter(|status| status.waiting == 0));
}

#[test]
fn a_fetch_that_was_stopped_disturbs_nobody() {
    let (site, slow, fast) = slow_site(&[("a.rpm", 3_000_000), ("b.rpm", 200_000)]);
    let agent = Agent::new();
    let mut stopped = agent.start_fetch(&slow.url("/"), &agent.wants_in("stopped", &site.packages));
    stopped.wait_for_progress(1);
    stopped.program().signal(Signal::STOP);
    fast.store(true, Ordering::Relaxed);
    let fetched = agent.fetch(&slow.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(fetched.bytes().origin + fetched.bytes().store, 3_200_000);
    stopped.program().signal(Signal::CONT);
    let _ = stopped.wait().all_placed();
    assert_eq!(site.service.metric(WEB_SEED_BYTES), 3_200_000.0);
}

#[test]
fn commands_of_every_kind_are_answered_while_packages_come() {
    let (site, slow, fast) = slow_site(&[("a.rpm", 4_000_000), ("b.rpm", 4_000_000)]);
    let agent = Agent::new();
    let mut fetching = agent.start_fetch(&slow.url("/"), &agent.wants(&site.packages));
    fetching.wait_for_progress(1);
    let file = agent.path("mine.rpm");
    std::fs::write(&file, vec![7; 200_000]).unwrap();
    let file = file.to_str().unwrap();
    let commands = [&["store", "add", file][..], &["store", "verify"], &["store", "list"], &["status"]];
    std::thread::scope(|scope| {
        for command in commands {
            let agent = &agent;
            scope.spawn(move || agent.run(command).succeeded());
        }
    });
    let status = agent.status().expect("an agent runs");
    assert_eq!((status.downloads.len(), status.waiting), (2, 1), "{status:?}");
    assert!(status.downloads.iter().all(|download| download.done < download.size), "{status:?}");
    fast.store(true, Ordering::Relaxed);
    let _ = fetching.wait().all_placed();
    let stored =
        wait_for("the file in the store", SOON, || Some(agent.verify()).filter(|all| all.len() == 3));
    assert_eq!(stored.iter().map(|package| package.size).sum::<u64>(), 8_200_000);
}
