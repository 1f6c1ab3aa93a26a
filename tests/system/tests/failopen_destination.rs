//! Whatever is at the destination, at the origin, or left of the disk: dnf ends as it does alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_test_support::dnf::{Host, Outcome};
use pkgtorrent_test_support::trial::install;
use pkgtorrent_test_support::{Disk, Mirror, Package, Repository, Trial, ask};

const AT_ONCE: Duration = Duration::ZERO;

/// How long packages are tried to be had that fail again and again: four times, with pauses of up to four seconds.
const TRIES_LIMIT: Duration = Duration::from_secs(10);

const KIB: u64 = 1 << 10;

fn said(outcome: &Outcome) -> &str {
    outcome.output.lines().find(|line| line.contains("pkgtorrent: ")).unwrap_or_default()
}

/// Installs on two hosts of this size, without the shim and with it.
fn install_on_disks_of(kib: u64, trial: &Trial) -> (Outcome, Outcome) {
    let disk = Disk::new(kib * KIB);
    let alone = install(&trial.mirror.on(Host::new_in(disk.path())));
    let disk = Disk::new(kib * KIB);
    let host = trial.mirror.on(Host::new_in(disk.path())).agent(&trial.service.url("/"));
    (alone, install(&host))
}

#[test]
fn a_transaction_that_fits_the_disk_alone_fits_it_with_the_agents_store() {
    let trial = Trial::new();
    // From too little for dnf alone, over just enough, to enough for two copies of everything and rpm's database.
    let sizes = [6_000, 6_700, 7_000, 8_000, 9_500, 12_000, 14_500, 20_000];
    let mut seen = [false; 3];
    for kib in sizes {
        let (alone, with_shim) = install_on_disks_of(kib, &trial);
        eprintln!("{kib} KiB: {:?}, {}", alone.status, said(&with_shim));
        let with_shim = with_shim.same_as(&alone).within(AT_ONCE, &trial.alone);
        seen[0] |= alone.status != Some(0);
        seen[1] |= alone.status == Some(0) && said(&with_shim).contains("no room in ");
        seen[2] |= said(&with_shim).contains("3 of 3 packages");
    }
    assert_eq!(seen, [true; 3], "these sizes show nothing");
}

#[test]
fn packages_that_just_fit_dnfs_cache_are_placed_there() {
    let trial = Trial::new();
    let mut seen = [false; 2];
    for kib in [2_500, 3_200, 5_000] {
        let [alone, with_shim] = [trial.mirror.host(), trial.host()].map(|host| {
            let disk = Disk::new(kib * KIB);
            symlink(disk.path(), host.path("cache")).expect("a link");
            install(&host)
        });
        eprintln!("{kib} KiB: {:?}, {}", alone.status, said(&with_shim));
        let with_shim = with_shim.same_as(&alone).within(AT_ONCE, &trial.alone);
        seen[0] |= alone.status != Some(0);
        seen[1] |= said(&with_shim).contains("3 of 3 packages");
    }
    assert_eq!(seen, [true; 2], "these sizes show nothing");
}

/// Installs from a mirror on which `damage` was done to a package, before the service has seen it or after that.
fn install_damaged(damage: fn(&Package), is_hashed_before: bool) {
    let mirror = Mirror::new();
    let service = is_hashed_before.then(|| {
        let service = mirror.service();
        let digests: Vec<PackageDigest> = mirror.packages.iter().map(|it| it.identity.into()).collect();
        assert!(ask::post_set(service.addr(), &digests).unknown.is_empty());
        service
    });
    damage(&mirror.packages[2]);
    let alone = mirror.dnf_alone();
    assert_eq!((alone.status, alone.installed.len()), (Some(1), 0), "{}", alone.output);
    let trial = Trial { service: service.unwrap_or_else(|| mirror.service()), mirror, alone };
    let outcome = install(&trial.host()).same_as(&trial.alone).within(TRIES_LIMIT, &trial.alone).placed(2);
    // dnf has tried, perhaps more than once, what the agent did not get, and nothing else.
    let mut names = trial.mirror.server.take_packages();
    names.dedup();
    assert_eq!(names, [trial.mirror.packages[2].file_name()], "{}", outcome.output);
}

fn exchange(package: &Package) {
    let [_, _, (_, evil)] = Mirror::evil();
    assert_eq!(evil.len() as u64, package.size);
    fs::write(&package.path, evil).expect("written");
}

fn cut(package: &Package) {
    fs::write(&package.path, &package.bytes()[..1_000_000]).expect("written");
}

fn remove(package: &Package) {
    fs::remove_file(&package.path).expect("removed");
}

#[test]
fn a_corrupt_file_at_the_origin_fails_as_without_the_shim() {
    install_damaged(exchange, false);
    install_damaged(exchange, true);
}

#[test]
fn a_cut_or_missing_file_at_the_origin_fails_as_without_the_shim() {
    install_damaged(cut, true);
    install_damaged(remove, true);
    install_damaged(remove, false);
}

#[test]
fn a_package_that_the_service_does_not_have_is_downloaded_by_dnf() {
    let trial = Trial::new();
    let directory = tempfile::tempdir().expect("a directory");
    let others = Repository::create(directory.path().join("repo"));
    let [app, _, data] = Mirror::rpms();
    others.add(&app);
    others.add(&data);
    others.index();
    let service = trial.mirror.service_of(directory.path());
    let host = trial.mirror.host().agent(&service.url("/"));
    let outcome = install(&host).same_as(&trial.alone).within(AT_ONCE, &trial.alone).placed(2);
    assert!(said(&outcome).contains("the service does not have it"), "{}", outcome.output);
    trial.expect_downloads(&["lib-1.0-1.noarch.rpm".into()], &outcome);
    trial.expect_right_packages(&host);
}

/// Installs on two hosts, without the shim and with it, on which `prepare` has put something where dnf will look for
/// packages. Returns the second.
fn install_over(trial: &Trial, prepare: impl Fn(&Mirror, &Path, &Path)) -> (Host, Outcome) {
    let [(_, alone), (host, with_shim)] = [trial.mirror.host(), trial.host()].map(|host| {
        let _ = host.dnf(&["makecache"]).succeeded();
        let cache = host.package_cache("repo");
        fs::create_dir_all(&cache).expect("dnf's directory for packages");
        fs::create_dir(host.path("elsewhere")).expect("a directory");
        prepare(&trial.mirror, &cache, &host.path("elsewhere"));
        let _ = trial.mirror.server.take_packages();
        let outcome = install(&host);
        (host, outcome)
    });
    (host, with_shim.same_as(&alone).within(AT_ONCE, &trial.alone))
}

#[test]
fn a_wrong_file_at_the_destination_is_replaced() {
    for trial in Trial::each() {
        let (host, outcome) = install_over(&trial, |mirror, cache, _| {
            let [app, lib, data] = &mirror.packages;
            fs::write(cache.join(app.file_name()), &app.bytes()[..10_000]).expect("a short file");
            fs::write(cache.join(lib.file_name()), [lib.bytes(), b"more"].concat()).expect("a long file");
            let mut corrupt = data.bytes().to_vec();
            corrupt[1_000_000] ^= 1;
            fs::write(cache.join(data.file_name()), corrupt).expect("a corrupt file");
        });
        trial.expect_downloads(&[], &outcome);
        trial.expect_right_packages(&host);
    }
}

#[test]
fn a_link_at_the_destination_is_replaced_and_what_it_leads_to_is_not_touched() {
    for trial in Trial::each() {
        let evil = Mirror::evil();
        let (host, outcome) = install_over(&trial, |_, cache, elsewhere| {
            let [(app, evil_app), (lib, evil_lib), (data, _)] = &evil;
            fs::write(elsewhere.join(app), evil_app).expect("a file");
            symlink(elsewhere.join(app), cache.join(app)).expect("a link");
            fs::write(elsewhere.join(lib), evil_lib).expect("a file");
            fs::hard_link(elsewhere.join(lib), cache.join(lib)).expect("a second name");
            symlink(elsewhere.join("nothing-here"), cache.join(data)).expect("a link to nothing");
        });
        trial.expect_downloads(&[], &outcome);
        trial.expect_right_packages(&host);
        for (name, bytes) in &evil[..2] {
            let kept = fs::read(host.path("elsewhere").join(name)).expect("the other file");
            assert!(kept == *bytes, "{name} was written to through its link");
        }
        assert!(!host.path("elsewhere/nothing-here").exists(), "something was made where a link led to");
    }
}

#[test]
fn a_directory_at_the_destination_ends_as_without_the_shim() {
    for trial in Trial::each() {
        let (host, outcome) = install_over(&trial, |mirror, cache, _| {
            fs::create_dir(cache.join(mirror.packages[1].file_name())).expect("a directory");
        });
        assert!(said(&outcome).contains("2 of 3 packages"), "{}", outcome.output);
        assert!(host.package_cache("repo").join(trial.mirror.packages[1].file_name()).is_dir());
    }
}
