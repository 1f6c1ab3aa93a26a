//! What stands at a destination already.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use pkgtorrent_agent::place::{PlaceError, already_there};

use crate::support::{MIB, Package, is_root, names, run};

struct Lab {
    directory: tempfile::TempDir,
    cache: std::path::PathBuf,
    package: Package,
    source: std::path::PathBuf,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = directory.path().join("cache");
        std::fs::create_dir(&cache).expect("a cache");
        let package = Package::new(11, MIB);
        let source = package.write_to(directory.path());
        Self { directory, cache, package, source }
    }

    fn dest(&self) -> std::path::PathBuf {
        self.cache.join("a.rpm")
    }

    fn place(&self) {
        assert!(!already_there(&self.dest(), &self.package.digest, self.package.size()));
        self.package.place(&self.source, &self.dest()).expect("placed");
        self.package.assert_at(&self.dest());
        assert_eq!(names(&self.cache), ["a.rpm"]);
        assert_eq!(self.dest().symlink_metadata().expect("there").nlink(), 1);
    }
}

#[test]
fn a_stale_file_is_replaced_whatever_its_size() {
    for stale in [0, 1000, MIB, 2 * MIB] {
        let lab = Lab::new();
        std::fs::write(lab.dest(), vec![7; stale as usize]).unwrap();
        lab.place();
    }
}

#[test]
fn a_stale_hard_links_other_name_keeps_its_content() {
    let lab = Lab::new();
    let kept = lab.directory.path().join("kept");
    std::fs::write(&kept, "somebody keeps this").unwrap();
    std::fs::hard_link(&kept, lab.dest()).unwrap();
    lab.place();
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "somebody keeps this");
    assert_eq!(kept.metadata().unwrap().nlink(), 1);
}

#[test]
fn a_hard_link_to_the_very_source_becomes_a_file_of_its_own() {
    let lab = Lab::new();
    std::fs::hard_link(&lab.source, lab.dest()).unwrap();
    lab.place();
    assert_ne!(lab.dest().metadata().unwrap().ino(), lab.source.metadata().unwrap().ino());
}

#[test]
fn a_symbolic_link_is_replaced_and_never_followed() {
    let lab = Lab::new();
    let target = lab.directory.path().join("target");
    std::fs::write(&target, "target").unwrap();
    symlink(&target, lab.dest()).unwrap();
    lab.place();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "target");
    let lab = Lab::new();
    symlink("/nowhere/at/all", lab.dest()).unwrap();
    lab.place();
    let lab = Lab::new();
    // Right content, but where the link leads can be changed.
    symlink(&lab.source, lab.dest()).unwrap();
    lab.place();
}

#[test]
fn what_is_no_file_stays_and_is_an_error() {
    let lab = Lab::new();
    std::fs::create_dir(lab.dest()).unwrap();
    let refused = lab.package.place(&lab.source, &lab.dest());
    assert!(matches!(refused, Err(PlaceError::NotAFile(_))), "{refused:?}");
    assert!(lab.dest().is_dir());
    let lab = Lab::new();
    run(Command::new("mkfifo").arg(lab.dest()));
    assert!(!already_there(&lab.dest(), &lab.package.digest, lab.package.size()), "does not block");
    let refused = lab.package.place(&lab.source, &lab.dest());
    assert!(matches!(refused, Err(PlaceError::NotAFile(_))), "{refused:?}");
    assert!(lab.dest().metadata().unwrap().file_type().is_fifo());
}

#[test]
fn a_parent_that_is_a_file_is_the_destinations_fault() {
    let lab = Lab::new();
    let dest = lab.source.join("a.rpm");
    let error = lab.package.place(&lab.source, &dest).expect_err("no directory");
    assert!(matches!(error, PlaceError::Destination { .. }), "{error}");
    let error = lab.package.place(&lab.source, Path::new("/")).expect_err("no name");
    assert!(!error.is_the_sources(), "{error}");
}

#[test]
fn another_users_right_file_is_replaced() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    std::fs::copy(&lab.source, lab.dest()).unwrap();
    std::os::unix::fs::chown(lab.dest(), Some(65534), Some(65534)).unwrap();
    lab.place();
    assert_eq!(lab.dest().metadata().unwrap().uid(), 0);
}

#[test]
fn a_destination_that_others_keep_writing_is_right_or_an_error() {
    let lab = Lab::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = File::create_new(lab.dest());
            }
        });
        for _ in 0..200 {
            let placed = lab.package.place(&lab.source, &lab.dest());
            assert!(matches!(placed, Ok(_) | Err(PlaceError::Destination { .. })), "{placed:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&lab.cache), ["a.rpm"]);
}

#[test]
fn two_who_place_the_same_package_at_once_both_succeed() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    lab.package.place(&lab.source, &lab.dest()).unwrap();
                }
            });
        }
    });
    lab.package.assert_at(&lab.dest());
    assert_eq!(names(&lab.cache), ["a.rpm"]);
}
