//! The file system's room: what must stay free stays free, and a full disk is an error with a path.

use std::fs;

use pkgtorrent_agent::settings::StoreLimits;
use pkgtorrent_agent::store::StoreError;
use pkgtorrent_protocol::socket::Need;

use crate::support::{Disk, KIB, Lab, MIB, Package, unlimited};

/// A limit on free space only.
fn floor(free_space_min: Option<u64>) -> StoreLimits {
    StoreLimits { free_space_min, ..unlimited() }
}

#[test]
fn the_floor_is_kept_and_old_packages_leave_for_it() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(floor(Some(3 * MIB)));
    let all: Vec<Package> = (0..9).map(|seed| Package::new(seed, MIB)).collect();
    for package in &all {
        package.put(&mut store).expect("put");
        assert!(disk.free() >= 3 * MIB);
    }
    // The directories take a page each, so that the fifth package does not fit.
    assert_eq!(store.totals().packages, 4);
    assert!(all[5].is_in(&mut store) && all[8].is_in(&mut store));
    for (identity, ..) in store.list() {
        store.pin(&identity);
    }
    let more = Package::new(10, MIB);
    let error = more.put(&mut store).expect_err("no room");
    assert!(
        matches!(error, StoreError::NoSpace { needed: MIB, kept, evictable: 0, .. } if kept == 3 * MIB),
        "{error}"
    );
    assert!(error.to_string().contains(&lab.path.display().to_string()), "{error}");
}

#[test]
fn without_a_setting_a_twentieth_stays_free() {
    let Some(disk) = Disk::tmpfs(20 * MIB) else { return };
    let mut store = Lab::on(&disk).open(floor(None));
    for seed in 0..30 {
        Package::new(seed, MIB).put(&mut store).expect("put");
    }
    assert_eq!(store.totals().packages, 18);
}

#[test]
fn what_the_package_manager_needs_stays_free_on_this_file_system_only() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let mut store = Lab::on(&disk).open(floor(Some(MIB)));
    let need = |device, bytes, copies| Need { device, bytes, copies };
    let here = disk.device();
    // No block can be shared on tmpfs, so copies cost as much as anything.
    let needs = [need(here, 3 * MIB, true), need(here, 2 * MIB, false)];
    Package::new(1, MIB).put_with(&mut store, &needs).expect("fits");
    let error = Package::new(2, 2 * MIB).put_with(&mut store, &needs).expect_err("no room");
    assert!(matches!(error, StoreError::NoSpace { kept, .. } if kept == 6 * MIB), "{error}");
    assert_eq!(store.totals().packages, 1, "nothing leaves in vain");
    Package::new(2, 2 * MIB).put_with(&mut store, &[need(here + 1, 100 * MIB, true)]).expect("elsewhere");
    store.tidy(&[need(here, 4 * MIB, false)]);
    assert_eq!(store.totals().packages, 1);
    assert!(disk.free() >= 5 * MIB);
    let error =
        Package::new(3, 1).put_with(&mut store, &[need(here, u64::MAX, true); 2]).expect_err("absurd");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
}

#[test]
fn space_is_taken_before_the_first_byte() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let mut store = Lab::on(&disk).open(unlimited());
    let before = disk.free();
    let package = Package::new(1, 5 * MIB);
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert!(before - disk.free() >= 5 * MIB);
    fs::write(disk.path().join("hog"), vec![1; 4 << 20]).expect_err("others see that it is taken");
    package.write(&partial, package.pieces());
    store.abandon(&package.identity, false);
    drop(partial);
    fs::remove_file(disk.path().join("hog")).expect("removed");
    assert_eq!(disk.free(), before);
}

#[test]
fn where_blocks_cannot_be_reserved_what_was_promised_counts() {
    let Some(disk) = Disk::ext2(8 * MIB) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(unlimited());
    let (one, two) = (Package::new(1, 5 * MIB), Package::new(2, 5 * MIB));
    let partial = store.begin(one.identity, one.size(), &[]).expect("begun");
    assert!(disk.free() > 5 * MIB, "not reserved");
    let error = two.put(&mut store).expect_err("promised");
    assert!(matches!(error, StoreError::NoSpace { free, .. } if free < 3 * MIB), "{error}");
    one.write(&partial, 0..80);
    let small = Package::new(3, MIB);
    small.put(&mut store).expect("what is written is not promised twice");
    one.write(&partial, 80..160);
    assert_eq!(partial.digests(&[]).expect("digests").identity, one.identity);
    partial.finish().expect("finished");
    store.enter(one.identity, one.size(), &[]).expect("entered");
    assert!(one.is_in(&mut store) && small.is_in(&mut store));
}

#[test]
fn half_a_package_is_finished_in_the_room_that_it_has() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let mut store = Lab::on(&disk).open(unlimited());
    let package = Package::new(1, 3 * MIB);
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, 0..5);
    store.abandon(&package.identity, true);
    let need = Need { device: disk.device(), bytes: 2 * MIB, copies: false };
    let error = store.begin(package.identity, package.size(), &[need]).expect_err("no room");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(store.totals().bytes, 3 * MIB, "it is not lost");
    let partial = store.begin(package.identity, package.size(), &[]).expect("resumed");
    assert!(!partial.is_new());
}

#[test]
fn a_file_system_without_room_for_another_file_is_full_too() {
    let Some(disk) = Disk::tmpfs_of_files(8 * MIB, 11) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(unlimited());
    // Beside the root of the file system, the state directory, its three directories and its version.
    for seed in 0..9 {
        Package::new(seed, 10 * KIB).put(&mut store).expect("put");
    }
    assert_eq!(store.totals().packages, 5);
    for (identity, ..) in store.list() {
        store.pin(&identity);
    }
    let error = Package::new(20, 10 * KIB).put(&mut store).expect_err("full");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
}

#[test]
fn somebody_elses_growth_is_made_up_for() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(floor(Some(2 * MIB)));
    for seed in 0..5 {
        Package::new(seed, MIB).put(&mut store).expect("put");
    }
    let half = Package::new(9, 512 * KIB);
    let partial = store.begin(half.identity, half.size(), &[]).expect("begun");
    half.write(&partial, 0..1);
    store.abandon(&half.identity, true);
    drop(partial);
    fs::write(disk.path().join("log"), vec![1; 2 << 20]).expect("written");
    store.tidy(&[]);
    assert!(disk.free() >= 2 * MIB);
    assert_eq!(store.totals().packages, 3);
    assert_eq!(lab.names("partial"), [""; 0]);
    fs::write(disk.path().join("log"), vec![1; 9 << 19]).expect("overwritten");
    store.tidy(&[]);
    assert_eq!(store.totals().packages, 1);
    fs::write(disk.path().join("log"), vec![1; 13 << 19]).expect("overwritten");
    store.tidy(&[]);
    assert_eq!(store.totals().packages, 0, "it is not enough, but all that can be done");
}

#[test]
fn a_full_disk_is_no_disaster() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let lab = Lab::on(&disk);
    let kept = Package::new(1, MIB);
    kept.put(&mut lab.open(unlimited())).expect("put");
    // To the last block.
    fs::write(disk.path().join("hog"), vec![1; 4 << 20]).expect_err("full");
    assert_eq!(disk.free(), 0);
    let mut store = lab.open(unlimited());
    assert!(kept.is_in(&mut store));
    store.pin(&kept.identity);
    let error = Package::new(2, 10 * KIB).put(&mut store).expect_err("full");
    assert!(matches!(error, StoreError::NoSpace { free: 0, .. }), "{error}");
    assert_eq!(lab.names("partial"), [""; 0]);
    store.unpin(&kept.identity);
    Package::new(2, 10 * KIB).put(&mut store).expect("the other one left");
}

#[test]
fn a_new_directory_on_a_full_disk_is_an_error_with_its_path() {
    let Some(disk) = Disk::tmpfs(MIB) else { return };
    fs::write(disk.path().join("hog"), vec![1; 1 << 20]).expect("filled");
    let error = Lab::on(&disk).try_open(unlimited()).expect_err("full").to_string();
    assert!(error.contains("No space left") && error.contains("state"), "{error}");
    fs::remove_file(disk.path().join("hog")).expect("removed");
    // What the failure left does not stand in the way.
    drop(Lab::on(&disk).open(unlimited()));
}

#[test]
fn a_disk_that_became_read_only_gives_what_it_has() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let lab = Lab::on(&disk);
    let package = Package::new(1, MIB);
    let mut store = lab.open(unlimited());
    package.put(&mut store).expect("put");
    disk.remount_read_only();
    assert!(package.is_in(&mut store));
    let other = Package::new(2, MIB);
    let error = store.begin(other.identity, other.size(), &[]).expect_err("read only").to_string();
    assert!(error.contains("Read-only") && error.contains(&other.identity.to_string()), "{error}");
    store.remove(&package.identity);
    assert_eq!(store.find(&package.identity.into()), None, "what is wrong is not given again");
    store.abandon(&other.identity, false);
}
