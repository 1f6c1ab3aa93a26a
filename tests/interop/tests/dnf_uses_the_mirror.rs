//! The real dnf installs from the mirror paths into an installroot, and rpm says what is there afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::{Repository, Rpm, Service, process};
use tempfile::TempDir;

/// How long one transaction may take; it needs about a second.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(90);

/// A mirror and an empty system to install into.
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
        // dnf makes this directory in the installroot, and one of its libraries opens it outside.
        fs::create_dir(directory.path().join("log")).expect("a directory for logs");
        let service = Service::start(&root, &directory.path().join("state"));
        Self { service, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs dnf with the repository at `path` of the mirror, which is written as it goes into a URL.
    fn dnf(&self, path: &str, arguments: &[&str]) -> String {
        let mut command = as_root(&process::installed("dnf"));
        command
            .args(["-y", "--releasever=1", "--nogpgcheck", "--setopt=module_platform_id=platform:test"])
            .args(["--setopt=reposdir=/nonexistent", "--setopt=keepcache=1", "--setopt=retries=1"])
            .arg(format!("--installroot={}", self.path("installed").display()))
            .arg(format!("--setopt=cachedir={}", self.path("cache").display()))
            .arg(format!("--setopt=logdir={}", self.path("log").display()))
            .arg(format!("--repofrompath=mirror,{}", self.service.url(path)))
            .arg("--repo=mirror")
            .args(arguments);
        process::run(&mut command, TRANSACTION_LIMIT)
    }

    /// What rpm finds installed, as `name-version-release`.
    fn installed(&self) -> BTreeSet<String> {
        let mut command = as_root(&process::installed("rpm"));
        command
            .args(["-qa", "--qf", "%{name}-%{version}-%{release}\n", "--root"])
            .arg(self.path("installed"));
        process::run(&mut command, TRANSACTION_LIMIT).lines().map(str::to_owned).collect()
    }
}

/// dnf and rpm change the root directory, which an ordinary user may do in a namespace of their own.
fn as_root(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new(process::installed("unshare"));
    command.args(["--user", "--map-root-user"]).arg(program);
    command
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
    lab.dnf("/repo/", &["install", "app"]);
    assert_eq!(lab.installed(), names(&["app-1.0-1", "libstdc++-1.0~rc1^git2-1", "unicode-1.0-1"]));
    assert!(lab.service.metric("pkgtorrent_mirror_bytes_total") > 2_300_000.0);

    let repository = Repository::create(lab.path("root/repo"));
    repository.add(&Rpm::new("libstdc++").version("1.0").payload_len(100_000));
    repository.index();
    lab.dnf("/repo/", &["--refresh", "upgrade"]);
    assert_eq!(lab.installed(), names(&["app-1.0-1", "libstdc++-1.0-1", "unicode-1.0-1"]));
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
    lab.dnf("/my%20repo%2Bx%20~%5E%20%C3%BC&100%25/os/", &["install", "one"]);
    assert_eq!(lab.installed(), names(&["one-1.0-1", "g++-1.0-1"]));
    // A plus sign is itself in a path, escaped or not; only in queries does it stand for a space.
    lab.dnf("/my%20repo+x%20~^%20%C3%BC&100%25/os/", &["--refresh", "reinstall", "one"]);
}
