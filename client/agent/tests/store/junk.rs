//! Foreign and broken things in the store's directories.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use pkgtorrent_protocol::{Algorithm, PackageDigest};

use crate::support::{KIB, Lab, Package, is_root, unlimited};

#[test]
fn what_is_not_ours_is_left_alone() {
    let lab = Lab::new();
    drop(lab.open(unlimited()));
    let package = Package::new(1, 100 * KIB);
    let (name, upper) = (package.identity.to_string(), package.identity.to_string().to_uppercase());
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("file"), &package.bytes).expect("written");
    for directory in ["store", "partial", "alias"] {
        let place = lab.file(directory);
        fs::write(place.join("notes.txt"), "mine").expect("written");
        fs::write(place.join(&upper), &package.bytes).expect("written");
        fs::create_dir_all(place.join("a-directory/full")).expect("a directory");
        symlink(outside.path().join("file"), place.join(&name)).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, place.join("pipe"), rustix::fs::Mode::RWXU).expect("a pipe");
        symlink(outside.path(), place.join("new-link")).expect("a link");
    }
    fs::hard_link(outside.path().join("file"), lab.file("store").join("f".repeat(64))).expect("a link");
    let mut store = lab.open(unlimited());
    assert_eq!((store.totals().packages, store.totals().bytes), (0, 0));
    for directory in ["store", "partial", "alias"] {
        assert_eq!(lab.names(directory).len(), if directory == "store" { 7 } else { 6 });
    }
    // A link in a package's place gives way to the package, and what it leads to stays as it is.
    package.put(&mut store).expect("put");
    assert!(package.is_in(&mut store));
    let status = fs::symlink_metadata(lab.file("store").join(&name)).expect("metadata");
    assert!(status.is_file());
    assert_eq!(fs::read(outside.path().join("file")).expect("read"), package.bytes);
}

#[test]
fn a_file_of_another_user_is_no_package() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let package = Package::new(1, 100 * KIB);
    package.put(&mut lab.open(unlimited())).expect("put");
    let path = lab.file("store").join(package.identity.to_string());
    chown(&path, Some(1234), None).expect("chown");
    let mut store = lab.open(unlimited());
    assert_eq!(store.totals().packages, 0);
    assert!(path.exists());
    // The directory is the agent's, and so it may take the name.
    package.put(&mut store).expect("put");
    chown(&path, Some(1234), None).expect("chown");
    assert!(store.open_package(&package.identity).expect("no error").is_none());
}

#[test]
fn a_directory_in_a_packages_place_is_an_error_with_its_path() {
    let lab = Lab::new();
    let mut store = lab.open(unlimited());
    let package = Package::new(1, 100 * KIB);
    let partial = lab.file("partial").join(package.identity.to_string());
    fs::create_dir_all(partial.join("x")).expect("a directory");
    let error = package.put(&mut store).expect_err("in the way").to_string();
    assert!(error.contains(&partial.display().to_string()), "{error}");
    assert!(partial.join("x").exists());
}

#[test]
fn what_is_ours_and_broken_is_removed() {
    let lab = Lab::new();
    let package = Package::new(1, 100 * KIB);
    package.put(&mut lab.open(unlimited())).expect("put");
    let name = package.identity.to_string();
    let alias = |n: u8| PackageDigest::new(Algorithm::Sha512, &[n; 64]).expect("a digest");
    let alias_file = |n: u8| lab.file("alias").join(alias(n).to_string().replace(':', "-"));
    fs::write(lab.file("store").join("e".repeat(64)), "").expect("an empty package");
    fs::write(lab.file("partial").join("e".repeat(64)), "").expect("an empty partial");
    fs::write(lab.file("partial").join(&name), "half of a package that is there").expect("written");
    for directory in ["store", "partial", "alias"] {
        fs::write(lab.file(directory).join("new-1-2"), "unfinished").expect("written");
    }
    fs::write(alias_file(1), format!("{name}\n")).expect("good");
    fs::write(alias_file(2), format!("{}\n", "d".repeat(64))).expect("dangling");
    fs::write(alias_file(3), "").expect("empty");
    fs::write(alias_file(4), &name[..40]).expect("cut");
    fs::write(alias_file(5), format!("{name}\n").repeat(1000)).expect("long");
    let store = lab.open(unlimited());
    assert_eq!(lab.names("store"), [name]);
    assert_eq!(lab.names("partial"), [""; 0]);
    assert_eq!(lab.names("alias").len(), 1);
    assert_eq!(store.find(&alias(1)), Some(package.identity));
}

#[test]
fn a_file_in_the_place_of_a_directory_is_refused() {
    for name in ["store", "partial", "alias"] {
        let lab = Lab::new();
        drop(pkgtorrent_agent::files::StateDir::open(&lab.path, None).expect("made"));
        fs::write(lab.file(name), "").expect("written");
        let error = lab.try_open(unlimited()).expect_err("refused").to_string();
        assert!(error.contains(name) && error.contains("Not a directory"), "{error}");
    }
}
