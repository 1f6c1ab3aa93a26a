//! Until when, how fast and whether at all this host gives to others what it has.
//!
//! A host *gives* unless the service said that it shall not, or its operator's hours are over. While it does not, it is not
//! in the tracker's list, takes no calls, says that it has nothing, and still takes from others what it needs.

use std::time::{Duration, Instant};

use pkgtorrent_protocol::SetDigest;
use pkgtorrent_swarm::{BundleId, Seeding};
use reqwest::Url;

use super::Engine;
use super::plans::PlanAsked;
use crate::hours::Hours;
use crate::origin::CheckedPlan;
use crate::settings::Settings;

/// What this host's operator and its services say of giving.
#[derive(Debug)]
pub(super) struct Sharing {
    seeding: Seeding,
    hours: Hours,
    /// Bytes a second; zero for as many as there are.
    own_limit: u64,
    /// Whether the hours are such that anything is given.
    is_open: bool,
}

impl Sharing {
    pub(super) fn new(settings: &Settings) -> Self {
        let (seeding, own_limit) = (settings.seeding, settings.peers.upload_limit);
        let hours = settings.upload_hours.clone();
        Self { seeding, own_limit, is_open: hours.contain_now(), hours }
    }

    /// Goes by what the operator says now. What was shared before keeps its time.
    pub(super) fn reload(&mut self, settings: &Settings) {
        let is_open = self.is_open;
        *self = Self { is_open, ..Self::new(settings) };
    }

    /// Whether the hours are such that anything is given.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }
}

impl Engine {
    /// How long this host is to share a set that a service planned.
    pub(super) fn seeding_time(&self, announce: &Url, set: SetDigest) -> Duration {
        // Whom nobody can reach, or is to, shares with nobody.
        match (self.network.port, self.limit_of(announce)) {
            (None, _) | (_, Some(0)) => Duration::ZERO,
            _ => self.sharing.seeding.time(self.network.id, set),
        }
    }

    /// The bundles of a plan are shared for the time of the set that was asked for; those that packages were followed to,
    /// as long as the one that they come from.
    pub(super) fn share_for(&mut self, plan: &CheckedPlan, asked: &PlanAsked) {
        let from = asked.following.and_then(|id| self.bundles.get(&id));
        let time = match from {
            Some(from) => from.shared_until.saturating_duration_since(Instant::now()),
            None => self.seeding_time(&plan.announce, asked.set.digest()),
        };
        for planned in &plan.bundles {
            let id = self.bundle_ids.get(&planned.info_hash);
            if let Some(bundle) = id.and_then(|id| self.bundles.get_mut(id)) {
                bundle.sharing_time = time;
                bundle.is_used();
            }
        }
    }

    /// When the last bundle will have been shared for long enough.
    pub(super) fn shares_until(&self) -> Option<Instant> {
        let shared = self.bundles.values().filter(|bundle| bundle.offers);
        shared.map(|bundle| bundle.shared_until).max()
    }

    /// Leaves the bundles that were shared for long enough.
    pub(super) fn leave_shared(&mut self) {
        let now = Instant::now();
        let over =
            self.bundles.iter().filter(|(_, bundle)| bundle.is_only_given() && bundle.shared_until <= now);
        let over: Vec<BundleId> = over.map(|(id, _)| *id).collect();
        self.take_leave(&over);
        for id in over {
            self.leave(id);
        }
    }

    /// Whether others get anything of a bundle at present.
    pub(super) fn gives(&self, id: BundleId) -> bool {
        let announce = self.bundles.get(&id).and_then(|bundle| bundle.announce.as_ref());
        announce.map_or(self.sharing.is_open, |announce| self.gives_at(announce))
    }

    /// Whether the hosts that meet at a tracker get anything.
    pub(super) fn gives_at(&self, announce: &Url) -> bool {
        self.sharing.is_open && self.limit_of(announce) != Some(0)
    }

    /// Begins or ends to give, as the time of day has it, and no faster than everybody lets it.
    pub(super) fn look_at_hours(&mut self) {
        let is_open = self.sharing.hours.contain_now();
        if is_open != self.sharing.is_open {
            self.sharing.is_open = is_open;
            let what = if is_open { "what it has" } else { "nothing" };
            tracing::info!("from now on this host gives {what} to others");
            for announce in self.announced_to() {
                self.begin_anew(&announce);
            }
        }
        let limit = self.upload_limit().filter(|limit| *limit > 0);
        self.network.peers.limit_upload(limit.unwrap_or(0));
    }

    /// The hosts that meet at a tracker were told that something is here, or that nothing is, and that is no longer so.
    pub(super) fn begin_anew(&mut self, announce: &Url) {
        for id in self.announced_at(announce) {
            self.hang_up(id);
        }
        self.announce_anew(announce);
    }

    /// Bytes that may be sent in a second, by the word of all that have one; zero for nothing at all.
    pub(super) fn upload_limit(&self) -> Option<u64> {
        let announced = self.announced_to();
        let is_nothing_given = !announced.is_empty() && !announced.iter().any(|url| self.gives_at(url));
        if is_nothing_given || !self.sharing.is_open {
            return Some(0);
        }
        let own = Some(self.sharing.own_limit);
        let of_services = announced.iter().filter_map(|url| self.limit_of(url));
        of_services.chain(own).filter(|limit| *limit > 0).min()
    }
}
