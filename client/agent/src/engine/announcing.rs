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
use super::reporting::Told;
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
    pub(super) url: Url,
    /// When everything was announced last, or planned first, and is announced next.
    last: Instant,
    next: Instant,
    /// What is to be told before that, and when.
    wishes: BTreeMap<BundleId, Wish>,
    done: BTreeSet<BundleId>,
    ask_at: Option<Instant>,
    is_asking: bool,
    pub(super) failures: u32,
    /// Bytes that this host may send to others in a second at most, says the service.
    upload_limit: Option<u64>,
    /// The announce that is under way says what is no longer so.
    is_anew: bool,
    /// When it is to be told what this host does; never when it does not want to know.
    pub(super) report_at: Option<Instant>,
}

/// What an announce was about.
#[derive(Debug)]
pub(crate) struct Asked {
    url: Url,
    /// Of these a lease was asked for.
    wished: BTreeSet<BundleId>,
    is_regular: bool,
    told: Option<Told>,
}

impl Engine {
    /// A bundle was planned: whoever gave the plan knows of this host already.
    pub(super) fn announced_by_plan(&mut self, url: &Url, policy: Policy) {
        let Policy { announce_interval: interval, upload_limit, .. } = policy;
        let gave = self.gives_at(url);
        let known = self.trackers.iter_mut().find(|tracker| tracker.url == *url);
        // Whoever is not listened for is not listed.
        if let Some(tracker) = known {
            tracker.upload_limit = upload_limit;
            tracker.report_at.get_or_insert_with(Instant::now);
            if self.gives_at(url) != gave {
                self.begin_anew(url);
            }
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
                is_anew: false,
                report_at: Some(last),
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
        if !self.gives(id) {
            return self.hang_up(id);
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

    /// Tells a tracker everything anew, once what is under way to it has been answered.
    pub(super) fn announce_anew(&mut self, url: &Url) {
        let Some(tracker) = self.trackers.iter_mut().find(|tracker| tracker.url == *url) else { return };
        tracker.is_anew = tracker.is_asking;
        tracker.next = Instant::now();
        if !tracker.is_asking && !self.gives_at(url) {
            self.take_leave(&self.announced_at(url));
        }
    }

    /// The bundles that are announced at a tracker.
    pub(super) fn announced_at(&self, url: &Url) -> Vec<BundleId> {
        let of_tracker = self.bundles.iter().filter(|(_, bundle)| bundle.announce.as_ref() == Some(url));
        of_tracker.map(|(id, _)| *id).collect()
    }

    /// The trackers that bundles are announced at; where there is no bundle, those that there were some for.
    pub(super) fn announced_to(&self) -> BTreeSet<Url> {
        if self.bundles.is_empty() {
            return self.trackers.iter().map(|tracker| tracker.url.clone()).collect();
        }
        self.bundles.values().filter_map(|bundle| bundle.announce.clone()).collect()
    }

    /// What one service says of that.
    pub(super) fn limit_of(&self, announce: &Url) -> Option<u64> {
        self.trackers.iter().find(|tracker| tracker.url == *announce)?.upload_limit
    }

    /// The port by which a tracker names this host to others; none when it is not to.
    pub(super) fn listed_port(&self, announce: &Url) -> Option<u16> {
        self.network.port.filter(|_| self.gives_at(announce))
    }

    /// How many others are in a swarm. This host is counted as well where it is listed.
    pub(super) fn others(&self, id: BundleId, complete: u32, incomplete: u32) -> u32 {
        let own = u32::from(self.network.port.is_some() && self.gives(id));
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
            self.announced_at(&url).into_iter().take(BATCH_SWARMS_MAX).collect()
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
        let report = self.report_to(&url);
        let told = report.as_ref().map(Told::by);
        let batch = BatchAnnounce { report, ..self.batch(swarms, self.listed_port(&url)) };
        let (yard, asked) = (self.yard.clone(), Asked { url: url.clone(), wished, is_regular, told });
        tokio::spawn(async move {
            let result = announce(&yard.http, &url, &batch, patience).await;
            let _ = yard.events.send(Task::Announced { asked, result }.into()).await;
        });
    }

    fn batch(&self, swarms: Vec<SwarmAnnounce>, port: Option<u16>) -> BatchAnnounce {
        BatchAnnounce {
            version: VERSION,
            peer_id: self.network.id,
            port: port.unwrap_or(0),
            swarms,
            compact: true,
            report: None,
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
            served: event.is_some(),
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
                self.may_report(&asked.url, asked.told, &answer);
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
        if self.trackers.iter().any(|tracker| tracker.url == asked.url && tracker.is_anew) {
            self.announce_anew(&asked.url);
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
                let others = self.others(bundle, complete, incomplete);
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
        for farewell in self.farewells(&all, true) {
            farewells.spawn(farewell);
        }
        let _ =
            tokio::time::timeout(FAREWELL, async { while farewells.join_next().await.is_some() {} }).await;
    }

    /// Tells trackers that this host leaves these bundles. One that does not hear it finds out by itself.
    pub(super) fn take_leave(&self, ids: &[BundleId]) {
        for farewell in self.farewells(ids, false) {
            tokio::spawn(farewell);
        }
    }

    /// One for each tracker of these bundles, and for the one that is told of installs when it is the last one. Where this
    /// host gives nothing it is listed by the port that it had before.
    fn farewells(&self, ids: &[BundleId], is_last: bool) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let stopped = |id: &BundleId| {
            let info_hash = self.bundles.get(id)?.info_hash;
            let event = Some(AnnounceEvent::Stopped);
            Some(SwarmAnnounce { info_hash, left: 0, event, wanted: Some(0), served: false, lease: None })
        };
        let farewell = |tracker: &Tracker| {
            let of_tracker = self.announced_at(&tracker.url).into_iter().filter(|id| ids.contains(id));
            let swarms: Vec<SwarmAnnounce> =
                of_tracker.filter_map(|id| stopped(&id)).take(BATCH_SWARMS_MAX).collect();
            let report = self.last_report_to(&tracker.url).filter(|_| is_last);
            let is_any = !swarms.is_empty() || (report.is_some() && self.has_untold_installs());
            let (http, url) = (self.yard.http.clone(), tracker.url.clone());
            let batch = BatchAnnounce { report, ..self.batch(swarms, self.network.port) };
            is_any.then_some(async move {
                let _ = announce(&http, &url, &batch, FAREWELL).await;
            })
        };
        self.trackers.iter().filter_map(farewell).collect()
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
