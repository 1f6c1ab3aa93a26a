//! The agent may be killed at any moment: what is in the store stays right, nothing half-written is taken for whole, and
//! the next fetch goes on where the last one was.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pkgtorrent_protocol::control::FetchEvent;
use pkgtorrent_system_tests::load::seed;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::Package;
use pkgtorrent_test_support::agent::{Agent, Fetched, assert_placed};
use pkgtorrent_test_support::process::{free_port, wait_for};
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::{Server, Then};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::process::Signal;

/// How often the agent is killed while it downloads.
const KILLS: usize = 100;

/// Rounds in which there was nothing to kill any more are not counted; of these there are few.
const ROUNDS_MAX: usize = 3 * KILLS;

/// How late in a round the agent is killed: that is, at any moment of a download from a warm start.
const KILLED_WITHIN_MS: u64 = 150;

/// How much of what was begun is damaged: two pieces of a small package.
const DAMAGE_LEN: u64 = 64 << 10;

/// A fetch whose agent was killed ends at once; this is for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Packages of all classes, and a server that sends them slowly enough to be interrupted.
fn slow_site(files: &[(&str, usize)]) -> (Site, Server) {
    let site = Site::start(files, "");
    let server =
        proxy::before(site.service.addr(), |request, answer| match Part::of(request) == Part::Package {
            true => answer.slow(64 << 10, Duration::from_millis(2)),
            false => answer,
        });
    (site, server)
}

#[test]
fn at_random_moments_of_downloads() {
    let mut random = Pcg64Mcg::seed_from_u64(seed());
    let (site, server) = slow_site(&[
        ("a.rpm", 20_000),
        ("b.rpm", 100_000),
        ("c.rpm", 400_000),
        ("d.rpm", 900_000),
        ("e.rpm", 1_500_000),
        ("f.rpm", 3_000_000),
        ("g.rpm", 9_000_000),
        ("h.rpm", (64 << 20) + 1),
    ]);
    // Always on one port, as on a host of its own: the tracker then knows it again when it comes back.
    let agent = Agent::with_config(&format!("listen = \"127.0.0.1:{}\"\n", free_port()));
    let (mut kills, mut placed, mut cut_off, mut resumed) = (0, 0, 0, 0);
    for round in 0..ROUNDS_MAX {
        if kills == KILLS {
            break;
        }
        let cache = format!("cache-{round}");
        let mut fetching = agent.start_fetch(&server.url("/"), &agent.wants_in(&cache, &site.packages));
        // Mostly when it works, now and then while it starts.
        if !random.next_u32().is_multiple_of(16) {
            wait_for("an agent", SOON, || agent.pid().is_some().then_some(()));
        }
        std::thread::sleep(Duration::from_millis(random.next_u64() % KILLED_WITHIN_MS));
        kills += usize::from(!agent.processes().is_empty());
        agent.kill9();
        if random.next_u32().is_multiple_of(8) {
            fetching.program().signal(Signal::KILL);
        }
        let fetched = fetching.end();
        // It may have been about to start an agent.
        agent.kill9();
        assert!(matches!(fetched.status, Some(0 | 3) | None) && fetched.duration < SOON, "{fetched:?}");
        assert_eq!(fetched.errors, "", "{fetched:?}");
        assert_only_right(&agent.path(&cache), &site.packages, |package| package.file_name().into());
        assert_only_right(&agent.state_dir().join("store"), &site.packages, |package| {
            package.identity.to_string()
        });
        placed += fetched.events.iter().filter(|event| matches!(event, FetchEvent::Placed { .. })).count();
        cut_off += usize::from(fetched.status == Some(3));
        resumed += resumes(&fetched);
        forget_some(&agent, &mut random);
        let _ = fs::remove_dir_all(agent.path(&cache));
    }
    eprintln!(
        "{kills} kills, {cut_off} fetches cut off, {placed} packages placed, {resumed} of them resumed"
    );
    assert_eq!(kills, KILLS, "agents to kill");
    assert!(cut_off > 0 && placed > 0, "all or nothing is no test");

    let _ = agent.verify();
    let wants = agent.wants(&site.packages);
    let _ = agent.fetch(&site.service.url("/"), &wants).all_placed();
    for (package, want) in site.packages.iter().zip(&wants) {
        assert_placed(package, &want.dest);
    }
    assert_eq!(agent.verify().len(), site.packages.len());
    assert_eq!(fs::read_dir(agent.state_dir().join("partial")).unwrap().count(), 0, "nothing is left over");
}

/// How many packages were placed that had been begun before.
fn resumes(fetched: &Fetched) -> usize {
    let is_resumed = |event: &&FetchEvent| match event {
        FetchEvent::Placed { from, .. } => from.store > 0 && from.origin > 0,
        _ => false,
    };
    fetched.events.iter().filter(is_resumed).count()
}

/// Panics unless everything in a directory, which need not be there, is a package by its name.
fn assert_only_right(directory: &Path, packages: &[Package], name: impl Fn(&Package) -> String) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let shown = path.display();
        let is_it = |package: &&Package| path.file_name().is_some_and(|found| *found == *name(package));
        let package = packages.iter().find(is_it).unwrap_or_else(|| panic!("{shown} is no package"));
        let found = fs::read(&path).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert!(found == package.bytes(), "{shown} is not right");
    }
}

/// Takes away half of what is in the store, so that there is always something to download, and a little of what was
/// begun.
fn forget_some(agent: &Agent, random: &mut Pcg64Mcg) {
    for (directory, one_of) in [("store", 2), ("partial", 10)] {
        for entry in fs::read_dir(agent.state_dir().join(directory)).into_iter().flatten() {
            if random.next_u32().is_multiple_of(one_of) {
                fs::remove_file(entry.expect("an entry").path()).expect("a file is removed");
            }
        }
    }
}

#[test]
fn what_is_there_and_right_is_not_downloaded_again() {
    for (name, size, is_damaged) in [
        ("small.rpm", 1_000_000, false),
        ("medium.rpm", 10_000_000, false),
        ("large.rpm", 70_000_000, false),
        ("damaged.rpm", 900_000, true),
    ] {
        let site = Site::start(&[(name, size)], "");
        let answers = AtomicU32::new(0);
        let slow = proxy::before(site.service.addr(), move |request, answer| {
            // Two whole answers, and most of each other one, so that no download is ever whole.
            if Part::of(request) == Part::Package && answers.fetch_add(1, Ordering::Relaxed) >= 2 {
                let len = answer.clone().encode().len();
                return answer.cut(len / 5, Then::Hang);
            }
            answer
        });
        let agent = Agent::new();
        let wants = agent.wants(&site.packages);
        let mut fetching = agent.start_fetch(&slow.url("/"), &wants);
        fetching.wait_for_progress(1);
        agent.kill9();
        let fetched = fetching.wait().failed_with(0, "agent went away");
        assert!(fetched.duration < SOON, "{fetched:?}");
        assert!(!Path::new(&wants[0].dest).exists());
        let told = fetched.events.iter().filter_map(|event| match event {
            FetchEvent::Progress { done, .. } => Some(*done),
            _ => None,
        });
        let told = told.max().expect("progress");

        // As a disk may have it that had not written everything when the power went.
        let damaged = if is_damaged { DAMAGE_LEN } else { 0 };
        let partial = agent.state_dir().join("partial").join(site.packages[0].identity.to_string());
        let file = fs::File::options().write(true).open(partial).expect("what was begun");
        file.write_all_at(&vec![0; damaged as usize], 0).expect("damage is done");

        let again = agent.fetch(&site.service.url("/"), &wants).all_placed();
        let there = again.bytes().store;
        assert!(there + damaged >= told, "what it said to have is there: {again:?}");
        assert!(there > 0 && again.bytes().origin >= damaged, "{again:?}");
        assert_placed(&site.packages[0], &wants[0].dest);
    }
}

#[test]
fn at_random_moments_of_adding_files() {
    let mut random = Pcg64Mcg::seed_from_u64(seed());
    let site = Site::start(&[("a.rpm", 3_000_000), ("b.rpm", 30_000_000)], "");
    let agent = Agent::new();
    let mut added = 0;
    for _ in 0..20 {
        let mut command = agent.command(&["store", "add"]);
        command.args(site.packages.iter().map(|package| &package.path));
        let adding = std::thread::scope(|scope| {
            let adding = scope.spawn(|| agent.run_command(command));
            wait_for("an agent", SOON, || agent.pid().is_some().then_some(()));
            std::thread::sleep(Duration::from_millis(random.next_u64() % 100));
            agent.kill9();
            adding.join().expect("a command that ends")
        });
        assert!(matches!(adding.status, Some(0 | 1)) && adding.duration < SOON, "{adding:?}");
        assert_only_right(&agent.state_dir().join("store"), &site.packages, |package| {
            package.identity.to_string()
        });
        added += fs::read_dir(agent.state_dir().join("store")).map_or(0, Iterator::count);
        let _ = fs::remove_dir_all(agent.state_dir().join("store"));
    }
    eprintln!("{added} files were added in spite of it");
    assert_eq!(agent.verify(), []);
    assert_eq!(fs::read_dir(agent.state_dir().join("partial")).unwrap().count(), 0, "nothing is left over");
}
