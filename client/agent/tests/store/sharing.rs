//! File systems whose files can share blocks: a package costs its space once.

use std::fs::{self, File};
use std::os::fd::OwnedFd;

use pkgtorrent_agent::settings::StoreLimits;
use pkgtorrent_agent::store::{Adding, StoreError};
use pkgtorrent_protocol::socket::Need;

use crate::support::{Disk, Lab, MIB, Package, unlimited};

fn on_each(test: fn(&Disk)) {
    for disk in [Disk::xfs, Disk::btrfs].iter().filter_map(|make| make()) {
        test(&disk);
    }
}

#[test]
fn copies_of_packages_cost_nothing() {
    on_each(|disk| {
        let mut store = Lab::on(disk).open(unlimited());
        let copies = Need { device: disk.device(), bytes: 100 << 30, copies: true };
        Package::new(1, MIB).put_with(&mut store, &[copies]).expect("fits");
        let others = Need { copies: false, ..copies };
        let error = Package::new(2, MIB).put_with(&mut store, &[copies, others]).expect_err("no room");
        assert!(matches!(error, StoreError::NoSpace { kept, .. } if kept == 100 << 30), "{error}");
    });
}

#[test]
fn a_file_is_added_without_its_bytes() {
    on_each(|disk| {
        let lab = Lab::on(disk);
        let mut store = lab.open(unlimited());
        let package = Package::new(1, 20 * MIB);
        let path = disk.path().join("package.rpm");
        fs::write(&path, &package.bytes).expect("written");
        File::open(&path).and_then(|file| file.sync_all()).expect("synced");
        let before = disk.free();
        // Less than the package is left beyond the floor.
        let limits = StoreLimits { free_space_min: Some(before - 10 * MIB), ..unlimited() };
        drop(store);
        store = lab.open(limits);
        let file: OwnedFd = File::open(&path).expect("opened").into();
        let added = store.begin_adding(file, None, &[]).and_then(Adding::take_in).expect("added");
        store.enter(added.identity, added.size, &[]).expect("entered");
        assert!(before - disk.free() < MIB, "{} taken", before - disk.free());
        assert!(package.is_in(&mut store));
        fs::remove_file(&path).expect("removed");
        assert!(package.is_in(&mut store));
        // One from elsewhere is copied, for which there is no room.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let path = elsewhere.path().join("package.rpm");
        let other = Package::new(2, 20 * MIB);
        fs::write(&path, &other.bytes).expect("written");
        store.pin(&package.identity);
        let error =
            store.begin_adding(File::open(&path).expect("opened").into(), None, &[]).expect_err("no room");
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    });
}

#[test]
fn evicting_gives_its_room_back_at_once() {
    on_each(|disk| {
        let lab = Lab::on(disk);
        let mut store = lab.open(unlimited());
        // Less than what is free now may be taken.
        let floor = disk.free() - 50 * MIB;
        drop(store);
        store = lab.open(StoreLimits { free_space_min: Some(floor), ..unlimited() });
        for seed in 0..9 {
            Package::new(seed, 20 * MIB).put(&mut store).expect("put");
            assert!(disk.free() >= floor);
        }
        assert_eq!(store.totals().packages, 2);
    });
}

#[test]
fn packages_whose_blocks_others_have_too_do_not_count_as_room() {
    on_each(|disk| {
        let lab = Lab::on(disk);
        let mut store = lab.open(unlimited());
        for seed in 0..40 {
            let package = Package::new(seed, MIB);
            package.put(&mut store).expect("put");
            let copy = File::create(disk.path().join(seed.to_string())).expect("a file");
            let file = store.open_package(&package.identity).expect("opens").expect("is there");
            rustix::fs::ioctl_ficlone(copy, file).expect("shared");
        }
        rustix::fs::syncfs(File::open(disk.path()).expect("opened")).expect("synced");
        let need = Need { device: disk.device(), bytes: disk.free(), copies: false };
        let error = Package::new(99, MIB).put_with(&mut store, &[need]).expect_err("no room");
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        assert!(disk.free() < need.bytes + MIB);
        assert_eq!(Package::new(99, MIB).put(&mut store).map_err(|error| error.to_string()), Ok(()));
    });
}

#[test]
fn a_download_that_was_given_up_is_no_reason_to_evict() {
    on_each(|disk| {
        let lab = Lab::on(disk);
        let floor = {
            let _store = lab.open(unlimited());
            disk.free() - 70 * MIB
        };
        let mut store = lab.open(StoreLimits { free_space_min: Some(floor), ..unlimited() });
        let package = Package::new(1, 30 * MIB);
        package.put(&mut store).expect("put");
        // Nor is what the file system has counted by itself counted twice.
        rustix::fs::syncfs(File::open(disk.path()).expect("opened")).expect("synced");
        let other = Package::new(2, 30 * MIB);
        for _ in 0..5 {
            store.begin(other.identity, other.size(), &[]).expect("begun");
            store.abandon(&other.identity, false);
        }
        assert!(package.is_in(&mut store));
    });
}
