//! A file that another user has planted at a destination, with attributes by which dnf's library takes it for the
//! package, is never installed: not with an agent at work, not without one, and not when the agent itself is evil.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pkgtorrent_test_support::dnf::{Host, forge_checksum};
use pkgtorrent_test_support::fake_agent::{Conversation, FakeAgent};
use pkgtorrent_test_support::process::free_port;
use pkgtorrent_test_support::trial::install;
use pkgtorrent_test_support::{Mirror, Trial};

const AT_ONCE: Duration = Duration::ZERO;

/// Any user but root and the agent's.
const ANOTHER_USER: u32 = 12_345;

const HELLO: &str = "{\"type\":\"hello\",\"version\":1,\"oldest\":1,\"program\":\"0.1.0\"}\n";

/// Three evil packages in three places, with attributes that say that they are the mirror's.
fn forge(trial: &Trial, directory: &Path) -> [PathBuf; 3] {
    let mut evil = Mirror::evil().into_iter();
    trial.mirror.packages.each_ref().map(|package| {
        let (name, bytes) = evil.next().expect("an evil one for each");
        let path = directory.join(name);
        fs::write(&path, bytes).expect("written");
        forge_checksum(&path, package);
        path
    })
}

/// How a forged file gets to a destination.
type Way = fn(&Path, &Path);

/// A host on whose cache another user has laid hands in these ways, one for each package. `elsewhere` is theirs.
fn plant(trial: &Trial, host: &Host, ways: [Way; 3]) {
    let _ = host.dnf(&["makecache"]).succeeded();
    let cache = host.package_cache("repo");
    fs::create_dir_all(&cache).expect("dnf's directory for packages");
    let elsewhere = host.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    for (forged, way) in forge(trial, &elsewhere).iter().zip(ways) {
        let name = forged.file_name().expect("a name");
        chown(forged, Some(ANOTHER_USER), Some(ANOTHER_USER)).expect("this test runs as root");
        way(forged, &cache.join(name));
    }
    let _ = trial.mirror.server.take_packages();
}

fn moved(forged: &Path, dest: &Path) {
    fs::rename(forged, dest).expect("moved");
}

fn moved_and_given_to_root(forged: &Path, dest: &Path) {
    moved(forged, dest);
    chown(dest, Some(0), Some(0)).expect("this test runs as root");
    fs::set_permissions(dest, Permissions::from_mode(0o666)).expect("a mode");
}

fn given_to_roots_group(forged: &Path, dest: &Path) {
    moved(forged, dest);
    chown(dest, Some(0), Some(ANOTHER_USER)).expect("this test runs as root");
    fs::set_permissions(dest, Permissions::from_mode(0o664)).expect("a mode");
}

fn linked(forged: &Path, dest: &Path) {
    fs::hard_link(forged, dest).expect("a link");
}

fn pointed_at(forged: &Path, dest: &Path) {
    symlink(forged, dest).expect("a link");
}

fn pointed_at_from_a_link(forged: &Path, dest: &Path) {
    let between = forged.with_extension("link");
    symlink(forged, &between).expect("a link");
    symlink(between, dest).expect("a link");
}

const ALL_WAYS: [[Way; 3]; 2] =
    [[moved, linked, pointed_at], [moved_and_given_to_root, given_to_roots_group, pointed_at_from_a_link]];

/// Installs on hosts that were laid hands on in all ways. What was planted is not installed, and what lies elsewhere is
/// as it was.
fn install_over_all(trial: &Trial, placed: usize, host: impl Fn() -> Host) {
    for ways in ALL_WAYS {
        let host = host();
        plant(trial, &host, ways);
        let outcome = install(&host).same_as(&trial.alone).within(AT_ONCE, &trial.alone).placed(placed);
        trial.expect_right_packages(&host);
        let downloaded = if placed == 0 { trial.mirror.file_names() } else { Vec::new() };
        trial.expect_downloads(&downloaded, &outcome);
        for (name, bytes) in Mirror::evil() {
            let elsewhere = host.path("elsewhere").join(name);
            assert!(!elsewhere.exists() || fs::read(&elsewhere).expect("read") == bytes, "it was written to");
        }
    }
}

#[test]
fn dnf_alone_installs_them() {
    // Otherwise the other tests would prove nothing.
    for trial in Trial::each() {
        for ways in ALL_WAYS {
            let host = trial.mirror.host();
            plant(&trial, &host, ways);
            let outcome = install(&host).same_as(&trial.alone);
            trial.expect_downloads(&[], &outcome);
            assert_eq!(["app", "lib", "data"].map(|name| host.rebuilds_of(name)), [1; 3]);
        }
    }
}

#[test]
fn an_agent_at_work_replaces_them() {
    for trial in Trial::each() {
        install_over_all(&trial, 3, || trial.host());
    }
}

#[test]
fn without_a_service_dnf_replaces_them() {
    let trial = Trial::new();
    let nowhere = format!("http://127.0.0.1:{}/", free_port());
    install_over_all(&trial, 0, || trial.mirror.host().agent(&nowhere));
}

#[test]
fn with_an_agent_that_refuses_dnf_replaces_them() {
    let trial = Trial::new();
    let directory = tempfile::tempdir().expect("a directory");
    let _agent =
        FakeAgent::saying(directory.path(), "{\"type\":\"refused\",\"reason\":\"you are not allowed\"}\n");
    install_over_all(&trial, 0, || {
        let host = trial.host();
        symlink(directory.path(), host.path("agent")).expect("a link");
        host
    });
}

/// An agent that passes the files in `directory`, does `then` with what was taken, and has no second of what was rejected.
fn evil_agent(trial: &Trial, host: &Host, directory: &Path, then: fn(&File, usize)) -> FakeAgent {
    let directory = directory.to_owned();
    let identities = trial.mirror.packages.each_ref().map(|package| package.identity.to_string());
    let names = trial.mirror.packages.each_ref().map(|package| package.file_name().to_owned());
    FakeAgent::start(&host.path("agent"), move |mut conversation: Conversation| {
        let mut passed: Vec<(File, usize)> = Vec::new();
        let mut over = 0;
        while let Some(request) = conversation.next_request() {
            let index = request["index"].as_u64().unwrap_or_default() as usize;
            match request["type"].as_str() {
                Some("hello") => conversation.say(HELLO),
                Some("fetch") => {
                    for (index, want) in request["wants"].as_array().expect("a list").iter().enumerate() {
                        let digest = want["digest"].as_str().expect("a digest");
                        let found = identities.iter().position(|it| digest.ends_with(it)).expect("known");
                        let path = directory.join(&names[found]);
                        let file = File::options().read(true).write(true).open(path).expect("a file to pass");
                        let (size, kind) = (&want["size"], "\"type\":\"whole\"");
                        let from = format!("{{\"peers\":0,\"origin\":0,\"store\":{size}}}");
                        conversation.pass(&format!("{{{kind},\"index\":{index},\"from\":{from}}}\n"), &file);
                        passed.push((file, found));
                    }
                }
                Some("taken") => {
                    then(&passed[index].0, passed[index].1);
                    over += 1;
                }
                Some("rejected") => {
                    let text = format!("{{\"type\":\"failed\",\"index\":{index},\"reason\":\"no other\"}}\n");
                    conversation.say(text);
                    over += 1;
                }
                _ => {}
            }
            if !passed.is_empty() && over == passed.len() {
                conversation.say("{\"type\":\"end\"}\n");
            }
        }
    })
}

#[test]
fn an_agent_that_passes_them_is_not_believed() {
    let trial = Trial::new();
    let directory = tempfile::tempdir().expect("a directory");
    let _ = forge(&trial, directory.path());
    let host = trial.host();
    let _agent = evil_agent(&trial, &host, directory.path(), |_, _| {});
    // It does not answer when it is asked to share what dnf has downloaded: two seconds, and a second to end.
    let _ = trial.left_to_dnf(&host, "no other", Duration::from_secs(3));
}

#[test]
fn an_agent_that_changes_what_it_has_passed_changes_nothing() {
    let trial = Trial::new();
    let directory = tempfile::tempdir().expect("a directory");
    for package in &trial.mirror.packages {
        fs::write(directory.path().join(package.file_name()), package.bytes()).expect("written");
    }
    let host = trial.host();
    let _agent = evil_agent(&trial, &host, directory.path(), |file, index| {
        use std::os::unix::fs::FileExt;
        file.write_all_at(&Mirror::evil()[index].1, 0).expect("written to");
    });
    let _ = trial.placed(&host);
    for (name, bytes) in Mirror::evil() {
        assert!(fs::read(directory.path().join(name)).expect("read") == bytes, "it was not changed");
    }
}

#[test]
fn a_store_in_which_they_were_put_is_not_believed() {
    let trial = Trial::new();
    let host = trial.host();
    let _ = trial.placed(&host);
    let _ = host.dnf(&["remove", "data"]).succeeded();
    for (package, (_, evil)) in trial.mirror.packages.iter().zip(Mirror::evil()) {
        let stored = host.path("agent/store").join(package.identity.to_string());
        assert_eq!(fs::metadata(&stored).expect("in the store").len(), package.size);
        // Into the agent's own file, which keeps its owner.
        fs::write(&stored, evil).expect("written");
        forge_checksum(&stored, package);
    }
    // They are fetched once more.
    let _ = trial.placed(&host);
}
