//! What is left when the placing process is killed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{MIB, Package, names};

const SIZE: u64 = 8 * MIB;

#[test]
fn a_destination_is_whole_or_absent_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let package = Package::new(31, SIZE);
    package.write_to(directory.path());
    let cache = directory.path().join("cache");
    let mut seen = [0, 0];
    for round in 0..15 {
        let mut placing = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::places_again_and_again", "--ignored"])
            .env("PLACE_INTO", directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !cache.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 50));
        placing.kill().unwrap();
        placing.wait().unwrap();
        let left = names(&cache);
        match left.as_slice() {
            [] => seen[0] += 1,
            [name] if name == "a.rpm" => {
                seen[1] += 1;
                package.assert_at(&cache.join("a.rpm"));
            }
            other => panic!("{other:?}"),
        }
        std::fs::remove_dir_all(&cache).unwrap();
    }
    assert!(seen[0] > 0, "it was never killed amid its work: {seen:?}");
}

#[test]
#[ignore = "a part of a_destination_is_whole_or_absent_and_nothing_else_is_left"]
fn places_again_and_again() {
    let directory = PathBuf::from(std::env::var_os("PLACE_INTO").expect("set by the caller"));
    let package = Package::new(31, SIZE);
    loop {
        package.place(&directory.join("package"), &directory.join("cache/a.rpm")).expect("placed");
    }
}
