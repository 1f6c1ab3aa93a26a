//! Hosts with different sets meet wherever their packages overlap, and a plan points at the right files of bundles
//! whose pieces are the repository's bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pkgtorrent_protocol::announce::{Event, GetAnnounce};
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::{InfoHash, PackageSet, PeerId, PieceLen, Sha256Digest};
use pkgtorrent_system_tests::{Lab, SEEN_WITHIN, digests, wait_until_unknown};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Package, Repository, Service, ask};
use sha1::{Digest, Sha1};

/// In which bundle each package of a set is to be found, after a check of everything that the plan says.
fn homes(service: SocketAddr, plan: &Plan, packages: &[Package]) -> BTreeMap<Sha256Digest, InfoHash> {
    let set = PackageSet::new(digests(packages)).expect("a set");
    assert_eq!(plan.set, set.digest());
    assert_eq!(plan.unknown, []);
    let mut homes = BTreeMap::new();
    for bundle in &plan.bundles {
        let bytes = ask::bundle_info(service, bundle.info_hash);
        assert_eq!(InfoHash::of(&bytes), bundle.info_hash);
        assert_eq!(bytes.len(), bundle.info_len as usize);
        let info = BundleInfo::parse(&bytes).expect("an info dictionary");
        assert_eq!(info.layout().piece_len().bytes(), bundle.piece_len);
        for &(index, file) in &bundle.files {
            let digest = set.packages()[index as usize];
            let package =
                packages.iter().find(|package| digest == package.identity.into()).expect("a package");
            let at = info.layout().extents().iter().position(|extent| extent.file == file).expect("a file");
            let (member, extent) = (&info.packages()[at], info.layout().extents()[at]);
            assert_eq!(member.identity, package.identity);
            assert_eq!(member.name.as_str(), package.file_name());
            assert_eq!((member.size, extent.size), (package.size, package.size));
            assert_eq!(info.layout().piece_len(), PieceLen::for_package(package.size));
            let from = extent.first_piece as usize * BLOCK_HASH_LEN;
            let hashes = &info.block_hashes()[from..from + extent.pieces as usize * BLOCK_HASH_LEN];
            assert!(hashes == piece_hashes(package.bytes(), bundle.piece_len as usize), "other pieces");
            assert_eq!(homes.insert(package.identity, bundle.info_hash), None, "a package is in two bundles");
        }
    }
    assert_eq!(homes.len(), packages.len(), "every package has a home");
    homes
}

/// The SHA-1 of every piece, the last one padded with zeros.
fn piece_hashes(bytes: &[u8], piece_len: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(piece_len), 0);
    padded.chunks(piece_len).flat_map(|piece| Sha1::digest(piece).to_vec()).collect()
}

fn repository(lab: &Lab, sizes: impl IntoIterator<Item = usize>) -> Vec<Package> {
    let repository = Repository::create(lab.path("repository"));
    let add = |(n, size)| repository.add_blob(&format!("package-{n}.rpm"), size, n as u64);
    let packages: Vec<Package> = sizes.into_iter().enumerate().map(add).collect();
    repository.list(&packages);
    packages
}

fn planned(service: &Service, packages: &[Package]) -> BTreeMap<Sha256Digest, InfoHash> {
    homes(service.addr(), &ask::post_set(service.addr(), &digests(packages)), packages)
}

#[test]
fn overlapping_sets_meet() {
    let lab = Lab::new();
    let packages = repository(&lab, (0..12).map(|n| 10_000 + 7_000 * n));
    let service = lab.start();
    let one = planned(&service, &packages[..8]);
    let other = planned(&service, &packages[4..]);
    for package in &packages[4..8] {
        assert_eq!(one[&package.identity], other[&package.identity]);
    }
    let shared = one[&packages[4].identity];
    assert_ne!(other[&packages[11].identity], shared, "a bundle never changes, so others are in another");

    // Two hosts of these sets are introduced to each other with their plans.
    let peer = |n: u8| PeerId([n; 20]);
    let _ = ask::post_set_as(service.addr(), &digests(&packages[..8]), 4001, peer(1));
    let plan = ask::post_set_as(service.addr(), &digests(&packages[4..]), 4002, peer(2));
    let met = plan.bundles.iter().find(|bundle| bundle.info_hash == shared).expect("the shared bundle");
    assert_eq!(met.peers, ["127.0.0.1:4001".parse().expect("an address")]);
    let alone = plan.bundles.iter().find(|bundle| bundle.info_hash != shared).expect("the other bundle");
    assert_eq!(alone.peers, []);
}

#[test]
fn the_same_packages_give_the_same_bundle_in_any_order_and_anywhere() {
    let mut seen = Vec::new();
    for rotate in 0..3 {
        let lab = Lab::new();
        let packages = repository(&lab, (0..6).map(|n| 20_000 + n));
        let service = lab.start();
        let mut set = digests(&packages);
        set.rotate_left(2 * rotate);
        set.push(set[0]);
        let plan = ask::post_set(service.addr(), &set);
        seen.push(homes(service.addr(), &plan, &packages));
        set.reverse();
        assert_eq!(ask::post_set(service.addr(), &set), plan);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[test]
fn packages_of_every_class_have_bundles_of_their_own() {
    let small = PieceLen::Small.bytes() as usize;
    let lab = Lab::new();
    // Around piece boundaries, and in every class.
    let sizes = [1, small - 1, small, small + 1, 3 * small, 1 << 20, (3 << 20) + 1, 64 << 20];
    let packages = repository(&lab, sizes);
    let classes: std::collections::BTreeSet<u32> =
        packages.iter().map(|package| PieceLen::for_package(package.size).bytes()).collect();
    assert_eq!(classes.len(), PieceLen::ALL.len(), "every class is there");
    let service = lab.start();
    let plan = ask::post_set(service.addr(), &digests(&packages));
    assert_eq!(plan.bundles.len(), classes.len());
    let _ = homes(service.addr(), &plan, &packages);
}

#[test]
fn who_touches_too_many_homes_gets_a_larger_one() {
    let lab = Lab::new();
    let packages = repository(&lab, (0..40).map(|n| 10_000 + 3_000 * n));
    let mut service = lab.start();
    for pair in packages.chunks(2) {
        planned(&service, pair);
    }
    // One of each pair: the others move along with it.
    let wanted: Vec<Package> = packages.iter().step_by(2).cloned().collect();
    let merged = planned(&service, &wanted);
    let home = merged[&wanted[0].identity];
    assert!(merged.values().all(|other| *other == home), "{merged:?}");
    let everybody = planned(&service, &packages);
    assert!(everybody.values().all(|other| *other == home), "a home was parted: {everybody:?}");

    service.kill9();
    service.restart();
    assert_eq!(planned(&service, &packages), everybody, "a restart parts nobody");
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), 0.0);
}

#[test]
fn what_is_gone_from_the_repository_is_had_from_peers_until_they_stop() {
    let lab = Lab::new();
    let packages = repository(&lab, (0..3).map(|n| 50_000 + n));
    let service = lab.start();
    let peer = |n: u8| PeerId([n; 20]);
    let before = ask::post_set_as(service.addr(), &digests(&packages), 4001, peer(1));
    let announce = |left, event| {
        let announce = GetAnnounce {
            info_hash: before.bundles[0].info_hash,
            peer_id: peer(1),
            port: 4001,
            left,
            event,
            wanted: None,
        };
        ask::announce(service.addr(), &announce);
    };
    let gone = &packages[0];
    Repository::create(lab.path("repository")).remove(gone);
    wait_until_unknown(service.addr(), gone);

    announce(0, None);
    let plan = wait_for("a plan for what only a peer has", SEEN_WITHIN, || {
        let plan = ask::post_set_as(service.addr(), &digests(&packages), 4002, peer(2));
        plan.unknown.is_empty().then_some(plan)
    });
    assert_eq!(homes(service.addr(), &plan, &packages), homes(service.addr(), &before, &packages));
    assert_eq!(plan.bundles[0].peers, ["127.0.0.1:4001".parse().expect("an address")]);

    announce(0, Some(Event::Stopped));
    wait_until_unknown(service.addr(), gone);
}
