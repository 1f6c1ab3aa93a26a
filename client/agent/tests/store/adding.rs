//! Files that somebody brings: only what was copied and hashed is kept.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pkgtorrent_agent::store::{Adding, Store, StoreError};
use pkgtorrent_protocol::{Algorithm, PackageDigest};
use sha1::Sha1;
use sha2::Digest;
use tempfile::TempDir;

use crate::support::{Disk, KIB, Lab, MIB, Package, at_most, unlimited};

fn brought(package: &Package) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("package.rpm");
    fs::write(&path, &package.bytes).expect("written");
    (directory, path)
}

fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("opened").into()
}

fn add(store: &mut Store, path: &Path, digest: Option<PackageDigest>) -> Result<(), StoreError> {
    let added = store.begin_adding(open(path), digest, &[])?.take_in()?;
    store.enter(added.identity, added.size, &added.aliases)
}

#[test]
fn a_file_becomes_a_package_of_its_own_digest() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = Package::new(1, MIB + 77);
    let (_directory, path) = brought(&package);
    add(&mut store, &path, None).expect("added");
    // The original may change as it likes.
    File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"x", 5)).expect("written");
    assert!(package.is_in(&mut store));
    assert_eq!(lab.names("partial"), [""; 0]);
    assert_eq!(store.totals().bytes, package.size());
    fs::write(&path, &package.bytes).expect("written");
    add(&mut store, &path, Some(package.identity.into())).expect("added twice");
    assert_eq!((store.totals().packages, store.totals().bytes), (1, package.size()));
}

#[test]
fn a_digest_that_the_caller_names_becomes_an_alias_if_it_is_right() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = Package::new(1, 100 * KIB);
    let (_directory, path) = brought(&package);
    let wrong = PackageDigest::new(Algorithm::Sha1, &[7; 20]).expect("a digest");
    for wrong in [wrong, Package::new(2, 5).identity.into()] {
        let error = add(&mut store, &path, Some(wrong)).expect_err("another digest");
        assert!(matches!(error, StoreError::Mismatch(digest) if digest == wrong), "{error}");
    }
    assert_eq!((lab.names("partial").len(), lab.names("store").len()), (0, 0));
    let right = PackageDigest::new(Algorithm::Sha1, &Sha1::digest(&package.bytes)).expect("a digest");
    add(&mut store, &path, Some(right)).expect("added");
    assert_eq!(store.find(&right), Some(package.identity));
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let directory = tempfile::tempdir().expect("a directory");
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    for (what, file) in [
        ("a directory", open(directory.path())),
        ("a device", open(Path::new("/dev/zero"))),
        ("a pipe", pipe.into()),
    ] {
        assert!(matches!(store.begin_adding(file, None, &[]), Err(StoreError::NotAFile)), "{what}");
    }
    let path = directory.path().join("file");
    File::create(&path).expect("made");
    assert!(matches!(store.begin_adding(open(&path), None, &[]), Err(StoreError::Empty)));
    fs::write(&path, "text").expect("written");
    let unreadable: OwnedFd = File::options().write(true).open(&path).expect("opened").into();
    let error = store.begin_adding(unreadable, None, &[]).and_then(Adding::take_in);
    assert!(matches!(error, Err(StoreError::Source(_))), "{error:?}");
    assert_eq!(lab.names("partial"), [""; 0]);
}

#[test]
fn a_file_that_changes_its_length_meanwhile_is_refused() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = Package::new(1, 300 * KIB);
    let (_directory, path) = brought(&package);
    for len in [package.size() - 1, package.size() + 1, 0] {
        let adding = store.begin_adding(open(&path), None, &[]).expect("begun");
        File::options().write(true).open(&path).and_then(|file| file.set_len(len)).expect("changed");
        assert!(matches!(adding.take_in(), Err(StoreError::Changed)), "{len}");
        fs::write(&path, &package.bytes).expect("written");
    }
    assert_eq!((lab.names("partial").len(), lab.names("store").len()), (0, 0));
    assert_eq!(store.totals().bytes, 0);
}

#[test]
fn a_file_needs_room_like_a_download() {
    let lab = Lab::new();
    let mut store = lab.open(at_most(300 * KIB));
    let (old, new) = (Package::new(1, 200 * KIB), Package::new(2, 200 * KIB));
    old.put(&mut store).expect("put");
    let (_directory, path) = brought(&new);
    store.pin(&old.identity);
    let error = add(&mut store, &path, None).expect_err("no room");
    assert!(matches!(error, StoreError::OverLimit { .. }), "{error}");
    store.unpin(&old.identity);
    let adding = store.begin_adding(open(&path), None, &[]).expect("begun");
    // What is on its way counts.
    let error = old.put(&mut store).expect_err("no room");
    assert!(matches!(error, StoreError::OverLimit { bytes: 204_800, .. }), "{error}");
    drop(adding);
    assert_eq!((store.totals().bytes, lab.names("partial").len()), (0, 0));
    add(&mut store, &path, None).expect("added");
    assert!(new.is_in(&mut store));
}

#[test]
fn files_that_are_being_added_are_promised_their_room() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(unlimited());
    let package = Package::new(1, 3 * MIB);
    let (_directory, path) = brought(&package);
    let adding = store.begin_adding(open(&path), None, &[]).expect("begun");
    let error = store.begin_adding(open(&path), None, &[]).expect_err("promised");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    let added = adding.take_in().expect("taken in");
    store.enter(added.identity, added.size, &[]).expect("entered");
    assert!(package.is_in(&mut store));
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_an_error() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let lab = Lab::on(&disk);
    let mut store = lab.open(unlimited());
    let (_directory, path) = brought(&Package::new(1, 3 * MIB));
    let adding = store.begin_adding(open(&path), None, &[]).expect("begun");
    fs::write(disk.path().join("hog"), vec![1; 2 << 20]).expect("written");
    let error = adding.take_in().expect_err("full").to_string();
    assert!(error.contains("No space left") && error.contains("partial"), "{error}");
    assert_eq!((lab.names("partial").len(), lab.names("store").len()), (0, 0));
}
