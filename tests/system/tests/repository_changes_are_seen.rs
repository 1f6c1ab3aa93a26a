//! Whatever changes below the root is seen within seconds, without a restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::{Algorithm, PackageDigest};
use pkgtorrent_system_tests::{
    Lab, SEEN_WITHIN, assert_web_seed_is_right, digests, is_known, unknown, wait_until_known,
    wait_until_unknown,
};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Compression, Package, Repository, Rpm, Service, ask};

#[test]
fn packages_come_and_go() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let stays = repository.add(&Rpm::new("stays"));
    repository.index();
    let service = lab.start();
    assert_web_seed_is_right(service.addr(), &stays);

    let added = repository.add_in("deeper/down", &Rpm::new("added").payload_len(50_000));
    assert!(!is_known(service.addr(), added.identity), "only metadata makes a package known");
    repository.index();
    wait_until_known(service.addr(), &added);

    repository.remove(&added);
    wait_until_unknown(service.addr(), &added);
    repository.index();
    assert_eq!(unknown(service.addr(), &digests([&stays, &added])), digests([&added]));
}

#[test]
fn repositories_come_and_go() {
    let lab = Lab::new();
    let service = lab.start();
    let first = Repository::create(lab.path("distribution/9/os"));
    let in_first = first.add(&Rpm::new("in-first"));
    first.index();
    wait_until_known(service.addr(), &in_first);

    // Made elsewhere and put in place as a whole.
    let elsewhere = Repository::create(lab.state().join("../elsewhere"));
    let package = elsewhere.add(&Rpm::new("in-second"));
    elsewhere.index();
    fs::rename(elsewhere.directory(), lab.path("distribution/9/updates")).expect("a repository is moved");
    wait_until_known(service.addr(), &package);

    fs::remove_dir_all(first.directory()).expect("a repository is removed");
    wait_until_unknown(service.addr(), &in_first);
    assert!(is_known(service.addr(), package.identity));
}

#[test]
fn metadata_behind_a_symlink_is_swapped() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let old = repository.add(&Rpm::new("old"));
    repository.index_with(&["--checksum", "sha512"]);
    let repodata = repository.directory().join("repodata");
    let version = |n: u32| format!("versions/{n}");
    fs::create_dir(repository.directory().join("versions")).expect("a directory");
    let publish = |n: u32| {
        fs::rename(&repodata, repository.directory().join(version(n))).expect("metadata is moved");
        symlink(version(n), repository.directory().join("new")).expect("a symlink");
        fs::rename(repository.directory().join("new"), &repodata).expect("a symlink is put in place");
    };
    publish(1);
    let service = lab.start();
    // Without the metadata, they would be known by their own digests.
    let listed = |package: &Package| package.digest(Algorithm::Sha512);
    assert!(is_known(service.addr(), listed(&old)));

    let new = repository.add(&Rpm::new("new"));
    fs::remove_file(&repodata).expect("the old symlink goes");
    repository.index_with(&["--checksum", "sha512"]);
    publish(2);
    let what = "plan for a package of the new metadata";
    wait_for(what, SEEN_WITHIN, || is_known(service.addr(), listed(&new)).then_some(()));
    assert!(is_known(service.addr(), listed(&old)));
}

#[test]
fn packages_without_metadata_are_known_by_their_own_digests() {
    let lab = Lab::new();
    let directory = Repository::create(lab.path("loose"));
    let first = directory.add(&Rpm::new("first").payload_len(100_000));
    let service = lab.start();
    wait_until_known(service.addr(), &first);

    let second = directory.add(&Rpm::new("second"));
    let rubbish = directory.add_blob("rubbish.rpm", 5_000, 1);
    wait_until_known(service.addr(), &second);
    wait_for("word about what is no package", SEEN_WITHIN, || {
        service.log().contains("rubbish.rpm: it is no package").then_some(())
    });
    assert!(!is_known(service.addr(), rubbish.identity));
    directory.remove(&first);
    wait_until_unknown(service.addr(), &first);
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), 2.0);
}

/// Asks for these packages until `limit` has passed: they must be known all the time.
fn stay_known(service: &Service, packages: &[&Package], limit: Duration) {
    let until = Instant::now() + limit;
    let packages = digests(packages.iter().copied());
    while Instant::now() < until {
        assert_eq!(unknown(service.addr(), &packages), [], "a package that stays is unknown");
    }
}

#[test]
fn packages_without_metadata_stay_known_when_metadata_comes() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let packages = [repository.add(&Rpm::new("at-the-top")), repository.add_in("below", &Rpm::new("below"))];
    let service = lab.start();
    packages.iter().for_each(|p| wait_until_known(service.addr(), p));
    let [first, second] = &packages;

    // Slowly, as when a mirror is being filled from elsewhere.
    let repodata = repository.directory().join("repodata");
    fs::create_dir(&repodata).expect("a directory");
    fs::write(repodata.join("filelists.xml.gz"), "whatever").expect("metadata");
    stay_known(&service, &[first, second], Duration::from_secs(3));
    fs::remove_dir_all(&repodata).expect("the directory goes");
    repository.index();
    stay_known(&service, &[first, second], Duration::from_secs(3));
    assert!(service.log().contains("2 packages read"), "the metadata was not read");

    let unlisted = repository.add(&Rpm::new("unlisted"));
    stay_known(&service, &[first, second], Duration::from_secs(3));
    assert!(!is_known(service.addr(), unlisted.identity), "in a repository, only what it lists is known");
}

#[test]
fn packages_stay_known_when_their_metadata_goes() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let package = repository.add(&Rpm::new("stays"));
    repository.index();
    let service = lab.start();
    wait_until_known(service.addr(), &package);
    fs::remove_dir_all(repository.directory().join("repodata")).expect("metadata is removed");
    let until_given_up = Instant::now() + SEEN_WITHIN;
    while !service.log().contains("given up as a repository") {
        assert!(Instant::now() < until_given_up, "the repository is never given up");
        stay_known(&service, &[&package], Duration::from_millis(100));
    }
    stay_known(&service, &[&package], Duration::from_secs(3));
}

#[test]
fn every_compression_is_read() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let mut packages = vec![repository.add(&Rpm::new("before"))];
    repository.index();
    let service = lab.start();
    for compression in Compression::ALL {
        packages.push(repository.add(&Rpm::new(&format!("in-{compression:?}"))));
        repository.index_compressed(compression);
        wait_until_known(service.addr(), &packages[packages.len() - 1]);
        assert_eq!(unknown(service.addr(), &digests(&packages)), []);
    }
}

#[test]
fn packages_are_known_by_whatever_digest_their_repository_lists() {
    let lab = Lab::new();
    let service = lab.start();
    for algorithm in [Algorithm::Sha1, Algorithm::Sha224, Algorithm::Sha384, Algorithm::Sha512] {
        let name = algorithm.name();
        let repository = Repository::create(lab.path(name));
        let package = repository.add(&Rpm::new(&format!("by-{name}")));
        repository.index_with(&["--checksum", name]);
        let listed: PackageDigest = package.digest(algorithm);
        wait_for(&format!("plan for {listed}"), SEEN_WITHIN, || {
            is_known(service.addr(), listed).then_some(())
        });
        assert_web_seed_is_right(service.addr(), &package);

        // The bundle names it by its identity, so hosts of another repository that lists SHA-256 meet there.
        let plan = ask::post_set(service.addr(), &[listed]);
        let [bundle] = plan.bundles.as_slice() else {
            panic!("{} bundles", plan.bundles.len());
        };
        assert_eq!(bundle.files, [(0, 0)]);
        let other = Repository::create(lab.path(&format!("{name}-too")));
        fs::copy(&package.path, other.directory().join(package.file_name())).expect("a package is copied");
        other.index();
        wait_until_known(service.addr(), &package);
        let met = ask::post_set(service.addr(), &[package.identity.into()]);
        assert_eq!(met.bundles[0].info_hash, bundle.info_hash);
    }
}

/// Hidden directories are not watched, so what changes behind this symlink is announced by no event, as on a network
/// file system.
#[test]
fn a_change_without_an_event_is_found_by_the_rescan() {
    let lab = Lab::new();
    let pool = Repository::create(lab.path(".pool"));
    let repository = Repository::create(lab.path("repository"));
    let right = Rpm::new("pooled").payload_len(10_000);
    let package = pool.add(&right);
    let link = repository.directory().join(package.file_name());
    symlink(format!("../.pool/{}", package.file_name()), link).expect("a symlink");
    repository.index();
    let wrong = pool.add(&right.clone().rebuilt());
    assert_eq!(wrong.path, package.path);

    let mut service = lab.launch().config("rescan_interval = 300").start();
    wait_until_unknown(service.addr(), &package);
    let _ = pool.add(&right);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert!(
            !is_known(service.addr(), package.identity),
            "an event came after all: this test needs another way without"
        );
    }

    let _ = pool.add(&right.clone().rebuilt());
    service.set_config("rescan_interval = 1");
    service.restart();
    wait_until_unknown(service.addr(), &package);
    let _ = pool.add(&right);
    wait_until_known(service.addr(), &package);
}

#[test]
fn a_root_that_is_replaced_is_seen() {
    let lab = Lab::new();
    let old = Repository::create(lab.path("repository"));
    let (stays, leaves) = (old.add(&Rpm::new("stays")), old.add(&Rpm::new("leaves")));
    old.index();
    let new = Repository::create(lab.state().join("../new/repository"));
    let (_, comes) = (new.add(&Rpm::new("stays")), new.add(&Rpm::new("comes")));
    new.index();
    // A rescan must not be what sees it.
    let service = lab.launch().config("rescan_interval = 3600").start();
    wait_until_known(service.addr(), &leaves);

    let beside = |name: &str| lab.root().with_file_name(name);
    fs::rename(lab.root(), beside("old")).expect("the old root goes");
    stay_known(&service, &[&stays], Duration::from_secs(2));
    fs::rename(beside("new"), lab.root()).expect("the new root comes");
    wait_until_known(service.addr(), &comes);
    assert_web_seed_is_right(service.addr(), &comes);
    wait_until_unknown(service.addr(), &leaves);
    assert!(is_known(service.addr(), stays.identity));
}

#[test]
fn a_root_behind_a_symlink_is_turned() {
    let lab = Lab::new();
    let beside = |name: &str| lab.root().with_file_name(name);
    let [first, second] = ["first", "second"].map(|name| {
        let repository = Repository::create(beside(name).join("repository"));
        let package = repository.add(&Rpm::new(name));
        repository.index();
        package
    });
    fs::remove_dir(lab.root()).expect("the empty root goes");
    symlink("first", lab.root()).expect("a link");
    let service = lab.launch().config("rescan_interval = 3600").start();
    wait_until_known(service.addr(), &first);

    symlink("second", beside("turned")).expect("a link");
    fs::rename(beside("turned"), lab.root()).expect("the link is turned");
    wait_until_known(service.addr(), &second);
    wait_until_unknown(service.addr(), &first);
}
