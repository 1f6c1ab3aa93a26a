//! The real dnf installs from the mirror paths into an installroot, and rpm says what is there afterwards.

use std::collections::BTreeSet;
use std::path::Path;

use pkgtorrent_test_support::{Host, Repository, Rpm, Service};
use tempfile::TempDir;

/// A mirror.
struct Lab {
    service: Service,
    directory: TempDir,
}

impl Lab {
    /// Starts the service before the repositories that `fill` makes below the root.
    fn start(fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        fill(&root);
        let service = Service::start(&root, &directory.path().join("state"));
        Self { service, directory }
    }

    /// A host whose only repository is at `path` of the mirror, which is written as it goes into a URL.
    fn host(&self, path: &str) -> Host {
        Host::new().repository("mirror", &self.service.url(path))
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn dnf_installs_and_upgrades_from_the_mirror() {
    let lab = Lab::start(|root| {
        let repository = Repository::create(root.join("repo"));
        repository.add(&Rpm::new("app").requires("libstdc++").requires("unicode").payload_len(300_000));
        repository.add(&Rpm::new("libstdc++").version("1.0~rc1^git2").payload_len(2_000_000));
        repository.add_in("Packages/ü", &Rpm::new("unicode").named("ünïcode-日本.rpm").payload_len(10_000));
        repository.add(&Rpm::new("not-wanted"));
        repository.index();
    });
    let host = lab.host("/repo/");
    let outcome = host.dnf(&["install", "app"]).succeeded();
    assert_eq!(outcome.installed, names(&["app-1.0-1", "libstdc++-1.0~rc1^git2-1", "unicode-1.0-1"]));
    assert!(lab.service.metric("pkgtorrent_mirror_bytes_total") > 2_300_000.0);

    let repository = Repository::create(lab.directory.path().join("root/repo"));
    repository.add(&Rpm::new("libstdc++").version("1.0").payload_len(100_000));
    repository.index();
    let outcome = host.dnf(&["--refresh", "upgrade"]).succeeded();
    assert_eq!(outcome.installed, names(&["app-1.0-1", "libstdc++-1.0-1", "unicode-1.0-1"]));
}

#[test]
fn dnf_uses_a_repository_whose_directory_has_an_odd_name() {
    const DIRECTORY: &str = "my repo+x ~^ ü&100%/os";
    let lab = Lab::start(|root| {
        let repository = Repository::create(root.join(DIRECTORY));
        repository.add(&Rpm::new("one").requires("g++").seed(1));
        repository.add(&Rpm::new("g++").seed(2));
        repository.index_with(&["--checksum", "sha512"]);
    });
    let host = lab.host("/my%20repo%2Bx%20~%5E%20%C3%BC&100%25/os/");
    let outcome = host.dnf(&["install", "one"]).succeeded();
    assert_eq!(outcome.installed, names(&["one-1.0-1", "g++-1.0-1"]));
    // A plus sign is itself in a path, escaped or not; only in queries does it stand for a space.
    let host = host.repository("mirror", &lab.service.url("/my%20repo+x%20~^%20%C3%BC&100%25/os/"));
    let _ = host.dnf(&["--refresh", "reinstall", "one"]).succeeded();
}
