//! What another user, or an older run, left where dnf will look is never installed and never written through.
//!
//! librepo, dnf's library, keeps a package's checksum in the file's extended attributes and believes it while the
//! modification time that stands beside it fits; and it opens what it replaces for writing, links included.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_protocol::Algorithm;
use pkgtorrent_test_support::dnf::{Host, Outcome, forge_checksum};
use pkgtorrent_test_support::{Package, Repository, Rpm, Server, StandIn, process};
use tempfile::TempDir;

/// `nobody`, on every distribution.
const ANOTHER_USER: u32 = 65_534;

const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A repository with one package, and another package that goes by its name.
struct Lab {
    directory: TempDir,
    server: Server,
    package: Package,
    evil: Vec<u8>,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("repo"));
        let rpm = Rpm::new("app").payload_len(30_000);
        let package = repository.add(&rpm);
        repository.index();
        let server = Server::files(directory.path());
        Self { server, package, evil: rpm.rebuilt().build(), directory }
    }

    fn host(&self) -> Host {
        Host::new().repository("repo", &self.server.url("/repo/"))
    }

    /// Hosts with the shim, whose helper behaves in these modes.
    fn hosts(&self, modes: &[&'static str]) -> Vec<(&'static str, Host, StandIn)> {
        modes
            .iter()
            .map(|&mode| {
                let stand_in = StandIn::new(self.directory.path());
                let mut options = stand_in.options(mode);
                if mode == "missing" {
                    options = "service = auto\ncommand = /nonexistent/pkgtorrent\n".into();
                }
                (mode, self.host().shim(&options), stand_in)
            })
            .collect()
    }

    fn plant(&self, host: &Host, bytes: &[u8]) -> PathBuf {
        host.plant("repo", self.package.file_name(), bytes)
    }

    fn forge(&self, path: &Path) {
        forge_checksum(path, &self.package);
    }
}

/// Which build of the package is installed.
fn cookie(host: &Host) -> String {
    let mut command = Command::new(process::installed("rpm"));
    command.args(["-q", "--qf", "%{cookie}", "app", "--root"]).arg(host.path("root"));
    process::run(&mut command, REQUEST_LIMIT)
}

fn install(host: &Host) -> Outcome {
    host.dnf(&["install", "app"]).succeeded()
}

/// The helper does nothing, crashes, and works; and there is none.
const ALL_MODES: [&str; 4] = ["missing", "nothing", "crash", "place"];

/// Without the helper's doing and with it.
const MODES: [&str; 2] = ["missing", "place"];

const RIGHT: &str = "00000000";
const EVIL: &str = "00000001";

#[test]
fn a_file_with_forged_attributes_is_never_installed() {
    let lab = Lab::new();
    // First that the attack works: dnf alone believes it.
    let host = lab.host();
    lab.forge(&lab.plant(&host, &lab.evil));
    let _ = install(&host);
    assert_eq!(
        cookie(&host),
        EVIL,
        "the attributes are not those that this librepo believes: the test proves nothing"
    );

    type Plant = fn(&Path, &Path);
    let of_another: Plant = |path, _| {
        std::os::unix::fs::chown(path, Some(ANOTHER_USER), Some(ANOTHER_USER))
            .expect("this test runs as root");
    };
    let writable: Plant = |path, _| fs::set_permissions(path, Permissions::from_mode(0o646)).expect("a mode");
    let for_group: Plant =
        |path, _| fs::set_permissions(path, Permissions::from_mode(0o664)).expect("a mode");
    let linked: Plant = |path, elsewhere| fs::hard_link(path, elsewhere).expect("a link");
    let pointed_at: Plant = |path, elsewhere| {
        fs::rename(path, elsewhere).expect("moved");
        symlink(elsewhere, path).expect("a link");
    };
    for (what, plant) in [
        ("of another user", of_another),
        ("writable by all", writable),
        ("writable by a group", for_group),
        ("with a second name", linked),
        ("behind a symbolic link", pointed_at),
    ] {
        for (mode, host, _stand_in) in lab.hosts(&MODES) {
            let path = lab.plant(&host, &lab.evil);
            lab.forge(&path);
            let elsewhere = host.path("elsewhere");
            plant(&path, &elsewhere);
            let outcome = install(&host);
            assert_eq!(cookie(&host), RIGHT, "{what}, helper: {mode}\n{}", outcome.output);
            if elsewhere.exists() {
                assert_eq!(fs::read(&elsewhere).expect("the other name"), lab.evil, "{what}, helper: {mode}");
            }
        }
    }
}

#[test]
fn a_linked_destination_that_does_not_match_is_not_rewritten_in_place() {
    let lab = Lab::new();
    // First that dnf alone does so.
    let host = lab.host();
    let path = lab.plant(&host, &lab.evil);
    fs::hard_link(&path, host.path("elsewhere")).expect("a link");
    let _ = install(&host);
    assert_eq!(fs::read(host.path("elsewhere")).expect("the other name"), lab.package.bytes());

    for (mode, host, _stand_in) in lab.hosts(&ALL_MODES) {
        let path = lab.plant(&host, &lab.evil);
        fs::hard_link(&path, host.path("elsewhere")).expect("a link");
        let _ = install(&host);
        assert_eq!(fs::read(host.path("elsewhere")).expect("the other name"), lab.evil, "helper: {mode}");
        assert_eq!(cookie(&host), RIGHT);
    }
}

#[test]
fn a_right_file_of_another_user_is_not_lost_when_the_mirror_is() {
    let lab = Lab::new();
    for (mode, host, stand_in) in lab.hosts(&ALL_MODES) {
        let path = lab.plant(&host, lab.package.bytes());
        std::os::unix::fs::chown(&path, Some(ANOTHER_USER), None).expect("this test runs as root");
        let aside = lab.directory.path().join("aside");
        fs::rename(&lab.package.path, &aside).expect("the package leaves the mirror");
        let _ = install(&host);
        fs::rename(&aside, &lab.package.path).expect("the package returns");
        assert_eq!(cookie(&host), RIGHT, "helper: {mode}");
        if mode != "missing" && mode != "crash" {
            let calls = stand_in.take_calls();
            assert_eq!(calls[0].packages().len(), 1, "its owner could change it yet: {calls:?}");
        }
    }
}

#[test]
fn odd_destinations_end_as_without_the_shim() {
    let lab = Lab::new();
    let short = &lab.package.bytes()[..10_000];
    let long = [lab.package.bytes(), b"more"].concat();
    let mut corrupt = lab.package.bytes().to_vec();
    corrupt[20_000] ^= 1;
    let directory = |host: &Host| {
        let path = lab.plant(host, b"");
        fs::remove_file(&path).expect("the planted file");
        fs::create_dir(&path).expect("a directory");
    };
    let nowhere = |host: &Host| {
        let path = lab.plant(host, b"");
        fs::remove_file(&path).expect("the planted file");
        symlink(host.path("nothing-here"), &path).expect("a link");
    };
    type Prepare<'a> = Box<dyn Fn(&Host) + 'a>;
    let cases: [(&str, Prepare<'_>); 7] = [
        ("empty", Box::new(|host| drop(lab.plant(host, b"")))),
        ("short", Box::new(|host| drop(lab.plant(host, short)))),
        ("long", Box::new(|host| drop(lab.plant(host, &long)))),
        ("corrupt", Box::new(|host| drop(lab.plant(host, &corrupt)))),
        ("right", Box::new(|host| drop(lab.plant(host, lab.package.bytes())))),
        ("a directory", Box::new(directory)),
        ("a link to nothing", Box::new(nowhere)),
    ];
    for (what, prepare) in cases {
        let bare = lab.host();
        prepare(&bare);
        let without_shim = bare.dnf(&["install", "app"]);
        for (mode, host, _stand_in) in lab.hosts(&MODES) {
            prepare(&host);
            let outcome = host.dnf(&["install", "app"]);
            let same = (outcome.status, &outcome.installed) == (without_shim.status, &without_shim.installed);
            assert!(same, "{what}, helper: {mode}\n{}\nwithout:\n{}", outcome.output, without_shim.output);
            if without_shim.status == Some(0) {
                assert_eq!(cookie(&host), RIGHT);
            }
        }
    }
}

#[test]
fn a_pipe_in_the_destinations_place_does_not_hold_the_shim_up() {
    let lab = Lab::new();
    for (mode, host, _stand_in) in lab.hosts(&MODES) {
        let path = host.path("there").join(lab.package.file_name());
        fs::create_dir(host.path("there")).expect("a directory");
        process::run(Command::new("mkfifo").arg(&path), REQUEST_LIMIT);
        // Not `install`: that looks into the file, pipe or not, before it asks whether to go on.
        let outcome = host.dnf(&["download", "--destdir=there", "app"]).succeeded();
        assert_eq!(
            fs::read(&path).expect("a file"),
            lab.package.bytes(),
            "helper: {mode}\n{}",
            outcome.output
        );
    }
}

#[test]
fn files_of_a_local_repository_are_never_removed() {
    let lab = Lab::new();
    let local = format!("file://{}/repo", lab.directory.path().display());
    // Linked and not what the metadata says, as a mirror may be that is being synchronised.
    fs::write(&lab.package.path, &lab.evil).expect("another file in the package's place");
    fs::hard_link(&lab.package.path, lab.directory.path().join("elsewhere")).expect("a link");
    let without_shim = Host::new().repository("local", &local).dnf(&["install", "app"]);
    assert_eq!(without_shim.status, Some(1), "{}", without_shim.output);
    let stand_in = StandIn::new(lab.directory.path());
    let host = Host::new().repository("local", &local).shim(&stand_in.options("place"));
    let _ = host.dnf(&["install", "app"]).same_as(&without_shim);
    assert_eq!(fs::read(&lab.package.path).expect("it is still there"), lab.evil);
    assert!(stand_in.take_calls().is_empty());
}

#[test]
fn digests_of_other_algorithms_are_checked_too() {
    for (checksum, algorithm) in [("sha1", Algorithm::Sha1), ("sha512", Algorithm::Sha512)] {
        let lab = Lab::new();
        let repository = Repository::create(lab.directory.path().join("repo"));
        repository.index_with(&["--checksum", checksum]);
        for (mode, host, stand_in) in lab.hosts(&MODES) {
            let path = lab.plant(&host, &lab.evil);
            fs::hard_link(&path, host.path("elsewhere")).expect("a link");
            let _ = install(&host);
            assert_eq!(fs::read(host.path("elsewhere")).expect("the other name"), lab.evil, "helper: {mode}");
            if mode == "place" {
                let calls = stand_in.take_calls();
                assert_eq!(calls[0].packages()[0]["digest"], lab.package.digest(algorithm).to_string());
            }
        }
    }
}
