//! What is here is shared wherever it has its home, without being fetched or read again.

use std::os::unix::fs::FileExt;

use pkgtorrent_protocol::wire::Block;
use pkgtorrent_swarm::{BundleId, FileIndex};

use super::*;
use crate::engine::following::FOLLOWED_GRACE;
use crate::engine::giving::ReadBlock;

impl Host {
    /// The only bundle with so many packages.
    fn bundle_of(&self, packages: usize) -> BundleId {
        let is_it =
            |bundle: &&Bundle| bundle.info.as_ref().is_some_and(|info| info.packages().len() == packages);
        let found = self.engine.bundles.values().find(is_it).expect("such a bundle");
        self.engine.bundle_ids[&found.info_hash]
    }

    fn served(&self, bundle: BundleId) -> Vec<u32> {
        self.engine.swarm.served(bundle).map(|served| served.iter().collect()).unwrap_or_default()
    }

    fn downloaded_in(&self, package: &Package) -> BundleId {
        self.engine.downloads[&package.identity].bundle()
    }

    /// A web seed brings these pieces of a package, which begins with this piece of the bundle that was asked for.
    fn brings(&mut self, package: &Package, at: (BundleId, u32), pieces: &[u32]) {
        let partial = self.engine.downloads[&package.identity].partial().clone();
        for piece in pieces {
            let bytes = &package.pieces()[*piece as usize];
            partial.write_piece(PieceLen::Small, *piece, bytes).unwrap();
        }
        let pieces = pieces.iter().map(|piece| (at.1 + piece, true)).collect();
        self.tell(Task::Arrived { request: RequestId(0), partial, at, pieces });
    }
}

#[tokio::test]
async fn what_is_in_the_store_is_shared_in_the_bundles_of_a_plan_that_brings_nothing_of_them() {
    let (stored, wanted) = (Package::new(1), Package::new(2));
    let mut host = Host::new();
    host.add(&stored, stored.sha512()).await;
    let digests = [stored.identity.into(), wanted.identity.into()];
    host.fetch(ALICE, &digests);
    let other = Package::new(3);
    host.answer(&digests, &[&[&stored], &[&wanted, &other]]);
    assert_eq!(host.served(host.bundle_of(1)), [0, 1]);
    assert_eq!(host.engine.bundles.len(), 2);
}

#[tokio::test]
async fn what_was_damaged_in_the_store_is_not_given() {
    let stored = Package::new(1);
    for is_damaged in [false, true] {
        let mut host = Host::new();
        host.add(&stored, stored.sha512()).await;
        if is_damaged {
            host.stored(&stored).write_all_at(b"damage", 33_000).unwrap();
        }
        let wanted = Package::new(2);
        let digests = [stored.identity.into(), wanted.identity.into()];
        host.fetch(ALICE, &digests);
        host.answer(&digests, &[&[&stored], &[&wanted, &Package::new(3)]]);
        let bundle = host.bundle_of(1);
        let blocks = [(0, 16_384), (1, 0)].map(|(piece, begin)| Block { piece, begin, len: 7_000 });
        for block in blocks {
            let (_, _, readable) = host.engine.readable(bundle, block).expect("it is offered");
            let piece = host.engine.unchecked(bundle, block.piece).expect("it was not checked yet");
            let result = piece.read(&readable, block);
            let right = result.as_ref().is_ok_and(|given| {
                let start = block.piece as usize * 32_768 + block.begin as usize;
                given[..] == stored.bytes[start..start + 7_000]
            });
            assert_eq!(right, !is_damaged || block.piece == 0);
            let (link, file) = (pkgtorrent_swarm::LinkId(1), FileIndex(0));
            host.engine.block_read(ReadBlock { link, bundle, file, block, is_checked: true, result });
        }
        assert_eq!(host.engine.store.totals().packages, u64::from(!is_damaged));
        assert_eq!(host.served(bundle).is_empty(), is_damaged);
        assert!(is_damaged || host.engine.unchecked(bundle, 0).is_none(), "it was found right");
    }
}

#[tokio::test]
async fn a_download_goes_on_in_the_new_home_of_its_package() {
    let (package, neighbour) = (Package::new(1), Package::new(2));
    let places = [([&neighbour, &package], 2), ([&package, &neighbour], 0)];
    for (packages, first_piece) in places {
        let mut host = Host::new();
        let digest = package.identity.into();
        host.fetch(ALICE, &[digest]);
        host.answer(&[digest], &[&[&package]]);
        let old = host.bundle_of(1);
        host.brings(&package, (old, 0), &[0]);
        assert_eq!(host.served(old), [0]);

        host.engine.heard_of_moves(old, 0);
        assert!(host.engine.plans.is_empty(), "nothing has moved");
        host.engine.heard_of_moves(old, 1);
        host.engine.heard_of_moves(old, 1);
        assert_eq!(host.engine.plans.len(), 1, "it is asked once");
        host.answer(&[digest], &[&packages]);
        let new = host.bundle_of(2);
        assert_eq!((host.downloaded_in(&package), host.served(new)), (new, vec![first_piece]));
        assert!(!host.engine.bundles.contains_key(&old), "there is nothing left to do in the old one");
        // What the old bundle was asked for and comes only now.
        host.brings(&package, (old, 0), &[1]);
        host.until(|task| matches!(task, Task::Sealed { .. })).await;
        assert_eq!(host.served(new), [first_piece, first_piece + 1]);
        assert_eq!(host.engine.ledger.origin, 40_000);
        assert!(host.said(ALICE).iter().any(|answer| matches!(answer, Answer::Whole { .. })));
    }
}

#[tokio::test]
async fn an_old_home_is_left_once_those_in_it_have_had_time_to_follow() {
    let (stored, wanted) = (Package::new(1), Package::new(2));
    for is_found in [true, false] {
        let mut host = Host::new();
        host.add(&stored, stored.sha512()).await;
        let digests = [stored.identity.into(), wanted.identity.into()];
        host.fetch(ALICE, &digests);
        host.answer(&digests, &[&[&stored], &[&wanted, &Package::new(3)]]);
        let old = host.bundle_of(1);
        host.engine.heard_of_moves(old, 1);
        let new: &[&[&Package]] = if is_found { &[&[&stored, &Package::new(4), &wanted]] } else { &[] };
        host.answer(&[stored.identity.into()], new);
        host.engine.heard_of_moves(old, 1);
        assert!(host.engine.bundles.contains_key(&old), "at first it is shared in both");
        let followed = host.engine.bundles.get_mut(&old).and_then(|bundle| bundle.followed.as_mut()).unwrap();
        followed.at -= FOLLOWED_GRACE;
        host.engine.heard_of_moves(old, 1);
        assert_eq!(host.engine.bundles.contains_key(&old), !is_found, "unless it is shared nowhere else");
    }
}

#[tokio::test]
async fn a_home_that_is_not_found_is_looked_for_again() {
    let package = Package::new(1);
    let mut host = Host::new();
    let digest = package.identity.into();
    host.fetch(ALICE, &[digest]);
    host.answer(&[digest], &[&[&package]]);
    let bundle = host.bundle_of(1);
    host.engine.heard_of_moves(bundle, 1);
    let plan = PlanId(host.engine.next_plan - 1);
    let result = Err(PlanError::NotAPlan { url: SERVICE.into(), reason: "it is none".into() });
    host.tell(Task::Planned { plan, result, took: Duration::ZERO });
    assert!(host.engine.plans.is_empty() && host.failed(ALICE) == 0, "that is nobody's trouble");
    host.engine.heard_of_moves(bundle, 1);
    assert_eq!(host.engine.plans.len(), 1);
}
