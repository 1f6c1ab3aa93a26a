//! How connections are shared out among bundles.

use std::collections::HashMap;

use pkgtorrent_swarm::{BundleId, LinkId};

use super::Engine;
use super::bundles::Bundle;
use super::network::Network;

/// How many connections of one bundle we make, and how many it may have with those that others make. The first hosts of a
/// burst are known to all that follow: if these called everybody they hear of, the first hosts would soon have no room but
/// for each other, and what is new would go through the crowd layer by layer. With ten each it takes a few steps to ten
/// thousand hosts, and a slow line is not torn between too many senders.
const DIALLED_MAX: usize = 10;
const LINKS_MAX: usize = 80;

/// How many connections all bundles together make, shared out among those of which something is needed: a host that takes
/// part in twenty of them meets mostly the same peers in each. And what each of them may make at least: one alone would be
/// lost with its host.
const DIALLED_IN_ALL: usize = 40;
const DIALLED_MIN: usize = 2;

/// One in so many of the connections that may be is left for those who have just called. When the others are taken, the
/// bundle that has the most gives one up for another that has fewer.
const SPARE_DIVISOR: usize = 8;

/// How many connections are kept where there may be so many.
pub(super) fn links_max(connections_max: usize) -> usize {
    (connections_max - connections_max / SPARE_DIVISOR).max(1)
}

impl Network {
    /// Whom to part with so that a bundle gets one more connection where there are as many as may be: of the bundle that
    /// has the most, who called last. `None` if that is no better off than this one.
    fn least_needed(&self, bundle: BundleId) -> Option<LinkId> {
        let mut counts: HashMap<BundleId, usize> = HashMap::new();
        self.links.values().for_each(|link| *counts.entry(link.bundle).or_default() += 1);
        let own = counts.get(&bundle).copied().unwrap_or(0);
        let (most, count) = counts.into_iter().max_by_key(|(id, count)| (*count, *id))?;
        let of_most = self.links_of(most).filter(|_| count > own + 1);
        of_most.max_by_key(|(id, link)| (!link.is_dialled, **id)).map(|(id, _)| *id)
    }
}

impl Engine {
    /// How many connections of one bundle this host makes.
    pub(super) fn dialled_max(&self) -> usize {
        let is_needed = |(id, bundle): &(&BundleId, &Bundle)| {
            !bundle.joining.is_empty() || self.swarm.needed_len(**id) > 0
        };
        let needed = self.bundles.iter().filter(is_needed).count();
        (DIALLED_IN_ALL / needed.max(1)).clamp(DIALLED_MIN, DIALLED_MAX)
    }

    /// The oldest connection of a bundle over which neither side needs anything. Who stays in a fleet would soon have no
    /// other ones, and those who come would be refused by the very hosts that have what they want.
    fn idle_link(&self, id: BundleId) -> Option<LinkId> {
        let idle = self.network.links_of(id).filter(|(_, link)| !link.is_interested);
        idle.map(|(link, _)| *link).min().filter(|_| self.swarm.needed_len(id) == 0)
    }

    /// Whether a bundle may have one connection more. For it, it may lose one that nobody needs, or another bundle one.
    pub(super) fn make_room_for_link(&mut self, id: BundleId) -> bool {
        if self.network.links_of(id).count() >= LINKS_MAX {
            let Some(idle) = self.idle_link(id) else { return false };
            self.drop_link(idle);
        }
        if self.network.links.len() >= self.network.links_max {
            let Some(least_needed) = self.network.least_needed(id) else { return false };
            self.drop_link(least_needed);
        }
        true
    }
}
