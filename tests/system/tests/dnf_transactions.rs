//! Every transaction of dnf gets its packages through the service, and dnf itself downloads none.

use std::collections::BTreeSet;

use pkgtorrent_test_support::dnf::{Host, Outcome};
use pkgtorrent_test_support::{Package, Repository, Rpm, Server, Service};
use tempfile::TempDir;

/// `tool` in two versions and the `lib` that it needs, on a mirror with a service beside it.
struct Lab {
    service: Service,
    mirror: Server,
    old: Package,
    new: Package,
    lib: Package,
    directory: TempDir,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repo"));
        let tool = |version: &str, seed| {
            repository.add(&Rpm::new("tool").version(version).requires("lib").payload_len(400_000).seed(seed))
        };
        let (old, new) = (tool("1.0", 1), tool("2.0", 2));
        let lib = repository.add(&Rpm::new("lib").payload_len(1_500_000).seed(3));
        repository.index();
        let root = directory.path().join("root");
        let mirror = Server::files(&root);
        let service = Service::start(&root, &directory.path().join("state"));
        Self { service, mirror, old, new, lib, directory }
    }

    fn host(&self) -> Host {
        Host::new().repository("repo", &self.mirror.url("/repo/")).agent(&self.service.url("/"))
    }

    /// What dnf itself has downloaded since this was last asked is nothing.
    fn assert_dnf_fetched_nothing(&self, outcome: &Outcome) {
        assert_eq!(self.mirror.take_packages(), [] as [String; 0], "{}", outcome.output);
    }

    fn sent_by_web_seed(&self) -> u64 {
        self.service.metric("pkgtorrent_webseed_bytes_total") as u64
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn install_upgrade_downgrade_and_reinstall() {
    let lab = Lab::new();
    let host = lab.host();
    let run = |arguments: &[&str], placed: usize, installed: &[&str]| {
        let outcome = host.dnf(arguments).succeeded().placed(placed);
        assert_eq!(outcome.installed, names(installed));
        lab.assert_dnf_fetched_nothing(&outcome);
        assert!(!outcome.output.contains("SKIPPED"), "{}", outcome.output);
        outcome
    };
    run(&["install", "tool-1.0"], 2, &["tool-1.0-1", "lib-1.0-1"]);
    assert_eq!(lab.sent_by_web_seed(), lab.old.size + lab.lib.size);
    run(&["upgrade"], 1, &["tool-2.0-1", "lib-1.0-1"]);
    assert_eq!(lab.sent_by_web_seed(), lab.old.size + lab.lib.size + lab.new.size);
    // What was fetched once is in the store from now on.
    let outcome = run(&["downgrade", "tool"], 1, &["tool-1.0-1", "lib-1.0-1"]);
    assert!(outcome.output.contains("0 B from the mirror"), "{}", outcome.output);
    run(&["reinstall", "tool", "lib"], 2, &["tool-1.0-1", "lib-1.0-1"]);
    assert_eq!(lab.sent_by_web_seed(), lab.old.size + lab.lib.size + lab.new.size);
}

#[test]
fn what_was_downloaded_only_is_installed_without_any_more_fetching() {
    let lab = Lab::new();
    let host = lab.host();
    let outcome = host.dnf(&["install", "--downloadonly", "tool"]).succeeded().placed(2);
    assert_eq!(outcome.installed, names(&[]));
    lab.assert_dnf_fetched_nothing(&outcome);
    let before = lab.sent_by_web_seed();
    let outcome = host.dnf(&["install", "tool"]).succeeded();
    assert_eq!(outcome.installed, names(&["tool-2.0-1", "lib-1.0-1"]));
    lab.assert_dnf_fetched_nothing(&outcome);
    assert_eq!(lab.sent_by_web_seed(), before);
}

#[test]
fn downloads_into_directories_of_users() {
    let lab = Lab::new();
    let host = lab.host();
    let directory = lab.directory.path().join("downloads");
    let destination = format!("--destdir={}", directory.display());
    let outcome = host.dnf(&["download", "--resolve", &destination, "tool"]).succeeded().placed(2);
    lab.assert_dnf_fetched_nothing(&outcome);
    for package in [&lab.new, &lab.lib] {
        let placed = std::fs::read(directory.join(package.file_name())).expect("it was downloaded");
        assert!(placed == package.bytes(), "{}", package.file_name());
    }
    let directory = lab.directory.path().join("updates");
    let destination = format!("--downloaddir={}", directory.display());
    let outcome = host.dnf(&["install", "--downloadonly", &destination, "tool-1.0"]).succeeded().placed(2);
    lab.assert_dnf_fetched_nothing(&outcome);
    assert!(
        std::fs::read(directory.join(lab.old.file_name())).expect("it was downloaded") == lab.old.bytes()
    );
}

#[test]
fn what_dnf_downloaded_itself_is_in_the_store_afterwards() {
    let lab = Lab::new();
    // The service knows another repository: it has nothing of this one.
    let other = lab.directory.path().join("other");
    Repository::create(other.join("repo")).index();
    let service = Service::start(&other, &lab.directory.path().join("state-of-other"));
    let host = Host::new().repository("repo", &lab.mirror.url("/repo/")).agent(&service.url("/"));
    let outcome = host.dnf(&["install", "tool"]).succeeded().placed(0);
    assert_eq!(outcome.installed, names(&["tool-2.0-1", "lib-1.0-1"]));
    assert_eq!(lab.mirror.take_packages().len(), 2);
    let stored: BTreeSet<_> = host.its_agent().stored().into_iter().map(|package| package.identity).collect();
    assert_eq!(stored, [lab.new.identity, lab.lib.identity].into());
}

#[test]
fn a_host_without_the_shim_is_what_these_tests_tell_from_one_with_it() {
    let lab = Lab::new();
    let host = Host::new().repository("repo", &lab.mirror.url("/repo/"));
    let outcome = host.dnf(&["install", "tool"]).succeeded();
    assert_eq!(outcome.installed, names(&["tool-2.0-1", "lib-1.0-1"]));
    assert_eq!(lab.mirror.take_packages().len(), 2);
    assert_eq!(lab.sent_by_web_seed(), 0);
}
