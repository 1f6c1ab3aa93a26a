//! Peers of other sites: the line to them is thin, and everybody's.
//!
//! Each piece should come over such a line once. So the tracker leases first copies in each site by themselves, and who
//! holds a lease brings the piece into its site: from a far peer where another site's hosts fetch from the origin, else
//! from the origin. The others wait for their neighbours, as for any first copy. What far peers have counts for nothing
//! in the order of pieces, so a piece that only they have is as good as absent.
//!
//! Waiting ends as it does at home. Who reaches no far peer, or none any more, or has waited for them in vain takes what it
//! is leased from the origin, and from them again once they give a sign of life. Who holds no lease asks for one, and
//! helps itself if none is ever given.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crowd::Crowd;
use crate::identity::{BundleId, LinkId};
use crate::swarm::Swarm;

/// What comes over a thin line comes seldom: one far peer of a bundle is asked at a time, since more would only stand in
/// line, and it may owe a block for so many times as long as one at home. What is taken for lost too soon is sent twice,
/// and makes all wait longer.
pub(crate) const SILENCE_FACTOR: u32 = 4;

/// For the same reason anything is waited for so many times as long, and so often before a host helps itself: the tracker
/// takes the lease from who brings nothing sooner than that.
const HOLD_OFF_FACTOR: u32 = 3;
pub(crate) const WAITS_MAX: u32 = 8;

/// Who was waited for in vain is asked for nothing for so long, and after that beside the origin: where that has failed as
/// well, far peers are all there is. With the wait it is less than the patience with which a file is given up.
const REST: Duration = Duration::from_secs(5);

/// What is known of a bundle's far peers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Far {
    links: BTreeSet<LinkId>,
    /// Hosts of another site fetch the first copies.
    is_second_hand: bool,
    /// Since when there is nobody to take them from.
    alone_since: Duration,
    /// When they were waited for in vain, if they have given no sign of life since.
    vain_since: Option<Duration>,
    /// For this they are asked for nothing.
    is_resting: bool,
    /// What is leased is to come from far peers, and not from the origin.
    pub(crate) is_awaited: bool,
}

impl Far {
    pub(crate) fn is_second_hand(&self) -> bool {
        self.is_second_hand
    }

    /// The tracker has said who fetches the first copies.
    pub(crate) fn guided(&mut self, is_second_hand: bool, now: Duration, patience: Duration) {
        if is_second_hand && !self.is_second_hand {
            self.alone_since = now;
        }
        self.is_second_hand = is_second_hand;
        self.look(now, patience);
    }

    /// How many times as long as at home something may take to come.
    pub(crate) fn hold_off_factor(&self) -> u32 {
        if self.is_awaited { HOLD_OFF_FACTOR } else { 1 }
    }

    /// Nothing came from anywhere.
    pub(crate) fn was_in_vain(&mut self, now: Duration) {
        self.is_resting |= self.vain_since.is_none();
        self.vain_since.get_or_insert(now);
    }

    /// A link has brought something, or says that it could, if it was one.
    pub(crate) fn lives(&mut self, link: LinkId) {
        if self.links.contains(&link) {
            self.vain_since = None;
            self.is_resting = false;
        }
    }

    /// A link has gone, if it was one.
    pub(crate) fn part(&mut self, link: LinkId, now: Duration) {
        if self.links.remove(&link) {
            self.alone_since = now;
        }
    }

    /// Whether far peers are still waited for may change with time; whether it has.
    pub(crate) fn look(&mut self, now: Duration, patience: Duration) -> bool {
        let is_hopeful = !self.links.is_empty() || now.saturating_sub(self.alone_since) < patience;
        let is_awaited = self.is_second_hand && is_hopeful && self.vain_since.is_none();
        self.is_resting &= self.vain_since.is_some_and(|since| now.saturating_sub(since) < REST);
        std::mem::replace(&mut self.is_awaited, is_awaited) != is_awaited
    }
}

impl Crowd {
    /// Panics unless the far links are these.
    pub(crate) fn check_far(&self, links: impl Iterator<Item = LinkId>) {
        assert_eq!(self.far.links, links.collect(), "far links are miscounted");
    }

    /// Whether this host's peers may be found too slow. Who brings nothing can only wait for those who do, and who has
    /// nothing yet for a whole hold-off; but where neighbours have everything nobody is to bring anything.
    pub(crate) fn may_find_slow(&self) -> bool {
        let brings = || self.guide.from_peers.get() > 0.0 && self.lease().any(|piece| self.needed.get(piece));
        !self.far.is_awaited || self.seeds > 0 || brings()
    }

    /// Whether a far peer may be asked for a piece that is not here.
    pub(crate) fn may_bring(&self, piece: u32) -> bool {
        let is_ours = self.far.is_second_hand && self.is_leased(piece) || self.helps_itself();
        is_ours && self.rarity.holders(piece) == 0 && !self.far.is_resting
    }
}

impl Swarm {
    /// A peer is in another site. What it has is told after this.
    pub(crate) fn far(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.is_far = true;
        link.is_counted = false;
        if let Some(crowd) = self.crowds.get_mut(&link.bundle) {
            crowd.far.links.insert(id);
            crowd.far.look(self.now, self.settings.hold_off);
        }
    }

    /// What far peers may be asked for has changed.
    pub(crate) fn feed_far(&mut self, bundle: BundleId) {
        if let Some(crowd) = self.crowds.get(&bundle) {
            self.hungry.extend(crowd.far.links.iter().copied());
        }
    }

    /// The next piece to ask a far peer for: of the lease in its order, so that what is taken over by others is not begun;
    /// without a lease any that it may be asked for.
    pub(crate) fn next_to_bring(&self, crowd: &Crowd, id: LinkId) -> Option<u32> {
        let link = self.links.get(&id)?;
        let is_asked =
            |far: &LinkId| *far != id && self.links.get(far).is_some_and(|it| !it.asked.is_empty());
        if crowd.far.links.iter().any(is_asked) {
            return None;
        }
        let is_next =
            |piece: &u32| link.has.get(*piece) && crowd.rarity.contains(*piece) && crowd.may_bring(*piece);
        crowd.lease().find(is_next).or_else(|| {
            let others = if crowd.helps_itself() { crowd.rarity.absent() } else { &[] };
            others.iter().copied().find(is_next)
        })
    }
}
