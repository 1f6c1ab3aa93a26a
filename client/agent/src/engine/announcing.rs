//! Telling trackers what is here and hearing of other hosts: all bundles of a service in one request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::{
    BATCH_SWARMS_MAX, BatchAnnounce, BatchAnswer, Event as AnnounceEvent, LeaseWish, PieceRange,
    SwarmAnnounce, SwarmAnswer,
};
use pkgtorrent_protocol::plan::Policy;
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, Wish};
use reqwest::Url;

use super::Engine;
use super::event::Task;
use crate::origin::{PlanError, announce};

/// The version of the announce's form.
const VERSION: u32 = 1;

/// Wishes that come within this time go in one request.
const WISH_DELAY: Duration = Duration::from_millis(20);

/// How long an answer to a wish is waited for before this host helps itself.
const WISH_PATIENCE: Duration = Duration::from_secs(3);

/// How long other announces may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shortest and longest time between announces, whatever the service says.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
const INTERVAL_MAX: Duration = Duration::from_secs(30 * 60);

/// The first pause after an announce that failed; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(5);

/// A host with fewer connections for something that it needs than it would make asks for peers, so many at a time. Most
/// of those whom a plan named may not have been reached: on full lines calls are lost like anything else.
const PEERS_WANTED: u32 = 25;

/// Whoever is called for a bundle that it does not know announces, but not more often than this: packages that it has may
/// have another home now.
const CALLED_INTERVAL: Duration = Duration::from_secs(2);

/// How long the last word may take when the agent ends.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// One service that bundles are announced at.
#[derive(Debug)]
pub(super) struct Tracker {
    url: Url,
    /// When everything was announced last, or planned first, and is announced next.
    last: Instant,
    next: Instant,
    /// What is to be told before that, and when.
    wishes: BTreeMap<BundleId, Wish>,
    done: BTreeSet<BundleId>,
    ask_at: Option<Instant>,
    is_asking: bool,
    failures: u32,
    /// Bytes that this host may send to others in a second at most, says the service.
    upload_limit: Option<u64>,
}

/// What an announce was about.
#[derive(Debug)]
pub(crate) struct Asked {
    url: Url,
    /// Of these a lease was asked for.
    wished: BTreeSet<BundleId>,
    is_regular: bool,
}

impl Engine {
    /// A bundle was planned: whoever gave the plan knows of this host already.
    pub(super) fn announced_by_plan(&mut self, url: &Url, policy: Policy) {
        let Policy { announce_interval: interval, upload_limit, .. } = policy;
        let known = self.trackers.iter_mut().find(|tracker| tracker.url == *url);
        // Whoever is not listened for is not listed.
        if let Some(tracker) = known {
            tracker.upload_limit = upload_limit;
        } else if self.network.port.is_some() {
            let last = Instant::now();
            self.trackers.push(Tracker {
                url: url.clone(),
                last,
                next: last + bounded(interval),
                wishes: BTreeMap::new(),
                done: BTreeSet::new(),
                ask_at: None,
                is_asking: false,
                failures: 0,
                upload_limit,
            });
        }
    }

    /// The swarm has something to tell a bundle's tracker.
    pub(super) fn wish(&mut self, bundle: BundleId, wish: Wish) {
        let url = self.bundles.get(&bundle).and_then(|bundle| bundle.announce.clone());
        let tracker = self.trackers.iter_mut().find(|tracker| Some(&tracker.url) == url.as_ref());
        match tracker {
            Some(tracker) if self.network.port.is_some() => {
                tracker.wishes.insert(bundle, wish);
                tracker.ask_at.get_or_insert(Instant::now() + WISH_DELAY);
            }
            _ => self.tell_swarm(SwarmEvent::Unguided { bundle }),
        }
    }

    /// Nothing of a bundle is missing any more: its tracker learns it soon.
    pub(super) fn announce_if_done(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        if self.swarm.needed_len(id) > 0 || !bundle.joining.is_empty() {
            return;
        }
        let url = bundle.announce.clone();
        if !self.sharing.gives() {
            return self.drop_links_of(id);
        }
        self.tell_upload_only(id, true);
        if let Some(tracker) = self.trackers.iter_mut().find(|tracker| Some(&tracker.url) == url.as_ref()) {
            tracker.done.insert(id);
            tracker.ask_at.get_or_insert(Instant::now() + WISH_DELAY);
        }
    }

    /// When the next announce is due.
    pub(super) fn announce_at(&self) -> Option<Instant> {
        let due = |tracker: &Tracker| tracker.ask_at.map_or(tracker.next, |at| at.min(tracker.next));
        self.trackers.iter().filter(|tracker| !tracker.is_asking).map(due).min()
    }

    /// Announces what is due.
    pub(super) fn announce_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.trackers.len() {
            let tracker = &self.trackers[index];
            let is_regular = tracker.next <= now;
            if !tracker.is_asking && (is_regular || tracker.ask_at.is_some_and(|at| at <= now)) {
                self.announce(index, is_regular);
            }
        }
    }

    /// Everything is told anew as soon as may be.
    pub(super) fn announce_now(&mut self) {
        let now = Instant::now();
        self.trackers.iter_mut().for_each(|tracker| tracker.next = now);
    }

    /// What the services say that this host may send in a second.
    pub(super) fn limits(&self) -> impl Iterator<Item = u64> + '_ {
        self.trackers.iter().filter_map(|tracker| tracker.upload_limit)
    }

    /// What one service says of that.
    pub(super) fn limit_of(&self, announce: &Url) -> Option<u64> {
        self.trackers.iter().find(|tracker| tracker.url == *announce)?.upload_limit
    }

    /// The port by which trackers name this host to others; none when they are not to.
    pub(super) fn listed_port(&self) -> Option<u16> {
        self.network.port.filter(|_| self.sharing.gives())
    }

    /// How many others are in a swarm. This host is counted as well where it is listed.
    pub(super) fn others(&self, complete: u32, incomplete: u32) -> u32 {
        let own = u32::from(self.listed_port().is_some());
        complete.saturating_add(incomplete).saturating_sub(own)
    }

    /// Somebody called for a bundle that this host is not in.
    pub(super) fn called_for_unknown(&mut self) {
        for tracker in self.trackers.iter_mut().filter(|tracker| tracker.failures == 0) {
            tracker.next = tracker.next.min(tracker.last + CALLED_INTERVAL);
        }
    }

    fn announce(&mut self, index: usize, is_regular: bool) {
        let tracker = &mut self.trackers[index];
        let url = tracker.url.clone();
        let wishes = std::mem::take(&mut tracker.wishes);
        let done = std::mem::take(&mut tracker.done);
        tracker.ask_at = None;
        let ids: Vec<BundleId> = if is_regular {
            let of_tracker = self.bundles.iter().filter(|(_, it)| it.announce.as_ref() == Some(&url));
            of_tracker.map(|(id, _)| *id).take(BATCH_SWARMS_MAX).collect()
        } else {
            wishes.keys().chain(&done).copied().collect::<BTreeSet<_>>().into_iter().collect()
        };
        let swarms: Vec<SwarmAnnounce> = ids
            .into_iter()
            .filter_map(|id| {
                let event = done.contains(&id).then_some(AnnounceEvent::Completed);
                self.swarm_announce(id, event, wishes.get(&id))
            })
            .collect();
        let tracker = &mut self.trackers[index];
        if swarms.is_empty() {
            tracker.next = Instant::now() + INTERVAL_MAX;
            return;
        }
        tracker.is_asking = true;
        if is_regular {
            tracker.last = Instant::now();
        }
        let wished: BTreeSet<BundleId> = wishes.keys().copied().collect();
        let patience = if wished.is_empty() { PATIENCE } else { WISH_PATIENCE };
        let batch = self.batch(swarms);
        let (yard, asked) = (self.yard.clone(), Asked { url: url.clone(), wished, is_regular });
        tokio::spawn(async move {
            let result = announce(&yard.http, &url, &batch, patience).await;
            let _ = yard.events.send(Task::Announced { asked, result }.into()).await;
        });
    }

    fn batch(&self, swarms: Vec<SwarmAnnounce>) -> BatchAnnounce {
        BatchAnnounce {
            version: VERSION,
            peer_id: self.network.id,
            port: self.listed_port().unwrap_or(0),
            swarms,
            compact: true,
        }
    }

    fn swarm_announce(
        &self,
        id: BundleId,
        event: Option<AnnounceEvent>,
        wish: Option<&Wish>,
    ) -> Option<SwarmAnnounce> {
        let bundle = self.bundles.get(&id)?;
        let served = self.swarm.served(id)?;
        let is_complete = served.is_complete();
        // Whoever has everything that it wants needs nobody, and is found by those who do.
        let is_looking = self.swarm.needed_len(id) > 0 && self.swarm.links(id) < self.dialled_max();
        let piece_len = bundle.info.as_ref()?.layout().piece_len().bytes();
        Some(SwarmAnnounce {
            info_hash: bundle.info_hash,
            left: u64::from(served.pieces() - served.count()) * u64::from(piece_len),
            // Complete is who has the whole bundle, whatever it wanted of it.
            event: event.filter(|_| is_complete),
            wanted: Some(if is_looking { PEERS_WANTED } else { 0 }),
            lease: wish.map(|wish| LeaseWish {
                got: pairs(&wish.got),
                lacks: pairs(&wish.lacks),
                returned: false,
                starved: wish.is_starved,
                wants: wish.wants,
            }),
        })
    }

    /// A tracker has answered, or has not.
    pub(super) fn announced(&mut self, asked: &Asked, result: Result<BatchAnswer, PlanError>) {
        let now = Instant::now();
        let Some(tracker) = self.trackers.iter_mut().find(|tracker| tracker.url == asked.url) else { return };
        tracker.is_asking = false;
        let mut unanswered = asked.wished.clone();
        match result {
            Ok(answer) => {
                tracker.failures = 0;
                if asked.is_regular {
                    tracker.next = now + bounded(answer.interval);
                }
                for swarm in answer.swarms {
                    if let Some(bundle) = self.guided(swarm, &asked.wished) {
                        unanswered.remove(&bundle);
                    }
                }
            }
            Err(error) => {
                tracing::debug!("announce: {error}");
                tracker.failures = (tracker.failures + 1).min(8);
                if asked.is_regular {
                    tracker.next = now + RETRY_FIRST.saturating_mul(1 << tracker.failures);
                }
            }
        }
        for bundle in unanswered {
            self.tell_swarm(SwarmEvent::Unguided { bundle });
        }
    }

    /// What the tracker says of one swarm; gives the bundle, if the tracker knows it.
    fn guided(&mut self, answer: SwarmAnswer, wished: &BTreeSet<BundleId>) -> Option<BundleId> {
        match answer {
            SwarmAnswer::Known {
                info_hash,
                complete,
                incomplete,
                peers,
                compact_peers,
                lease,
                ask_again,
                moved,
                second_hand,
            } => {
                let bundle = *self.bundle_ids.get(&info_hash)?;
                let others = self.others(complete, incomplete);
                let lease = lease.map(|lease| ranges(&lease));
                let has_answered = lease.is_some() || !wished.contains(&bundle);
                let is_second_hand = second_hand;
                let ask_again = ask_again.map(|millis| Duration::from_millis(millis.into()));
                self.tell_swarm(SwarmEvent::Guided { bundle, others, lease, is_second_hand, ask_again });
                self.dial(bundle, &peers);
                self.dial(bundle, &compact_peers.0);
                self.heard_of_moves(bundle, moved);
                has_answered.then_some(bundle)
            }
            SwarmAnswer::Refused { info_hash, refused } => {
                tracing::debug!("{info_hash}: the tracker refuses: {refused}");
                None
            }
        }
    }

    /// Tells all trackers that this host leaves, as far as they listen at this moment.
    pub async fn say_farewell(&self) {
        let mut farewells = tokio::task::JoinSet::new();
        let all: Vec<BundleId> = self.bundles.keys().copied().collect();
        for farewell in self.farewells(&all) {
            farewells.spawn(farewell);
        }
        let _ =
            tokio::time::timeout(FAREWELL, async { while farewells.join_next().await.is_some() {} }).await;
    }

    /// Tells trackers that this host leaves these bundles. One that does not hear it finds out by itself.
    pub(super) fn take_leave(&self, ids: &[BundleId]) {
        for farewell in self.farewells(ids) {
            tokio::spawn(farewell);
        }
    }

    /// One for each tracker of these bundles that may list this host.
    fn farewells(&self, ids: &[BundleId]) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let of_tracker = |tracker: &Tracker| {
            let is_its = |id: &&BundleId| {
                self.bundles.get(id).is_some_and(|bundle| bundle.announce.as_ref() == Some(&tracker.url))
            };
            let stopped = |id: &BundleId| {
                let announce = self.swarm_announce(*id, None, None)?;
                Some(SwarmAnnounce { event: Some(AnnounceEvent::Stopped), ..announce })
            };
            ids.iter().filter(is_its).filter_map(stopped).take(BATCH_SWARMS_MAX).collect::<Vec<_>>()
        };
        let trackers = self.trackers.iter().filter(|_| self.listed_port().is_some());
        let swarms = trackers.map(|tracker| (tracker.url.clone(), of_tracker(tracker)));
        swarms
            .filter(|(_, swarms)| !swarms.is_empty())
            .map(|(url, swarms)| {
                let (http, batch) = (self.yard.http.clone(), self.batch(swarms));
                async move {
                    let _ = announce(&http, &url, &batch, FAREWELL).await;
                }
            })
            .collect()
    }
}

/// Ranges as they are written, as the swarm has them.
pub(super) fn ranges(pairs: &[PieceRange]) -> Vec<std::ops::Range<u32>> {
    pairs.iter().map(|(first, pieces)| *first..first.saturating_add(*pieces)).collect()
}

fn pairs(ranges: &[std::ops::Range<u32>]) -> Vec<PieceRange> {
    ranges.iter().map(|range| (range.start, range.end - range.start)).collect()
}

fn bounded(interval: u32) -> Duration {
    Duration::from_secs(interval.into()).clamp(INTERVAL_MIN, INTERVAL_MAX)
}
