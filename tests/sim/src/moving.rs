//! Packages that have another home now, and hosts that follow them there, as agents do.

use pkgtorrent_swarm::{BundleId, Event, FileIndex};

use crate::happening::{Happening, Occasion, PlannedSwarm};
use crate::host::{Part, Place};
use crate::queue::Time;
use crate::talk::INFO_PATIENCE;
use crate::world::World;

/// How long what was followed is shared in the old home too.
const FOLLOWED_GRACE: Time = 90_000_000_000;

/// Who is called for bundles that it does not know announces no more often than this.
const CALLED_INTERVAL: Time = 2_000_000_000;

impl World {
    /// A host was called for a bundle that it does not take part in.
    pub(crate) fn called_for_unknown(&mut self, host: u32) {
        let now = self.now;
        let it = self.host(host);
        if it.planned > 0 && !it.is_gone && !std::mem::replace(&mut it.is_called, true) {
            let at = now.max(it.announced_at + CALLED_INTERVAL);
            self.queue.put(at, Happening::Announce { host, occasion: Occasion::Called });
        }
    }

    /// The tracker says that so many packages of a bundle have another home.
    pub(crate) fn heard_of_moves(&mut self, host: u32, bundle: u32, moved: u32) {
        let now = self.now;
        let Some(part) = self.host(host).part(bundle) else { return };
        if part.moved == moved {
            return self.leave_if_followed(host, bundle);
        }
        if part.has_info {
            (part.moved, part.followed_at) = (moved, now);
            self.put_after(self.latency, Happening::MovesAsked { host, bundle });
        }
    }

    /// The packages of a bundle that a host has, or is fetching there.
    fn packages_of(&self, host: u32, bundle: u32) -> Vec<u32> {
        let places = &self.hosts[host as usize].places;
        let is_here = |package: &u32| places.get(package).is_some_and(|it| it.is_here || it.bundle == bundle);
        self.bundles[bundle as usize].packages.iter().copied().filter(is_here).collect()
    }

    pub(crate) fn moves_asked(&mut self, host: u32, bundle: u32) {
        let packages = self.packages_of(host, bundle);
        if self.is_gone(host) || self.service.is_dead(self.now) || packages.is_empty() {
            return;
        }
        let (plan, len) = self.service.plan_of_moved(host, &packages, &mut self.bundles, self.now);
        let at = self.answer_at(host, len);
        self.queue.put(at, Happening::Moved { host, plan });
    }

    pub(crate) fn moved(&mut self, host: u32, plan: Vec<(PlannedSwarm, Vec<u32>)>) {
        for (swarm, files) in plan {
            if self.is_gone(host) {
                return;
            }
            let PlannedSwarm { bundle, peers, others, lease, is_second_hand, .. } = swarm;
            let pieces = self.bundles[bundle as usize].layout.pieces();
            match self.host(host).part(bundle) {
                Some(part) if part.has_info => {
                    if self.bring(host, bundle, &files) {
                        self.report_standing(host, bundle);
                    }
                }
                Some(part) => part.brought.extend(files),
                None => {
                    let mut part = Part::new(bundle, Vec::new(), pieces);
                    (part.brought, part.known) = (files, peers);
                    part.guidance = Some((others, lease, is_second_hand));
                    self.host(host).parts.push(part);
                    self.dial(host, bundle);
                    self.put_after(INFO_PATIENCE, Happening::InfoAwaited { host, bundle });
                }
            }
        }
    }

    /// Shares these files in this bundle, whose packages are here or on their way in another; whether there are any.
    pub(crate) fn bring(&mut self, host: u32, bundle: u32, files: &[u32]) -> bool {
        let mut is_any = false;
        for file in files {
            let package = self.bundles[bundle as usize].packages[*file as usize];
            let Some(old) = self.host(host).places.get(&package).copied() else { continue };
            if old.bundle == bundle {
                continue;
            }
            is_any = true;
            self.host(host).places.insert(package, Place { bundle, file: *file, ..old });
            let have = self.take_along(host, old, bundle, *file);
            let (id, file) = (BundleId(bundle), FileIndex(*file));
            if old.is_here {
                self.tell(host, Event::Offer { bundle: id, file });
            } else {
                self.tell(host, Event::Unwant { bundle: BundleId(old.bundle), file: FileIndex(old.file) });
                self.tell(host, Event::Want { bundle: id, file, have });
            }
        }
        is_any
    }

    /// What is here of a package is here in this bundle too; gives these pieces.
    fn take_along(&mut self, host: u32, old: Place, bundle: u32, file: u32) -> Vec<u32> {
        let extent = |bundle: u32, file: u32| self.bundles[bundle as usize].layout.extents()[file as usize];
        let (from, to) = (extent(old.bundle, old.file), extent(bundle, file));
        let it = self.host(host);
        let mut have = Vec::new();
        if let Some(part) = it.part(old.bundle) {
            have = (0..to.pieces).filter(|nth| part.here.get(from.first_piece + nth)).collect();
            part.files_left -= u32::from(!old.is_here);
        }
        if let Some(part) = it.part(bundle) {
            have.iter_mut().for_each(|piece| *piece += to.first_piece);
            have.iter().for_each(|piece| _ = part.here.set(*piece));
            part.files_left += u32::from(!old.is_here);
        }
        have
    }

    /// Tells a bundle's tracker what is here of it, by which this host comes to the swarm.
    pub(crate) fn report_standing(&mut self, host: u32, bundle: u32) {
        if let Some(wish) = self.host(host).swarm.standing(BundleId(bundle)) {
            let wished = Happening::Wished { host, bundle, wish: Box::new(wish) };
            self.put_after(self.latency, wished);
        }
    }

    /// Leaves a bundle whose packages have all been followed, after a while.
    fn leave_if_followed(&mut self, host: u32, bundle: u32) {
        let (now, it) = (self.now, &self.hosts[host as usize]);
        let is_over = |part: &Part| part.moved > 0 && now - part.followed_at >= FOLLOWED_GRACE;
        let is_elsewhere = || it.places.values().all(|place| place.bundle != bundle);
        let wires = match it.parts.iter().find(|part| part.bundle == bundle) {
            Some(part) if is_over(part) && is_elsewhere() => part.wires.clone(),
            _ => return,
        };
        for wire in wires {
            self.hang_up(wire, host);
        }
        self.tell(host, Event::Leave { bundle: BundleId(bundle) });
        self.host(host).parts.retain(|part| part.bundle != bundle);
    }
}
