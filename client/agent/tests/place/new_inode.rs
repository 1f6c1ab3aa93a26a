//! The inode that the package manager reads: its mode, owner and attributes.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::XattrFlags;

use crate::support::{Disk, MIB, Package, is_root, run};

/// What librepo 1.14 and 1.20 look for to believe a file's checksum without reading it.
const PLANTED: [&str; 3] =
    ["user.Librepo.checksum.sha256", "user.librepo.checksum.sha256", "user.Zif.MdChecksum[123]"];

fn attributes(path: &Path) -> Vec<String> {
    let mut space = vec![0; 4096];
    let length = rustix::fs::listxattr(path, &mut space).expect("listed");
    let names = String::from_utf8_lossy(&space[..length]).into_owned();
    names.split_terminator('\0').filter(|name| name.starts_with("user.")).map(Into::into).collect()
}

fn assert_not_carried_over(directory: &Path, shares_blocks: bool) {
    let package = Package::new(21, MIB);
    let source = package.write_to(directory);
    let dest = directory.join("a.rpm");
    std::fs::write(&dest, "stale").expect("written");
    for path in [&source, &dest] {
        for name in PLANTED {
            rustix::fs::setxattr(path, name, b"forged", XattrFlags::empty()).expect("planted");
        }
        assert_eq!(attributes(path).len(), PLANTED.len());
    }
    assert_eq!(package.place(&source, &dest).expect("placed").shares_blocks, shares_blocks);
    assert_eq!(attributes(&dest), [""; 0]);
    package.assert_at(&dest);
}

#[test]
fn planted_attributes_are_not_carried_over_by_a_copy() {
    assert_not_carried_over(tempfile::tempdir().unwrap().path(), false);
}

#[test]
fn planted_attributes_are_not_carried_over_where_blocks_are_shared() {
    let Some(disk) = Disk::xfs() else { return };
    assert_not_carried_over(disk.path(), true);
}

#[test]
fn the_sources_mode_and_owner_do_not_matter() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(22, MIB);
    let source = package.write_to(directory.path());
    std::fs::set_permissions(&source, Permissions::from_mode(0o4777)).unwrap();
    std::os::unix::fs::chown(&source, Some(65534), Some(65534)).unwrap();
    let dest = directory.path().join("a.rpm");
    package.place(&source, &dest).unwrap();
    let status = dest.metadata().unwrap();
    assert_eq!((status.uid(), status.gid(), status.mode() & 0o7777), (0, 0, 0o644));
}

#[test]
fn the_directory_says_which_group_a_file_has() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), None, Some(4242)).unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o2755)).unwrap();
    let package = Package::new(23, MIB);
    let store = tempfile::tempdir().unwrap();
    let source = package.write_to(store.path());
    let dest = directory.path().join("new/a.rpm");
    package.place(&source, &dest).unwrap();
    assert_eq!(dest.metadata().unwrap().gid(), 4242);
}

/// The umask belongs to the whole process, so this is tested in another.
#[test]
fn the_umask_says_who_may_read() {
    for (umask, file, parent) in [("077", 0o600, 0o700), ("000", 0o644, 0o755), ("027", 0o640, 0o750)] {
        let directory = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        run(Command::new("sh")
            .args(["-c", "umask $0 && exec \"$@\"", umask])
            .arg(test)
            .args(["--exact", "new_inode::places_with_its_callers_umask", "--ignored"])
            .env("PLACE_INTO", directory.path()));
        let dest = directory.path().join("new/a.rpm");
        assert_eq!(dest.metadata().unwrap().mode() & 0o7777, file, "{umask}");
        assert_eq!(dest.parent().unwrap().metadata().unwrap().mode() & 0o7777, parent, "{umask}");
    }
}

#[test]
#[ignore = "a part of other tests"]
fn places_with_its_callers_umask() {
    let directory = PathBuf::from(std::env::var_os("PLACE_INTO").expect("set by the caller"));
    let package = Package::new(24, MIB);
    let source = package.write_to(&directory);
    package.place(&source, &directory.join("new/a.rpm")).unwrap();
}

/// A chroot may have no `/proc`, by which an unnamed file gets its name. Root has another way; others may not.
#[test]
fn a_package_is_placed_where_there_is_no_proc() {
    if !is_root() {
        return;
    }
    for user in [0, 65534] {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
        let test = std::env::current_exe().unwrap();
        // The program lies where only root may look.
        let program = directory.path().join("test");
        std::fs::copy(test, &program).unwrap();
        run(Command::new("unshare")
            .args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"])
            .args(["setpriv", "--clear-groups", &format!("--reuid={user}"), &format!("--regid={user}")])
            .arg(&program)
            .args(["--exact", "new_inode::places_with_its_callers_umask", "--ignored"])
            .env("PLACE_INTO", directory.path()));
        let dest = directory.path().join("new/a.rpm");
        assert_eq!(dest.metadata().unwrap().uid(), user);
        assert_eq!(crate::support::names(dest.parent().unwrap()), ["a.rpm"]);
    }
}
