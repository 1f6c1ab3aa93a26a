//! Other, full and read-only file systems, and those whose files share blocks.

use std::fs::File;
use std::io::Write;

use pkgtorrent_agent::place::PlaceError;

use crate::support::{Disk, MIB, Package, names};

#[test]
fn where_blocks_can_be_shared_a_package_costs_its_space_once() {
    let Some(disk) = Disk::xfs() else { return };
    let package = Package::new(1, 32 * MIB);
    let source = package.write_to(disk.path());
    File::open(&source).unwrap().sync_all().unwrap();
    let before = disk.free();
    let dest = disk.path().join("cache/a.rpm");
    assert!(package.place(&source, &dest).unwrap().shares_blocks);
    File::open(&dest).unwrap().sync_all().unwrap();
    assert!(before - disk.free() < 2 * MIB, "{} bytes went", before - disk.free());
    package.assert_at(&dest);
    // Whoever owns the agent's file may write to it: what was placed stays as it is.
    File::options().write(true).open(&source).unwrap().write_all(b"evil").unwrap();
    package.assert_at(&dest);
}

#[test]
fn a_size_that_ends_within_a_block_is_shared_too() {
    let Some(disk) = Disk::xfs() else { return };
    let package = Package::new(2, 3 * MIB + 17);
    let source = package.write_to(disk.path());
    let dest = disk.path().join("a.rpm");
    assert!(package.place(&source, &dest).unwrap().shares_blocks);
    package.assert_at(&dest);
}

#[test]
fn a_wrong_file_whose_blocks_are_shared_does_not_appear() {
    let Some(disk) = Disk::xfs() else { return };
    let package = Package::new(3, MIB);
    let source = Package::new(4, MIB).write_to(disk.path());
    let dest = disk.path().join("cache/a.rpm");
    let error = package.place(&source, &dest).expect_err("wrong");
    assert!(error.is_the_sources(), "{error}");
    assert_eq!(names(&disk.path().join("cache")), [""; 0]);
}

#[test]
fn a_package_is_copied_to_another_file_system() {
    let Some(disk) = Disk::tmpfs(64 * MIB) else { return };
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(5, 20 * MIB + 1);
    let source = package.write_to(directory.path());
    let dest = disk.path().join("a/b/c.rpm");
    assert!(!package.place(&source, &dest).unwrap().shares_blocks);
    package.assert_at(&dest);
    assert_eq!(names(dest.parent().unwrap()), ["c.rpm"]);
    let back = directory.path().join("back.rpm");
    package.place(&dest, &back).unwrap();
    package.assert_at(&back);
}

#[test]
fn a_full_destination_is_the_destinations_fault_and_keeps_no_half() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(6, 9 * MIB);
    let source = package.write_to(directory.path());
    let before = disk.free();
    let error = package.place(&source, &disk.path().join("a.rpm")).expect_err("full");
    assert!(matches!(error, PlaceError::Destination { .. }) && !error.is_the_sources(), "{error}");
    assert!(error.to_string().contains("a.rpm"), "{error}");
    assert_eq!(names(disk.path()), [""; 0]);
    assert_eq!(disk.free(), before);
}

#[test]
fn a_package_fits_into_the_room_of_the_stale_one_that_it_replaces() {
    let Some(disk) = Disk::tmpfs(8 * MIB) else { return };
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(7, 6 * MIB);
    let source = package.write_to(directory.path());
    let dest = disk.path().join("a.rpm");
    std::fs::write(&dest, vec![1; 6 << 20]).unwrap();
    package.place(&source, &dest).unwrap();
    package.assert_at(&dest);
}

#[test]
fn a_read_only_destination_is_the_destinations_fault() {
    let behind = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::read_only(behind.path()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(8, MIB);
    let source = package.write_to(directory.path());
    for dest in ["a.rpm", "new/a.rpm"] {
        let error = package.place(&source, &disk.path().join(dest)).expect_err("read-only");
        assert!(matches!(error, PlaceError::Destination { .. }), "{error}");
    }
    std::fs::write(behind.path().join("stale.rpm"), "stale").unwrap();
    let error = package.place(&source, &disk.path().join("stale.rpm")).expect_err("read-only");
    assert!(matches!(error, PlaceError::Destination { .. }), "{error}");
    assert_eq!(names(behind.path()), ["stale.rpm"]);
}
