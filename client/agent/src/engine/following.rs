//! Packages that are here already, in the bundle that is their home now.
//!
//! A package's piece hashes are the same in every bundle, and it lies in the store once. So it is shared wherever it has
//! its home: in the bundles of a plan of which nothing is missing, and, when homes were merged, in the new one. The
//! tracker says that packages of a bundle have moved, and a plan of those that this host has says where to.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::plan::AskerQuery;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex};

use super::Engine;
use super::downloads::package_hashes;
use super::event::PlanId;
use super::plans::PlanAsked;
use crate::origin::{CheckedBundle, CheckedPlan};
use crate::store::Partial;

/// So many homes are looked for at once, so that this never stands in the way of what somebody waits for. The others are
/// asked for after the next announce.
const FOLLOWING_MAX: usize = 16;

/// How long what was followed is shared in the old home too: by then everybody else there has announced and heard of it.
pub(super) const FOLLOWED_GRACE: Duration = Duration::from_secs(90);

/// When packages of a bundle were followed to another home, and how many had moved by then, says the tracker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) moved: u32,
    pub(super) at: Instant,
}

impl Engine {
    /// The tracker says that so many packages of a bundle have another home.
    pub(super) fn heard_of_moves(&mut self, id: BundleId, moved: u32) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        if bundle.followed.map_or(0, |followed| followed.moved) == moved {
            return self.leave_if_followed(id);
        }
        let Some(info) = &bundle.info else { return };
        let is_here = |identity: &Sha256Digest| {
            self.store.size(identity).is_some()
                || self.downloads.get(identity).is_some_and(|download| download.bundle() == id)
        };
        let packages = info.packages().iter().map(|package| package.identity);
        let here: Vec<PackageDigest> = packages.filter(is_here).map(PackageDigest::from).collect();
        let following = self.plans.values().filter(|plan| plan.following.is_some()).count();
        if here.is_empty() || following >= FOLLOWING_MAX {
            return;
        }
        let service = bundle.service.clone();
        let Ok((url, set)) = self.question(&service, here) else { return };
        let plan = PlanId(self.next_plan);
        self.next_plan += 1;
        let asked = PlanAsked { service, set: set.clone(), since: Instant::now(), following: Some(id) };
        self.plans.insert(plan, asked);
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.followed = Some(Followed { moved, at: Instant::now() });
        }
        // The tracker learns with the first announce that this host has come, and what it has.
        let asker = AskerQuery { group: self.group.clone(), ..AskerQuery::default() };
        self.spawn_question(plan, url, set, asker);
    }

    /// The service did not say where a bundle's packages are: it is asked again after the next announce.
    pub(super) fn not_followed(&mut self, id: BundleId) {
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.followed = None;
        }
    }

    /// Leaves a bundle whose packages have all been followed, after a while.
    fn leave_if_followed(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        let is_over = bundle.followed.is_some_and(|followed| followed.at.elapsed() >= FOLLOWED_GRACE);
        if is_over && bundle.downloads.is_empty() && bundle.joining.is_empty() {
            let elsewhere: HashSet<Sha256Digest> = self
                .bundles
                .keys()
                .filter(|other| **other != id)
                .flat_map(|other| self.shared_in(*other))
                .collect();
            if self.shared_in(id).all(|identity| elsewhere.contains(&identity)) {
                self.take_leave(&[id]);
                self.leave(id);
            }
        }
    }

    /// The packages that are shared in a bundle, or have begun to be.
    pub(super) fn shared_in(&self, id: BundleId) -> impl Iterator<Item = Sha256Digest> {
        let info = self.bundles.get(&id).and_then(|bundle| bundle.info.as_ref());
        let packages = info.into_iter().flat_map(|info| info.packages().iter().zip(info.layout().extents()));
        let served = self.swarm.served(id);
        let is_shared = move |first_piece| served.is_some_and(|served| served.get(first_piece));
        packages.filter(move |(_, extent)| is_shared(extent.first_piece)).map(|(package, _)| package.identity)
    }

    /// These packages, none of which this plan is to bring, are in a bundle of it: what is here of them is shared there.
    pub(super) fn share_stored(
        &mut self,
        plan: &CheckedPlan,
        planned: &CheckedBundle,
        packages: Vec<(PackageDigest, u32)>,
        service: &str,
    ) {
        let known = self.bundle_ids.get(&planned.info_hash).copied();
        match known {
            Some(id) if self.bundles.get(&id).is_some_and(|bundle| bundle.info.is_some()) => {
                if self.bring(id, &packages) {
                    self.report_standing(id);
                }
            }
            Some(id) if self.will_share(id, &packages) => {}
            _ => self.join(plan, planned, Vec::new(), packages, service),
        }
    }

    /// Shares what is here of these packages in this bundle; whether there was anything new in that.
    pub(super) fn bring(&mut self, id: BundleId, packages: &[(PackageDigest, u32)]) -> bool {
        let Some(info) = self.bundles.get(&id).and_then(|bundle| bundle.info.clone()) else { return false };
        let mut is_any = false;
        for (_, file) in packages {
            let extents = info.layout().extents();
            let Ok(index) = extents.binary_search_by_key(file, |extent| extent.file) else { continue };
            let identity = info.packages()[index].identity;
            // Below the number of a bundle's files, which is a u32.
            let file = FileIndex(index as u32);
            is_any |= self.offer_stored(id, file, identity) || self.move_download(id, file, identity);
        }
        is_any
    }

    /// A package that is on its way in another bundle goes on in this one; whether there is such a package.
    fn move_download(&mut self, id: BundleId, file: FileIndex, identity: Sha256Digest) -> bool {
        let Some(download) = self.downloads.get(&identity) else { return false };
        let (old, (old_file, old_extent)) = (download.bundle(), download.place());
        let info_of = |id: &BundleId| self.bundles.get(id).and_then(|bundle| bundle.info.as_ref());
        let (Some(old_info), Some(info)) = (info_of(&old), info_of(&id)) else { return false };
        let extent = info.layout().extents()[file.0 as usize];
        let is_same = extent.size == old_extent.size
            && package_hashes(info, &extent) == package_hashes(old_info, &old_extent);
        if old == id || !is_same || !download.may_move() {
            return false;
        }
        let served = self.swarm.served(old);
        let is_here = |nth: &u32| served.is_some_and(|served| served.get(old_extent.first_piece + nth));
        let have = (0..extent.pieces).filter(is_here).map(|nth| extent.first_piece + nth).collect();
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.downloads.push((file, identity));
        }
        if let Some(download) = self.downloads.get_mut(&identity) {
            download.move_to(id, file, extent);
        }
        self.forget_file(old, old_file);
        self.tell_swarm(SwarmEvent::Want { bundle: id, file, have });
        true
    }

    /// A piece of a package that was right came for this bundle, in which the package began with this piece. It may be in
    /// another one since it was asked for.
    pub(super) fn came_before_move(&mut self, partial: &Partial, id: BundleId, first_piece: u32, piece: u32) {
        let Some(download) = self.download_of(partial) else { return };
        let (bundle, (file, extent)) = (download.bundle(), download.place());
        if bundle != id {
            let have = vec![extent.first_piece + piece - first_piece];
            self.tell_swarm(SwarmEvent::Want { bundle, file, have });
        }
    }

    /// Tells a bundle's tracker what is here of it and what is missing, by which this host comes to the swarm.
    pub(super) fn report_standing(&mut self, id: BundleId) {
        if let Some(standing) = self.swarm.standing(id) {
            self.wish(id, standing);
        }
    }
}
