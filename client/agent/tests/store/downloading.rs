//! A download: nothing half-written is ever taken for whole, and nothing right is fetched twice.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use pkgtorrent_agent::store::StoreError;
use pkgtorrent_protocol::PieceLen;

use crate::support::{KIB, Lab, PIECE, Package, unlimited};

/// Seven pieces, the last one short.
fn package() -> Package {
    Package::new(1, 200 * KIB + 5)
}

#[test]
fn what_a_killed_agent_left_is_believed_piece_by_piece() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert!(partial.is_new());
    package.write(&partial, [0, 2, 3, 6]);
    // Killed: nothing was abandoned. And one piece was half-written.
    let path = lab.file("partial").join(package.identity.to_string());
    let file = fs::File::options().write(true).open(&path).expect("opened");
    file.write_all_at(&[0; 100], 2 * u64::from(PIECE.bytes()) + 1000).expect("written");
    drop((store, partial));
    let mut store = lab.open(unlimited());
    assert_eq!(store.find(&package.identity.into()), None);
    assert_eq!(store.totals().bytes, package.size());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert!(!partial.is_new());
    let hashes = package.block_hashes();
    assert_eq!(partial.verified_pieces(PIECE, &hashes).expect("verified"), [0, 3, 6]);
    package.write(&partial, [1, 2, 4, 5]);
    assert_eq!(partial.verified_pieces(PIECE, &hashes).expect("verified"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(partial.read_piece(PIECE, 6).expect("read"), package.bytes[6 * 32_768..]);
    assert_eq!(partial.digests(&[]).expect("digests").identity, package.identity);
    partial.finish().expect("finished");
    store.enter(package.identity, package.size(), &[]).expect("entered");
    assert!(package.is_in(&mut store));
    assert_eq!(lab.names("partial"), [""; 0]);
}

#[test]
fn a_piece_of_zeros_that_was_never_written_is_not_there() {
    let lab = Lab::new();
    let mut package = package();
    package.bytes[32_768..3 * 32_768].fill(0);
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, [0, 1, 4]);
    assert_eq!(partial.verified_pieces(PIECE, &package.block_hashes()).expect("verified"), [0, 1, 4]);
}

#[test]
fn a_partial_of_another_size_is_begun_anew() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, package.pieces());
    drop((store, partial));
    let path = lab.file("partial").join(package.identity.to_string());
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(100_000)).expect("cut");
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert!(partial.is_new());
    assert_eq!(partial.verified_pieces(PIECE, &package.block_hashes()).expect("verified"), [0_u32; 0]);
    assert_eq!(fs::metadata(&path).expect("metadata").len(), package.size());
}

#[test]
fn two_wishes_for_one_package_share_its_download() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let one = store.begin(package.identity, package.size(), &[]).expect("begun");
    let two = store.begin(package.identity, package.size(), &[]).expect("joined");
    package.write(&one, 0..4);
    package.write(&two, 4..7);
    assert_eq!(one.digests(&[]).expect("digests").identity, package.identity);
    assert_eq!(store.totals().bytes, package.size());
    let error = store.begin(package.identity, 5, &[]).expect_err("another size");
    assert!(matches!(error, StoreError::OtherSize { size, .. } if size == package.size()), "{error}");
    let empty = store.begin(Package::new(2, 1).identity, 0, &[]);
    assert!(matches!(empty, Err(StoreError::Empty)));
}

#[test]
fn only_what_matched_as_a_whole_gets_into_the_store() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, package.pieces());
    partial.finish().expect_err("nobody looked");
    let wrong = vec![9; PIECE.bytes() as usize];
    partial.write_piece(PIECE, 3, &wrong).expect("written");
    assert_ne!(partial.digests(&[]).expect("digests").identity, package.identity);
    partial.finish().expect_err("another digest");
    store.enter(package.identity, package.size(), &[]).expect_err("not in the store's directory");
    package.write(&partial, [3]);
    assert_eq!(partial.digests(&[]).expect("digests").identity, package.identity);
    package.write(&partial, [3]);
    partial.finish().expect_err("written to since");
    assert_eq!(partial.digests(&[]).expect("digests").identity, package.identity);
    assert_eq!(lab.names("store"), [""; 0]);
    partial.finish().expect("finished");
    partial.write_piece(PIECE, 3, &wrong).expect_err("it is in the store");
    partial.finish().expect_err("finished already");
    store.enter(package.identity, package.size() - 1, &[]).expect_err("another size");
    store.enter(package.identity, package.size(), &[]).expect("entered");
    assert!(package.is_in(&mut store));
}

#[test]
fn pieces_stay_within_their_package() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    for (piece, len) in [(0, 32_767), (0, 32_769), (6, 32_768), (6, 4), (7, 1), (u32::MAX, 32_768)] {
        partial.write_piece(PIECE, piece, &vec![1; len]).expect_err("not a piece of it");
    }
    partial.read_piece(PIECE, 7).expect_err("behind its end");
    let hashes = package.block_hashes();
    let error = partial.verified_pieces(PieceLen::Medium, &hashes).expect_err("too many hashes").to_string();
    assert!(error.contains(&package.identity.to_string()), "the path is named: {error}");
    assert_eq!(partial.verified_pieces(PIECE, &hashes).expect("verified"), [0_u32; 0]);
}

#[test]
fn what_nobody_wants_is_kept_or_removed_and_late_writers_do_no_harm() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let late = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&late, package.pieces());
    assert_eq!(late.digests(&[]).expect("digests").identity, package.identity);
    store.abandon(&package.identity, false);
    assert_eq!(lab.names("partial"), [""; 0]);
    let again = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert!(again.is_new());
    // The name is the new download's now, of which nothing is there.
    late.finish().expect_err("given up");
    late.write_piece(PIECE, 0, &package.bytes[..32_768]).expect_err("given up");
    assert_eq!(lab.names("store"), [""; 0]);
    store.abandon(&package.identity, true);
    assert_eq!(lab.names("partial"), [""; 0], "there was nothing in it");
    let third = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&third, [2]);
    store.abandon(&package.identity, true);
    let resumed = store.begin(package.identity, package.size(), &[]).expect("begun");
    assert_eq!(resumed.verified_pieces(PIECE, &package.block_hashes()).expect("verified"), [2]);
    // Abandoned between its renaming and its entering.
    package.write(&resumed, package.pieces());
    assert_eq!(resumed.digests(&[]).expect("digests").identity, package.identity);
    resumed.finish().expect("finished");
    store.abandon(&package.identity, false);
    assert!(package.is_in(&mut store));
    assert_eq!(store.totals().bytes, package.size());
}

#[test]
fn half_a_package_is_kept_for_a_day() {
    let (lab, package) = (Lab::new(), package());
    let mut store = lab.open(unlimited());
    let partial = store.begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, [0]);
    drop((partial, store));
    let path = lab.file("partial").join(package.identity.to_string());
    let age = |hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(then)).expect("aged");
        drop(lab.open(unlimited()));
    };
    age(23);
    assert!(path.exists());
    age(25);
    assert!(!path.exists());
    // An agent that runs for longer than that sees it, too.
    let partial = lab.open(unlimited()).begin(package.identity, package.size(), &[]).expect("begun");
    package.write(&partial, [0]);
    let almost = SystemTime::now() - (Duration::from_secs(24 * 3600) - Duration::from_millis(500));
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(almost)).expect("aged");
    let mut store = lab.open(unlimited());
    store.tidy(&[]);
    assert!(path.exists());
    std::thread::sleep(Duration::from_millis(600));
    store.tidy(&[]);
    assert!(!path.exists());
}
