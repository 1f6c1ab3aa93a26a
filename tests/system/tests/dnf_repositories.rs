//! Repositories of every kind get their packages through the service: several at once, moved, mirrored, listed by other
//! digests, signed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::dnf::Host;
use pkgtorrent_test_support::process::{installed, run};
use pkgtorrent_test_support::{Package, Repository, Rpm, Server, Service};
use tempfile::TempDir;

/// How long gpg may take to make a key, which waits for nothing on a machine that is awake.
const GPG_LIMIT: Duration = Duration::from_secs(60);

/// A mirror with one repository, and a service beside it.
struct Place {
    service: Service,
    mirror: Server,
    package: Package,
    directory: TempDir,
}

impl Place {
    fn new(name: &str, seed: u64, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repo"));
        let package = repository.add_in("Packages", &Rpm::new(name).payload_len(200_000).seed(seed));
        repository.index_with(arguments);
        let root = directory.path().join("root");
        let service = Service::start(&root, &directory.path().join("state"));
        Self { service, mirror: Server::files(&root), package, directory }
    }

    fn sent_by_web_seed(&self) -> u64 {
        self.service.metric("pkgtorrent_webseed_bytes_total") as u64
    }

    /// The host installs the package through this place's service, and downloads no package itself.
    fn is_installed_by(&self, host: &Host, name: &str) {
        let host_agent = host.dnf(&["install", name]).succeeded().placed(1);
        assert_eq!(host_agent.installed.len(), 1);
        assert_eq!(self.mirror.take_packages(), [] as [String; 0]);
        assert_eq!(self.sent_by_web_seed(), self.package.size);
    }
}

#[test]
fn two_repositories_of_one_service_are_one_set() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    for (name, seed) in [("one", 1), ("two", 2)] {
        let repository = Repository::create(root.join(name));
        repository.add(&Rpm::new(name).payload_len(100_000).seed(seed));
        repository.index();
    }
    let (service, mirror) = (Service::start(&root, &directory.path().join("state")), Server::files(&root));
    let host = Host::new()
        .repository("one", &mirror.url("/one/"))
        .repository("two", &mirror.url("/two/"))
        .agent(&service.url("/"));
    let outcome = host.dnf(&["install", "one", "two"]).succeeded().placed(2);
    assert_eq!(outcome.installed.len(), 2);
    assert_eq!(mirror.take_packages(), [] as [String; 0]);
    assert_eq!(service.metric("pkgtorrent_sets_planned_total") as u64, 1);
}

#[test]
fn with_auto_each_repository_has_its_own_service() {
    let (one, two) = (Place::new("one", 1, &[]), Place::new("two", 2, &[]));
    // The services are the mirrors: that is where dnf's URLs lead.
    let host = Host::new()
        .repository("one", &one.service.url("/repo/"))
        .repository("two", &two.service.url("/repo/"))
        .agent("auto");
    let outcome = host.dnf(&["install", "one", "two"]).succeeded().placed(2);
    assert_eq!(outcome.installed.len(), 2);
    for place in [&one, &two] {
        assert_eq!(place.sent_by_web_seed(), place.package.size);
    }
}

#[test]
fn a_repository_whose_metadata_names_another_base() {
    let place = Place::new("based", 3, &[]);
    // Metadata on a server that has no packages, whose xml:base leads to the mirror.
    let metadata = tempfile::tempdir().expect("a directory");
    let listed = Repository::create(metadata.path());
    let package = listed.add_in("Packages", &Rpm::new("based").payload_len(200_000).seed(3));
    assert_eq!(package.identity, place.package.identity);
    listed.index_with(&["--baseurl", &place.mirror.url("/repo/")]);
    listed.remove(&package);
    let elsewhere = Server::files(metadata.path());
    let host = Host::new().repository("based", &elsewhere.url("/")).agent(&place.service.url("/"));
    place.is_installed_by(&host, "based");
    assert_eq!(elsewhere.take_packages(), [] as [String; 0]);
}

#[test]
fn a_repository_behind_a_mirror_list() {
    let place = Place::new("listed", 4, &[]);
    let list = format!("{}\n{}\n", place.mirror.url("/gone/"), place.mirror.url("/repo/"));
    std::fs::write(place.directory.path().join("root/mirrors"), list).expect("a mirror list");
    let options = format!("mirrorlist = {}\n", place.mirror.url("/mirrors"));
    let host = Host::new().repository_with("listed", &options).agent(&place.service.url("/"));
    place.is_installed_by(&host, "listed");
}

#[test]
fn repositories_that_list_packages_by_other_digests() {
    for (algorithm, seed) in [("sha512", 5), ("sha1", 6), ("sha384", 7)] {
        let place = Place::new("digested", seed, &["--checksum", algorithm]);
        let host = Host::new().repository("repo", &place.mirror.url("/repo/")).agent(&place.service.url("/"));
        place.is_installed_by(&host, "digested");
        // Under the same digest it is in the store.
        let outcome = host.dnf(&["reinstall", "digested"]).succeeded().placed(1);
        assert!(outcome.output.contains("0 B from the mirror"), "{algorithm}: {}", outcome.output);
    }
}

/// Makes a key, signs a package with it, and gives the public key's path.
fn sign(package: &Path, home: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(home).expect("a directory for gpg");
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new(installed("gpg"));
        run(command.env("GNUPGHOME", home).args(["--batch", "--yes"]).args(arguments), GPG_LIMIT)
    };
    const SIGNER: &str = "Signer <signer@example.invalid>";
    gpg(&["--passphrase", "", "--quick-gen-key", SIGNER, "rsa2048", "sign", "never"]);
    let public = home.join("public.asc");
    gpg(&["--armor", "--output", &public.to_string_lossy(), "--export", SIGNER]);
    let mut command = Command::new(installed("rpmsign"));
    command.arg("--define").arg(format!("__gpg {}", installed("gpg").display()));
    command.arg("--define").arg(format!("_gpg_name {SIGNER}"));
    command.arg("--define").arg(format!("_gpg_path {}", home.display()));
    run(command.env("GNUPGHOME", home).arg("--addsign").arg(package), GPG_LIMIT);
    // The agent that gpg has left running keeps its home busy.
    let mut command = Command::new(installed("gpgconf"));
    run(command.env("GNUPGHOME", home).args(["--kill", "gpg-agent"]), GPG_LIMIT);
    public
}

#[test]
fn signed_packages_are_checked_by_dnf_as_ever() {
    let directory = tempfile::Builder::new().prefix("gpg").tempdir().expect("a short path for gpg's socket");
    let repository = Repository::create(directory.path().join("root/repo"));
    let signed = repository.add(&Rpm::new("signed").payload_len(200_000).seed(8));
    let unsigned = repository.add(&Rpm::new("unsigned").payload_len(200_000).seed(9));
    let key = sign(&signed.path, &directory.path().join("gnupg"));
    repository.index();
    let root = directory.path().join("root");
    let (service, mirror) = (Service::start(&root, &directory.path().join("state")), Server::files(&root));
    let url = mirror.url("/repo/");
    let options = format!("baseurl = {url}\ngpgcheck = 1\ngpgkey = file://{}\n", key.display());
    let host = Host::new().repository_with("repo", &options).agent(&service.url("/"));
    let outcome = host.dnf(&["install", "signed"]).succeeded().placed(1);
    assert!(outcome.installed.iter().any(|name| name == "signed-1.0-1"), "{:?}", outcome.installed);
    let refused = host.dnf(&["install", "unsigned"]).placed(1);
    assert_ne!(refused.status, Some(0), "{}", refused.output);
    assert!(refused.output.contains("GPG check FAILED"), "{}", refused.output);
    assert!(!refused.installed.iter().any(|name| name.starts_with("unsigned")), "{:?}", refused.installed);
    assert_eq!(mirror.take_packages(), [] as [String; 0]);
    let sent = std::fs::metadata(&signed.path).expect("it is there").len() + unsigned.size;
    assert_eq!(service.metric("pkgtorrent_webseed_bytes_total") as u64, sent);
}
