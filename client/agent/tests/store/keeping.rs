//! Which packages stay, and that they are found again after a restart.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use pkgtorrent_agent::store::{Store, StoreError};
use pkgtorrent_protocol::{Algorithm, PackageDigest};
use sha1::Sha1;
use sha2::Digest;

use crate::support::{KIB, Lab, Package, at_most, unlimited};

fn packages(count: u8) -> Vec<Package> {
    (0..count).map(|seed| Package::new(seed, 100 * KIB)).collect()
}

fn there(store: &Store, packages: &[Package]) -> Vec<usize> {
    (0..packages.len()).filter(|&n| store.find(&packages[n].identity.into()).is_some()).collect()
}

#[test]
fn the_least_recently_wanted_makes_room() {
    let lab = Lab::new();
    let mut store = lab.open(at_most(300 * KIB));
    let all = packages(5);
    for package in &all[..3] {
        package.put(&mut store).expect("put");
    }
    assert!(all[0].is_in(&mut store), "which also makes it the last one wanted");
    all[3].put(&mut store).expect("put");
    assert_eq!(there(&store, &all), [0, 2, 3]);
    all[4].put(&mut store).expect("put");
    assert_eq!(there(&store, &all), [0, 3, 4]);
    assert_eq!(store.totals().bytes, 300 * KIB);
    assert_eq!((store.totals().packages, store.totals().bytes_max), (3, 300 * KIB));
    assert_eq!(lab.names("store").len(), 3, "and the files of the others are gone");
}

#[test]
fn the_order_survives_a_restart() {
    let lab = Lab::new();
    let all = packages(4);
    let mut store = lab.open(unlimited());
    for package in &all[..3] {
        package.put(&mut store).expect("put");
    }
    assert!(all[0].is_in(&mut store));
    let before = store.list();
    drop(store);
    let mut store = lab.open(unlimited());
    assert_eq!(store.list(), before);
    // Reading a package to verify it is no wish for it.
    assert!(store.checking(&all[1].identity).expect("there").is_right().expect("read"));
    assert_eq!(store.list(), before);
    drop(store);
    let store = lab.open(at_most(200 * KIB));
    assert_eq!(there(&store, &all), [0, 2]);
}

#[test]
fn a_time_from_the_future_counts_as_now() {
    let lab = Lab::new();
    let all = packages(2);
    let mut store = lab.open(unlimited());
    all[0].put(&mut store).expect("put");
    let future = SystemTime::now() + Duration::from_secs(1_000_000);
    let path = lab.file("store").join(all[0].identity.to_string());
    fs::File::open(path).and_then(|file| file.set_modified(future)).expect("set");
    drop(store);
    let mut store = lab.open(unlimited());
    assert!(store.list()[0].2 < future - Duration::from_secs(1000));
    all[1].put(&mut store).expect("put");
    assert_eq!(store.list()[1].0, all[1].identity);
}

#[test]
fn what_is_pinned_never_leaves() {
    let lab = Lab::new();
    let mut store = lab.open(at_most(300 * KIB));
    let all = packages(5);
    for package in &all[..3] {
        package.put(&mut store).expect("put");
    }
    store.pin(&all[0].identity);
    store.pin(&all[0].identity);
    store.pin(&all[1].identity);
    all[3].put(&mut store).expect("put");
    assert_eq!(there(&store, &all), [0, 1, 3]);
    store.pin(&all[3].identity);
    let error = all[4].put(&mut store).expect_err("no room");
    assert!(
        matches!(error, StoreError::OverLimit { needed: 102_400, bytes: 307_200, max: 307_200, .. }),
        "{error}"
    );
    store.unpin(&all[0].identity);
    all[4].put(&mut store).expect_err("pinned twice, unpinned once");
    store.unpin(&all[0].identity);
    all[4].put(&mut store).expect("put");
    assert_eq!(there(&store, &all), [1, 3, 4]);
}

#[test]
fn what_could_never_fit_drives_nothing_out() {
    let lab = Lab::new();
    let mut store = lab.open(at_most(300 * KIB));
    let all = packages(2);
    all[0].put(&mut store).expect("put");
    store.pin(&all[0].identity);
    all[1].put(&mut store).expect("put");
    let huge = Package::new(9, 201 * KIB);
    assert!(matches!(huge.put(&mut store), Err(StoreError::OverLimit { .. })));
    assert_eq!(there(&store, &all), [0, 1]);
    assert_eq!(lab.names("partial"), [""; 0]);
}

#[test]
fn half_packages_leave_before_whole_ones_but_none_that_is_being_downloaded() {
    let lab = Lab::new();
    let mut store = lab.open(at_most(400 * KIB));
    let all = packages(5);
    all[0].put(&mut store).expect("put");
    for package in &all[1..3] {
        let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
        package.write(&partial, 0..1);
        store.abandon(&package.identity, true);
    }
    let running = store.begin(all[3].identity, all[3].size(), &[]).expect("begun");
    assert_eq!(store.totals().bytes, 400 * KIB, "half packages count whole: their blocks are reserved");
    all[4].put(&mut store).expect("put");
    assert_eq!(there(&store, &all), [0, 4]);
    let mut left = vec![all[2].identity.to_string(), all[3].identity.to_string()];
    left.sort();
    assert_eq!(lab.names("partial"), left);
    store.pin(&all[0].identity);
    store.pin(&all[4].identity);
    let error = store.begin(all[1].identity, 101 * KIB, &[]).expect_err("no room");
    assert!(matches!(error, StoreError::OverLimit { .. }), "{error}");
    all[3].write(&running, all[3].pieces());
    assert_eq!(running.digests(&[]).expect("digests").identity, all[3].identity);
}

#[test]
fn a_package_that_somebody_removed_or_cut_is_forgotten() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let all = packages(2);
    for package in &all {
        package.put(&mut store).expect("put");
    }
    let path = |n: usize| lab.file("store").join(all[n].identity.to_string());
    fs::remove_file(path(0)).expect("removed");
    fs::File::options().write(true).open(path(1)).and_then(|file| file.set_len(5)).expect("cut");
    for package in &all {
        assert!(store.open_package(&package.identity).expect("no error").is_none());
        assert_eq!(store.size(&package.identity), None);
        assert!(store.checking(&package.identity).is_err());
    }
    assert_eq!(store.totals().bytes, 0);
    assert!(!path(1).exists());
    all[0].put(&mut store).expect("put again");
    assert!(all[0].is_in(&mut store));
}

#[test]
fn what_is_given_out_cannot_be_written() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = &packages(1)[0];
    package.put(&mut store).expect("put");
    let file = store.open_package(&package.identity).expect("opens").expect("is there");
    std::io::Write::write_all(&mut &file, b"x").expect_err("read only");
    // An open file outlives its name.
    store.remove(&package.identity);
    assert_eq!(file.metadata().expect("metadata").len(), package.size());
    assert_eq!((store.totals().packages, store.totals().bytes), (0, 0));
}

#[test]
fn an_alias_is_found_also_after_a_restart_and_leaves_with_its_package() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = &packages(1)[0];
    let sha1 = PackageDigest::new(Algorithm::Sha1, &Sha1::digest(&package.bytes)).expect("a digest");
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, package.pieces());
    let digests = partial.digests(&[Algorithm::Sha1, Algorithm::Sha512]).expect("digests");
    assert_eq!(digests.aliases[0], sha1);
    partial.finish().expect("finished");
    store.enter(package.identity, package.size(), &digests.aliases).expect("entered");
    drop(store);
    let mut store = lab.open(unlimited());
    for alias in &digests.aliases {
        assert_eq!(store.find(alias), Some(package.identity));
    }
    assert_eq!(lab.names("alias").len(), 2);
    store.remove(&package.identity);
    assert_eq!(store.find(&sha1), None);
    assert_eq!(lab.names("alias"), [""; 0]);
}

#[test]
fn damage_is_seen_by_checking() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = &packages(1)[0];
    package.put(&mut store).expect("put");
    let path = lab.file("store").join(package.identity.to_string());
    let file: OwnedFd = fs::File::options().write(true).open(path).expect("opened").into();
    std::os::unix::fs::FileExt::write_all_at(&fs::File::from(file), b"x", 77).expect("written");
    assert!(!store.checking(&package.identity).expect("there").is_right().expect("read"));
}
