//! `store add`, `list` and `verify`: what the package manager had to download itself is shared too, and what is damaged
//! leaves.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::Package;
use pkgtorrent_test_support::agent::{Agent, assert_placed};
use pkgtorrent_test_support::process::{built, installed, run};
use pkgtorrent_test_support::user::{OTHER_USER, agent_user, as_user, ids_of};

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Adds files and returns what `store add` said of them.
fn add(agent: &Agent, files: &[PathBuf]) -> pkgtorrent_test_support::agent::Ran {
    let mut command = agent.command(&["store", "add"]);
    command.args(files);
    agent.run_command(command)
}

#[test]
fn files_that_were_added_are_placed_without_a_service() {
    let mut site = Site::start(&[("a.rpm", 300_000), ("b.rpm", 5_000_000), ("ünïcode-日本.rpm", 1)], "");
    site.service.stop();
    let agent = Agent::new();
    let files: Vec<PathBuf> = site.packages.iter().map(|package| package.path.clone()).collect();
    let ran = add(&agent, &files).succeeded();
    for package in &site.packages {
        assert!(ran.output.contains(&package.identity.to_string()), "{ran:?}");
        assert!(ran.output.contains(package.file_name()), "{ran:?}");
    }
    assert!(agent.pid().is_some(), "it was started for this");
    // Twice is as good as once, and a file that is named twice as well.
    let ran = add(&agent, &[files.clone(), files.clone()].concat()).succeeded();
    assert_eq!(ran.output.lines().count(), 2 * files.len());
    assert_eq!(agent.stored().len(), files.len());

    let wants = agent.wants(&site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &wants).all_placed();
    assert_eq!(fetched.bytes().store, 5_300_001);
    for (package, want) in site.packages.iter().zip(&wants) {
        assert_placed(package, &want.dest);
    }
    // They are copies: what becomes of the files is nothing to the store.
    fs::write(&files[0], "something else").unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(agent.verify().len(), files.len());
}

#[test]
fn more_files_than_are_taken_at_once() {
    let agent = Agent::new();
    let file = |n: usize| {
        let path = agent.path(&format!("{n}.rpm"));
        fs::write(&path, format!("package {n}").repeat(100)).unwrap();
        path
    };
    let files: Vec<PathBuf> = (0..300).map(file).collect();
    let ran = add(&agent, &files).succeeded();
    assert_eq!(ran.output.lines().count(), 300);
    assert_eq!(agent.stored().len(), 300);
    assert_eq!(fs::read_dir(agent.state_dir().join("partial")).unwrap().count(), 0);
}

#[test]
fn what_is_no_package_is_named_and_the_rest_is_added() {
    let agent = Agent::new();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(agent.path(name), bytes).unwrap();
        agent.path(name)
    };
    let fifo = agent.path("fifo");
    run(std::process::Command::new(installed("mkfifo")).arg(&fifo), SOON);
    let files = [
        write("first.rpm", b"first"),
        agent.path(""),
        fifo,
        write("empty.rpm", b""),
        agent.path("missing.rpm"),
        "/dev/zero".into(),
        write("last.rpm", b"last"),
    ];
    let ran = add(&agent, &files);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.duration < SOON, "{ran:?}");
    assert_eq!(ran.output.lines().count(), 2, "{ran:?}");
    for name in ["fifo", "empty.rpm", "missing.rpm", "/dev/zero"] {
        assert_eq!(ran.errors.lines().filter(|line| line.contains(name)).count(), 1, "{name}: {ran:?}");
    }
    assert_eq!(ran.errors.lines().count(), 5, "{ran:?}");
    assert_eq!(agent.stored().len(), 2);
    let _ = agent.run(&["store", "add", agent.path("first.rpm").to_str().unwrap(), "--quiet"]).succeeded();
    let quiet = agent.run(&["store", "add", "--quiet", agent.path("last.rpm").to_str().unwrap()]).succeeded();
    assert_eq!((quiet.output.as_str(), quiet.errors.as_str()), ("", ""));
}

#[test]
fn nobody_adds_what_he_may_not_read() {
    let agent = Agent::with_config(&format!("allowed_users = [\"{OTHER_USER}\"]\n"));
    fs::set_permissions(agent.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(built("pkgtorrent"), agent.path("pkgtorrent")).unwrap();
    let secret = agent.path("secret.rpm");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let _ = agent.run(&["store", "list"]).succeeded();
    let mut command = as_user(OTHER_USER, &agent.path("pkgtorrent"));
    command.args(agent.command(&["store", "add"]).get_args()).arg(&secret);
    let _ = agent.run_command(command).failed_with("ermission denied");
    assert_eq!(agent.stored(), []);
}

#[test]
fn what_has_no_room_is_not_added() {
    let agent = Agent::with_config("store_max_bytes = 100000\n");
    let large = agent.path("large.rpm");
    fs::write(&large, vec![1; 200_000]).unwrap();
    let _ = add(&agent, &[large]).failed_with("200000 bytes are needed");
    assert_eq!(agent.stored(), []);
}

#[test]
fn what_is_damaged_is_dropped_and_downloaded_again() {
    let site = Site::start(&[("a.rpm", 300_000), ("b.rpm", 2_000_000), ("c.rpm", 50_000)], "");
    let agent = Agent::new();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let path_of = |package: &Package| agent.state_dir().join("store").join(package.identity.to_string());
    let flip = |package: &Package, at: usize| {
        let file = fs::File::options().write(true).open(path_of(package)).expect("a stored package");
        file.write_all_at(&[package.bytes()[at] ^ 1], at as u64).expect("a byte is flipped");
    };
    flip(&site.packages[0], 299_999);
    fs::File::options().write(true).open(path_of(&site.packages[1])).unwrap().set_len(1_000_000).unwrap();
    // Listing does not read.
    let listed = agent.run(&["store", "list"]).succeeded();
    assert_eq!(listed.output.lines().count(), 3, "{listed:?}");

    let verified = agent.run(&["store", "verify"]);
    assert_eq!(verified.status, Some(1), "{verified:?}");
    let line_of = |package: &Package| {
        let identity = package.identity.to_string();
        verified.output.lines().find(|line| line.contains(&identity)).expect("a line").to_owned()
    };
    assert!(line_of(&site.packages[0]).contains("dropped: it does not match its digest"), "{verified:?}");
    assert!(line_of(&site.packages[1]).contains("dropped:"), "{verified:?}");
    assert!(line_of(&site.packages[2]).contains("right"), "{verified:?}");
    assert!(!path_of(&site.packages[0]).exists() && !path_of(&site.packages[1]).exists());
    let left: Vec<_> = agent.verify().into_iter().map(|stored| stored.identity).collect();
    assert_eq!(left, [site.packages[2].identity]);

    let fetched = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages)).all_placed();
    assert_eq!((fetched.bytes().origin, fetched.bytes().store), (2_300_000, 50_000));
    flip(&site.packages[2], 0);
    let json = agent.run(&["store", "verify", "--json"]);
    assert_eq!(json.status, Some(1));
    let damaged: Vec<&str> = json.output.lines().filter(|line| line.contains("\"damage\"")).collect();
    assert!(damaged.len() == 1 && damaged[0].contains(&site.packages[2].identity.to_string()), "{json:?}");
}

#[test]
fn files_of_others_in_the_store_are_not_the_agents() {
    let site = Site::start(&[("a.rpm", 300_000)], "");
    let agent = Agent::new();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    agent.stop();
    let store = agent.state_dir().join("store");
    fs::write(store.join("README"), "mine").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", store.join("0".repeat(64))).unwrap();
    fs::create_dir(store.join("1".repeat(64))).unwrap();
    // One by a right name, with wrong bytes: it is found out when it is looked at.
    let wrong = store.join("2".repeat(64));
    fs::write(&wrong, "wrong").unwrap();
    fs::write(store.join("3".repeat(64)), "root's").unwrap();
    let (uid, gid) = ids_of(agent_user());
    std::os::unix::fs::chown(wrong, Some(uid), Some(gid)).unwrap();
    assert_eq!(agent.stored().len(), 2);
    let verified = agent.run(&["store", "verify"]);
    assert_eq!((verified.status, verified.output.lines().count()), (Some(1), 2), "{verified:?}");
    assert_eq!(agent.verify().len(), 1);
    assert!(agent.log().contains("are ignored"));
    let names = ["README".to_owned(), "0".repeat(64), "1".repeat(64), "3".repeat(64)];
    assert!(names.iter().all(|name| fs::symlink_metadata(store.join(name)).is_ok()), "they stay");
}
