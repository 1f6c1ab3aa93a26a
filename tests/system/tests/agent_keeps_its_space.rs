//! The store stays within its limits, whatever it is told to keep and wherever it lies: what has no room is left to the
//! package manager, whose own room is never taken.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, assert_placed, want};
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::user::{OTHER_USER, ids_of};
use pkgtorrent_test_support::{Disk, Package};

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

const MIB: u64 = 1 << 20;

/// A service that has these packages, each of so many bytes.
fn site(sizes: &[usize]) -> Site {
    let names = ["a.rpm", "b.rpm", "c.rpm", "d.rpm", "e.rpm", "f.rpm"];
    let files: Vec<(&str, usize)> = names.into_iter().zip(sizes.iter().copied()).collect();
    Site::start(&files, "")
}

/// The names of those packages that are in the store, as it lists them: that wanted longest ago first.
fn stored(agent: &Agent, packages: &[Package]) -> Vec<String> {
    let name = |identity| {
        let package = packages.iter().find(|package| package.identity == identity);
        package.map_or_else(|| format!("{identity}?"), |package| package.file_name().to_owned())
    };
    agent.stored().into_iter().map(|stored| name(stored.identity)).collect()
}

/// Fetches single packages, each from a transaction of its own.
fn fetch_each(agent: &Agent, site: &Site, names: &[&str]) {
    for name in names {
        let package = site.packages.iter().filter(|package| package.file_name() == *name);
        let _ = fs::remove_dir_all(agent.path("cache"));
        let _ = agent.fetch(&site.service.url("/"), &agent.wants(package)).all_placed();
    }
}

#[test]
fn what_nobody_has_wanted_for_longest_leaves_first() {
    let site = site(&[400_000; 5]);
    let agent = Agent::with_config("store_max_bytes = 1300000\n");
    fetch_each(&agent, &site, &["a.rpm", "b.rpm", "c.rpm", "a.rpm"]);
    assert_eq!(stored(&agent, &site.packages), ["b.rpm", "c.rpm", "a.rpm"]);
    fetch_each(&agent, &site, &["d.rpm"]);
    assert_eq!(stored(&agent, &site.packages), ["c.rpm", "a.rpm", "d.rpm"]);
    // The order is known to the next agent, and to read everything again is not to want it.
    agent.stop();
    let _ = agent.verify();
    fetch_each(&agent, &site, &["e.rpm"]);
    assert_eq!(stored(&agent, &site.packages), ["a.rpm", "d.rpm", "e.rpm"]);
    let status = agent.status().expect("it runs");
    assert_eq!((status.bytes, status.bytes_max), (1_200_000, 1_300_000));
    // A smaller limit holds at once.
    agent.stop();
    agent.set_config("store_max_bytes = 800000\n");
    assert_eq!(stored(&agent, &site.packages), ["d.rpm", "e.rpm"]);
}

#[test]
fn what_does_not_fit_is_left_and_the_rest_is_placed() {
    let site = site(&[100_000, 2_000_000, 200_000]);
    let agent = Agent::with_config("store_max_bytes = 1000000\n");
    let wants = agent.wants(&site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &wants).failed_with(1, "2000000 bytes are needed");
    assert_eq!(fetched.done().0, 2, "{fetched:?}");
    assert_placed(&site.packages[0], &wants[0].dest);
    assert_placed(&site.packages[2], &wants[2].dest);
    assert_eq!(stored(&agent, &site.packages).len(), 2);
}

#[test]
fn a_set_that_is_larger_than_the_store_does_not_make_it_larger() {
    let site = site(&[400_000; 6]);
    let agent = Agent::with_config("store_max_bytes = 1000000\n");
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    for (index, package) in site.packages.iter().enumerate() {
        match fetched.failure(index) {
            Some(reason) => assert!(reason.contains("no room"), "{fetched:?}"),
            None => assert_placed(package, agent.path("cache").join(package.file_name())),
        }
    }
    assert!(fetched.done().0 >= 2, "{fetched:?}");
    let on_disk: u64 = ["store", "partial"]
        .iter()
        .flat_map(|name| fs::read_dir(agent.state_dir().join(name)).unwrap().flatten())
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 1_000_000, "{on_disk} bytes");
}

#[test]
fn half_a_package_leaves_before_whole_ones() {
    let site = site(&[400_000, 400_000, 400_000]);
    let agent = Agent::with_config("store_max_bytes = 1300000\n");
    fetch_each(&agent, &site, &["a.rpm", "b.rpm"]);
    let never = proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => answer.cut(10_000, pkgtorrent_test_support::server::Then::Hang),
        _ => answer,
    });
    let wants = agent.wants_in("half", &site.packages[2..]);
    let mut fetching = agent.start_fetch(&never.url("/"), &wants);
    fetching.wait_for_progress(1);
    agent.kill9();
    let _ = fetching.end();
    let partials = || fs::read_dir(agent.state_dir().join("partial")).unwrap().count();
    assert_eq!(partials(), 1);
    let file = agent.path("mine");
    fs::write(&file, vec![1; 450_000]).unwrap();
    let _ = agent.run(&["store", "add", file.to_str().unwrap()]).succeeded();
    assert_eq!(partials(), 0);
    assert_eq!(agent.stored().len(), 3, "no whole package left");
}

#[test]
fn the_floor_of_free_space_is_kept() {
    let site = site(&[30 << 20, 1 << 20]);
    let disk = Disk::new(64 * MIB);
    let agent =
        Agent::with_config(&format!("free_space_min = {}\n", 40 * MIB)).in_dir(disk.path().join("state"));
    let wants = agent.wants(&site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &wants).failed_with(0, "must stay free");
    assert_eq!(fetched.done().0, 1, "{fetched:?}");
    assert!(disk.free() >= 40 * MIB);
    assert_placed(&site.packages[1], &wants[1].dest);
    // Others take space; the store gives its own back.
    let ballast = disk.fill_but(40 * MIB);
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages[1..]));
    assert!(disk.free() >= 40 * MIB, "{fetched:?}");
    fs::remove_file(ballast).unwrap();
    drop(agent);
}

#[test]
fn the_room_for_the_package_managers_own_copies_is_kept() {
    let site = site(&[31 << 20, 10 << 20]);
    let disk = Disk::new(64 * MIB);
    let agent = Agent::new().in_dir(disk.path().join("state"));
    let wants: Vec<_> = site
        .packages
        .iter()
        .map(|package| want(package, &disk.path().join("cache").join(package.file_name())))
        .collect();
    // Twice 41 MiB have no room; once they have, and that is what dnf alone takes.
    let fetched = agent.fetch(&site.service.url("/"), &wants);
    for (package, (index, want)) in site.packages.iter().zip(wants.iter().enumerate()) {
        match fetched.failure(index) {
            Some(reason) => {
                assert!(reason.contains("no room"), "{fetched:?}");
                fs::write(&want.dest, package.bytes()).expect("dnf has the room for it");
            }
            None => assert_placed(package, &want.dest),
        }
    }
    assert!(fetched.done().1 > 0, "{fetched:?}");
    drop(agent);
}

#[test]
fn where_nothing_can_be_kept_packages_are_left_at_once() {
    let site = site(&[300_000]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let (full, nearly_full, read_only, used) =
        (Disk::new(4 * MIB), Disk::new(4 * MIB), Disk::new(4 * MIB), Disk::new(16 * MIB));
    full.fill_but(0);
    nearly_full.fill_but(100_000);
    read_only.make_read_only();
    {
        // One that was an agent's before.
        let agent = Agent::new().in_dir(used.path().join("state"));
        let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
        agent.stop();
        used.make_read_only();
    }
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let other_version = tempfile::tempdir().unwrap();
    fs::write(other_version.path().join("version"), "pkgtorrent 2\n").unwrap();
    let others = tempfile::tempdir().unwrap();
    let (uid, gid) = ids_of(OTHER_USER);
    std::os::unix::fs::chown(others.path(), Some(uid), Some(gid)).unwrap();
    let open = tempfile::tempdir().unwrap();
    fs::write(open.path().join("version"), "pkgtorrent 1\n").unwrap();
    for (state_dir, reason) in [
        (full.path().join("state"), "No space left"),
        (nearly_full.path().join("state"), "no room"),
        (read_only.path().join("state"), "Read-only file system"),
        (read_only.path().to_owned(), "Read-only file system"),
        (used.path().join("state"), "Read-only file system"),
        (file.path().to_owned(), "Not a directory"),
        (file.path().join("state"), "Not a directory"),
        ("/dev/null".into(), "Not a directory"),
        ("/proc/state".into(), "/proc/state"),
        (foreign.path().to_owned(), "is not a state directory"),
        (other_version.path().to_owned(), "of version 2, this program knows 1"),
        (others.path().to_owned(), &format!("belongs to user {uid}")),
        (open.path().to_owned(), "belongs to user 0"),
    ] {
        let agent = Agent::new().in_dir(state_dir.clone());
        let wants = agent.wants(&site.packages);
        let fetched = agent.fetch(&site.service.url("/"), &wants);
        let shown = state_dir.display();
        let found = fetched.failure(0);
        assert!(found.is_some_and(|found| found.contains(reason)), "{shown}, {reason:?}: {fetched:?}");
        assert!(fetched.duration < SOON, "{shown}: {fetched:?}");
        assert!(!Path::new(&wants[0].dest).exists(), "{shown}");
    }
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1, "a foreign directory was written to");
    assert_eq!(fs::read_dir(other_version.path()).unwrap().count(), 1, "another version's was written to");
}

#[test]
fn a_state_directory_is_made_with_its_parents() {
    let site = site(&[300_000]);
    let agent = Agent::new();
    let agent = agent.path("some/where/new");
    let host = Agent::new().in_dir(&agent);
    let _ = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
    drop(host);
    fs::remove_dir_all(agent).unwrap();
    // An empty directory that is there already is as good.
    let host = Agent::new();
    fs::create_dir(host.state_dir()).unwrap();
    let _ = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
}
