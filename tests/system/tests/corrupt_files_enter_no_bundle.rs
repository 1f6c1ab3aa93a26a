//! A file whose bytes are not what is listed enters no bundle: it is reported as unknown, logged and counted, and
//! known as soon as it is repaired. The rest of its set is planned all the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_system_tests::{
    Lab, SEEN_WITHIN, assert_web_seed_is_right, digests, is_known, unknown, wait_until_known, web_seed,
};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Package, Repository, ask, http};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A damage's name, and how it is done to a file with these bytes.
type Damage = (&'static str, fn(&Path, &[u8]));

/// What is found where a package should be.
const DAMAGES: [Damage; 10] = [
    ("other-bytes", |path, bytes| {
        let mut other = bytes.to_vec();
        other[bytes.len() / 2] ^= 1;
        write(path, &other);
    }),
    ("shorter", |path, bytes| write(path, &bytes[..bytes.len() - 1])),
    ("longer", |path, bytes| write(path, &[bytes, b"x"].concat())),
    ("empty", |path, _| write(path, b"")),
    ("vanished", |path, _| remove(path)),
    ("directory", |path, _| {
        remove(path);
        fs::create_dir(path).expect("a directory");
    }),
    ("dangling", |path, _| {
        remove(path);
        symlink("nowhere", path).expect("a symlink");
    }),
    ("loop", |path, _| {
        remove(path);
        symlink(path.file_name().expect("a name"), path).expect("a symlink");
    }),
    ("fifo", |path, _| {
        remove(path);
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    }),
    ("outside", |path, bytes| {
        let outside = path.ancestors().nth(3).expect("a directory around the root").join("outside");
        write(&outside, bytes);
        remove(path);
        symlink(outside, path).expect("a symlink");
    }),
];

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    removed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[test]
fn only_what_is_as_listed_is_planned() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let blob = |n: usize, name: &str| repository.add_blob(&format!("{name}.rpm"), 40_000 + n, n as u64);
    let good: Vec<Package> = (100..104).map(|n| blob(n, &format!("good-{n}"))).collect();
    let bad: Vec<Package> = DAMAGES.iter().enumerate().map(|(n, (name, _))| blob(n, name)).collect();
    repository.list(&[good.clone(), bad.clone()].concat());
    for (package, (_, damage)) in bad.iter().zip(DAMAGES) {
        damage(&package.path, package.bytes());
    }
    let service = lab.start();
    let set = digests(good.iter().chain(&bad));

    for round in 0..20 {
        let plan = ask::post_set(service.addr(), &set);
        let (unknown, all_bad): (BTreeSet<PackageDigest>, BTreeSet<PackageDigest>) =
            (plan.unknown.into_iter().collect(), digests(&bad).into_iter().collect());
        assert_eq!(unknown, all_bad, "round {round}");
        let planned: usize = plan.bundles.iter().map(|bundle| bundle.files.len()).sum();
        assert_eq!(planned, good.len());
        for package in &bad {
            let status = http::get(service.addr(), &web_seed(package)).status;
            assert_eq!(status, 404, "{}", package.file_name());
            // Another set each time, so that no remembered plan answers.
            let pair = digests([package, &good[round % good.len()]]);
            assert_eq!(unknown_of(&service, &pair), digests([package]));
        }
    }
    // Only a file of the right size is worth reading, and only once however often it is asked for.
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), good.len() as f64 + 1.0);
    assert_eq!(service.metric("pkgtorrent_packages_corrupt_total"), 1.0);
    assert_eq!(service.metric("pkgtorrent_catalog_packages"), good.len() as f64 + 2.0);
    assert_eq!(service.metric("pkgtorrent_catalog_missing"), bad.len() as f64 - 2.0);
    let log = service.log();
    assert_eq!(log.matches("other-bytes.rpm: not shared: its bytes are not what is listed").count(), 1);
    assert!(log.contains("have a file of another size"), "wrong sizes are not logged");

    for package in &bad {
        if package.path.symlink_metadata().is_ok() {
            remove(&package.path);
        }
        let _ = Package::write(&package.path, package.bytes().to_vec());
        wait_until_known(service.addr(), package);
    }
    assert_eq!(unknown(service.addr(), &set), []);
    assert_eq!(service.metric("pkgtorrent_catalog_missing"), 0.0);
}

fn unknown_of(service: &pkgtorrent_test_support::Service, set: &[PackageDigest]) -> Vec<PackageDigest> {
    ask::post_set(service.addr(), set).unknown
}

#[test]
fn damage_to_a_file_that_was_good_is_noticed() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let good = repository.add_blob("good.rpm", 50_000, 1);
    let package = repository.add_blob("breaks.rpm", 50_000, 2);
    repository.list(&[good.clone(), package.clone()]);
    let service = lab.start();
    wait_until_known(service.addr(), &package);
    for (name, damage) in DAMAGES {
        damage(&package.path, package.bytes());
        assert_eq!(http::get(service.addr(), &web_seed(&package)).status, 404, "{name}");
        wait_for(&format!("word that {name} is unknown"), SEEN_WITHIN, || {
            (!is_known(service.addr(), package.identity)).then_some(())
        });
        assert!(is_known(service.addr(), good.identity));
        if package.path.symlink_metadata().is_ok() {
            remove(&package.path);
        }
        let _ = Package::write(&package.path, package.bytes().to_vec());
        wait_until_known(service.addr(), &package);
    }
}

#[test]
fn a_good_copy_elsewhere_is_used_instead() {
    let lab = Lab::new();
    // Whichever of the two is looked at first, it is the damaged one in one of the sets.
    let (first, second) = (Repository::create(lab.path("a")), Repository::create(lab.path("b")));
    let in_both = |n: usize| {
        let name = format!("copied-{n}.rpm");
        (first.add_blob(&name, 50_000, n as u64), second.add_blob(&name, 50_000, n as u64))
    };
    let pairs: Vec<(Package, Package)> = (0..4).map(in_both).collect();
    first.list(&pairs.iter().map(|(one, _)| one.clone()).collect::<Vec<_>>());
    second.list(&pairs.iter().map(|(_, other)| other.clone()).collect::<Vec<_>>());
    for (n, (one, other)) in pairs.iter().enumerate() {
        let damaged = if n % 2 == 0 { one } else { other };
        write(&damaged.path, &vec![n as u8; 50_000]);
    }
    let service = lab.start();
    let set = digests(pairs.iter().map(|(one, _)| one));
    assert_eq!(unknown(service.addr(), &set), [], "there is a good copy of each");
    for (package, _) in &pairs {
        assert_web_seed_is_right(service.addr(), package);
    }
}

/// A package that is being read again for a while must not be forgotten about for good.
#[test]
fn a_file_that_kept_changing_is_known_once_it_is_at_rest() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let package = repository.add_blob("busy.rpm", 4 << 20, 1);
    repository.list(std::slice::from_ref(&package));
    let service = lab.start();
    let until = std::time::Instant::now() + Duration::from_secs(2);
    while std::time::Instant::now() < until {
        let _ = Package::write(&package.path, package.bytes().to_vec());
        let _ = ask::post_set(service.addr(), &digests([&package]));
    }
    wait_until_known(service.addr(), &package);
}
