//! Until when, how fast and whether at all this host gives to others what it has.
//!
//! A host *gives* unless a service said that it shall not, or its operator's hours are over. While it does not, it is in
//! no tracker's list, takes no calls, says that it has nothing, and still takes from others what it needs.

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
    gives: bool,
}

impl Sharing {
    pub(super) fn new(settings: &Settings) -> Self {
        let (seeding, own_limit) = (settings.seeding, settings.peers.upload_limit);
        let hours = settings.upload_hours.clone();
        Self { seeding, own_limit, gives: hours.contain_now(), hours }
    }

    /// Goes by what the operator says now. What was shared before keeps its time.
    pub(super) fn reload(&mut self, settings: &Settings) {
        let gives = self.gives;
        *self = Self { gives, ..Self::new(settings) };
    }

    /// Whether this host gives anything at present.
    pub(super) fn gives(&self) -> bool {
        self.gives
    }
}

impl Engine {
    /// How long this host is to share a set that a service planned.
    pub(super) fn seeding_time(&self, announce: &Url, set: SetDigest) -> Duration {
        match self.limit_of(announce) {
            Some(0) => Duration::ZERO,
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

    /// Begins or ends to give, as the services and the time of day have it.
    pub(super) fn look_at_sharing(&mut self) {
        let limit = self.upload_limit();
        self.network.peers.limit_upload(limit.unwrap_or(0));
        let gives = limit != Some(0) && self.sharing.hours.contain_now();
        if gives == self.sharing.gives {
            return;
        }
        tracing::info!(
            "from now on this host gives {} to others",
            if gives { "what it has" } else { "nothing" }
        );
        if !gives {
            // The port that is taken off the lists is the one that others knew.
            self.take_leave(&self.bundles.keys().copied().collect::<Vec<_>>());
        }
        self.sharing.gives = gives;
        // What others were told of what is here is no longer so.
        self.hang_up_on_all();
        self.announce_now();
    }

    /// Bytes that may be sent in a second by everybody's word; zero for none at all, nothing for no limit.
    pub(super) fn upload_limit(&self) -> Option<u64> {
        let own = Some(self.sharing.own_limit).filter(|limit| *limit > 0);
        self.limits().chain(own).min()
    }
}
