//! Bundles that packages are wanted from, or given of: reading what is in them, and where.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::{InfoHash, PackageDigest, Sha256Digest, networks};
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex, LinkId, SourceId};
use rand_core::Rng;
use reqwest::Url;

use super::announcing::ranges;
use super::event::Task;
use super::following::Followed;
use super::pieces::Assembling;
use super::setback::Setback;
use super::{Engine, WantedState};
use crate::origin::{CheckedBundle, CheckedPlan, Info, PlanError, info, read_info};
use crate::peer::{Command, InfoError};

/// Bundles that this host takes part in, and the length of all their info dictionaries. Beyond that the one that was left
/// alone longest is left.
const BUNDLES_MAX: usize = 256;
const INFOS_LEN_MAX: usize = 32 << 20;

/// How long the info dictionary is hoped for from peers before the service is asked: the first host of a crowd has it
/// within a few round trips, and for ten thousand of them it would be several copies of a small set.
const INFO_PATIENCE_MIN: Duration = Duration::from_millis(100);
const INFO_PATIENCE_MAX: Duration = Duration::from_millis(400);

/// How long a peer may take to give it.
const INFO_FROM_PEER_MAX: Duration = Duration::from_secs(2);

/// A bundle that packages are downloaded from, or given to others.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) info_hash: InfoHash,
    /// `None` until it was read.
    pub(super) info: Option<Arc<BundleInfo>>,
    /// Its bytes, which other hosts get.
    pub(super) info_bytes: Option<Bytes>,
    /// What is not begun yet, mostly because the info dictionary is not here: digests and files of it.
    pub(super) joining: VecDeque<(PackageDigest, u32)>,
    /// Which package each download of this bundle brings.
    pub(super) downloads: Vec<(FileIndex, Sha256Digest)>,
    /// What the latest plan says.
    planned: Option<Planned>,
    info_asked: InfoAsked,
    /// The service that planned it last.
    pub(super) service: String,
    /// Where it is announced.
    pub(super) announce: Option<Url>,
    /// When this host last followed packages of it to another home.
    pub(super) followed: Option<Followed>,
    /// The networks of this host's site, as the latest plan says; none where nobody is far.
    site: Vec<IpNet>,
    pub(super) assembling: Assembling,
    /// Pieces that are offered as they lie in the store, and are checked when they are first given.
    pub(super) unchecked: BTreeSet<u32>,
    /// Something of it is given to other hosts.
    pub(super) offers: bool,
    used: Instant,
    /// How long it is shared after something of it came, and until when.
    pub(super) sharing_time: Duration,
    pub(super) shared_until: Instant,
}

/// What a plan says of a bundle.
#[derive(Debug, Clone)]
struct Planned {
    bundle: CheckedBundle,
    /// Packages of the set that are in it, and which files of it they are.
    packages: Vec<(PackageDigest, u32)>,
    torrents: Url,
    /// Whether its service leases first copies.
    has_leases: bool,
    /// Nothing of it is wanted by this plan: the tracker is told what is here of it.
    is_stored: bool,
}

/// Whom the info dictionary is expected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InfoAsked {
    /// Nobody: it is here, or nobody wants it.
    Nobody,
    /// Any peer that has it, until this time.
    Peers { until: Instant },
    /// This peer, until this time.
    Peer { link: LinkId, until: Instant },
    /// The service.
    Service,
}

/// A base URL that packages are read from.
#[derive(Debug)]
pub(super) struct WebSeed {
    pub(super) url: Url,
    pub(super) source: SourceId,
    /// What went wrong last with a request to it.
    pub(super) last_failure: Option<String>,
    bundles: HashSet<BundleId>,
}

impl Bundle {
    /// Whether nothing of it is wanted here, and something is given.
    pub(super) fn is_only_given(&self) -> bool {
        self.offers && self.downloads.is_empty() && self.joining.is_empty()
    }

    /// It is in use, and shared for its time from now on.
    pub(super) fn is_used(&mut self) {
        self.shared_until = self.shared_until.max(Instant::now() + self.sharing_time);
    }

    /// Whether a host is in another site.
    pub(super) fn is_far(&self, ip: IpAddr) -> bool {
        !self.site.is_empty() && !networks::contain(&self.site, ip.to_canonical())
    }
}

impl Engine {
    /// These packages are in a bundle of the plan. Its info dictionary is read unless it is known.
    pub(super) fn join(
        &mut self,
        plan: &CheckedPlan,
        planned: &CheckedBundle,
        wanted: Vec<(PackageDigest, u32)>,
        packages: Vec<(PackageDigest, u32)>,
        service: &str,
    ) {
        let id = self.bundle_of(planned.info_hash);
        for (order, url) in (0..).zip(&plan.web_seeds) {
            self.add_web_seed(url, order, id);
        }
        for (digest, _) in &wanted {
            if let Some(wanted) = self.wanted.get_mut(digest) {
                wanted.state = WantedState::Joining(id);
            }
        }
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let is_stored = wanted.is_empty();
        bundle.joining.extend(wanted);
        bundle.announce = Some(plan.announce.clone());
        bundle.service = service.to_owned();
        bundle.site.clone_from(&plan.site);
        bundle.used = Instant::now();
        bundle.planned = Some(Planned {
            bundle: planned.clone(),
            packages,
            torrents: plan.torrents.clone(),
            has_leases: plan.policy.lease_ttl > 0,
            is_stored,
        });
        let (is_known, is_asked) = (bundle.info.is_some(), bundle.info_asked != InfoAsked::Nobody);
        if is_known {
            self.tell_upload_only(id, false);
            self.begin(id);
        } else if !is_asked {
            self.ask_for_info(id, !planned.peers.is_empty());
        }
        self.dial(id, &planned.peers);
    }

    /// The info dictionary is known: the swarm is told what is in it and what the plan says, and downloads begin.
    fn begin(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        let Some(info) = bundle.info.clone() else { return };
        let layout = Arc::new(info.layout().clone());
        self.tell_swarm(SwarmEvent::Join { bundle: id, layout });
        if let Some(planned) = self.bundles.get_mut(&id).and_then(|bundle| bundle.planned.take()) {
            self.bring(id, &planned.packages);
            let CheckedBundle { complete, incomplete, peers, lease, second_hand, ask_again, .. } =
                planned.bundle;
            // Peers may be more than are counted: this host is only counted if it could be entered.
            let known = u32::try_from(peers.len()).unwrap_or(u32::MAX);
            let others = self.others(id, complete, incomplete).max(known);
            let lease = planned.has_leases.then(|| ranges(&lease));
            let is_second_hand = second_hand;
            self.tell_swarm(SwarmEvent::Guided { bundle: id, others, lease, is_second_hand, ask_again });
            if !planned.has_leases || self.network.port.is_none() {
                self.tell_swarm(SwarmEvent::Unguided { bundle: id });
            }
            if planned.is_stored {
                self.report_standing(id);
            }
        }
        self.link_bundle(id);
        self.start_downloads(id);
    }

    /// Whether the info dictionary is being read, and if so what packages of it are here will be shared.
    pub(super) fn will_share(&mut self, id: BundleId, packages: &[(PackageDigest, u32)]) -> bool {
        let planned = self.bundles.get_mut(&id).and_then(|bundle| bundle.planned.as_mut());
        planned.map(|planned| planned.packages.extend(packages)).is_some()
    }

    fn ask_for_info(&mut self, id: BundleId, has_peers: bool) {
        let spread = (INFO_PATIENCE_MAX - INFO_PATIENCE_MIN)
            .mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        if has_peers {
            bundle.info_asked = InfoAsked::Peers { until: Instant::now() + INFO_PATIENCE_MIN + spread };
            if let Some(link) = self.link_with_info(id) {
                self.info_offered(id, link, 0);
            }
        } else {
            self.ask_service_for_info(id);
        }
    }

    fn ask_service_for_info(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let Some(Planned { bundle: planned, torrents, .. }) = bundle.planned.clone() else { return };
        bundle.info_asked = InfoAsked::Service;
        let service = bundle.service.clone();
        let yard = self.yard.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let result = info(&yard.http, &torrents, &planned).await;
            let took = started.elapsed();
            let _ = yard.events.send(Task::Informed { bundle: id, service, result, took }.into()).await;
        });
    }

    /// When the service is asked for an info dictionary that no peer gave.
    pub(super) fn info_at(&self) -> Option<Instant> {
        let until = |bundle: &Bundle| match bundle.info_asked {
            InfoAsked::Peers { until } | InfoAsked::Peer { until, .. } => Some(until),
            InfoAsked::Nobody | InfoAsked::Service => None,
        };
        self.bundles.values().filter_map(until).min()
    }

    /// Peers had time enough.
    pub(super) fn ask_for_infos(&mut self) {
        let now = Instant::now();
        let is_due = |bundle: &Bundle| match bundle.info_asked {
            InfoAsked::Peers { until } | InfoAsked::Peer { until, .. } => until <= now,
            InfoAsked::Nobody | InfoAsked::Service => false,
        };
        let due: Vec<BundleId> =
            self.bundles.iter().filter(|(_, bundle)| is_due(bundle)).map(|(id, _)| *id).collect();
        for id in due {
            self.ask_service_for_info(id);
        }
    }

    /// A peer can give the info dictionary.
    pub(super) fn info_offered(&mut self, id: BundleId, link: LinkId, len: u32) {
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let (InfoAsked::Peers { .. }, Some(planned)) = (bundle.info_asked, &bundle.planned) else { return };
        let expected = planned.bundle.info_len;
        if len != 0 && len as usize != expected {
            return;
        }
        bundle.info_asked = InfoAsked::Peer { link, until: Instant::now() + INFO_FROM_PEER_MAX };
        self.network.say(link, Command::FetchInfo { len: expected });
    }

    /// What a peer gave as the info dictionary, whose hash is right.
    pub(super) fn info_came(&mut self, link: LinkId, result: Result<Bytes, InfoError>) {
        let Some(id) = self.network.bundle_of(link) else { return };
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        let is_awaited = matches!(bundle.info_asked, InfoAsked::Peer { link: asked, .. } if asked == link);
        let Some(planned) = bundle.planned.clone().filter(|_| is_awaited) else { return };
        match result {
            Ok(bytes) => {
                let yard = self.yard.clone();
                let from = self.network.name_of(link);
                tokio::spawn(async move {
                    let result = read_info(bytes, &planned.bundle, from).await;
                    let _ = yard.events.send(Task::InfoRead { bundle: id, result }.into()).await;
                });
            }
            Err(error) => {
                tracing::debug!("{}: no info dictionary: {error}", self.network.name_of(link));
                self.ask_service_for_info(id);
            }
        }
    }

    /// A peer is gone: if it was to give the info dictionary, the service is asked.
    pub(super) fn info_is_not_given(&mut self, id: BundleId, link: LinkId) {
        let asked = self.bundles.get(&id).map(|bundle| bundle.info_asked);
        if matches!(asked, Some(InfoAsked::Peer { link: asked, .. }) if asked == link) {
            self.ask_service_for_info(id);
        }
    }

    /// The info dictionary that a peer gave was read. The service may have been asked meanwhile.
    pub(super) fn info_read(&mut self, id: BundleId, result: Result<Info, PlanError>) {
        let Some(bundle) = self.bundles.get(&id).filter(|bundle| bundle.info.is_none()) else { return };
        match result {
            Ok(info) => self.informed_of(id, info),
            Err(error) => {
                tracing::debug!("{error}");
                if bundle.info_asked != InfoAsked::Service {
                    self.ask_service_for_info(id);
                }
            }
        }
    }

    fn informed_of(&mut self, id: BundleId, info: Info) {
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.info = Some(info.bundle);
            bundle.info_bytes = Some(info.bytes);
            bundle.info_asked = InfoAsked::Nobody;
            self.begin(id);
            self.leave_oldest();
        }
    }

    fn bundle_of(&mut self, info_hash: InfoHash) -> BundleId {
        if let Some(id) = self.bundle_ids.get(&info_hash) {
            return *id;
        }
        let id = BundleId(self.next_bundle);
        self.next_bundle += 1;
        self.bundle_ids.insert(info_hash, id);
        let bundle = Bundle {
            info_hash,
            info: None,
            info_bytes: None,
            joining: VecDeque::new(),
            downloads: Vec::new(),
            planned: None,
            info_asked: InfoAsked::Nobody,
            service: String::new(),
            announce: None,
            followed: None,
            site: Vec::new(),
            assembling: Assembling::default(),
            unchecked: BTreeSet::new(),
            offers: false,
            used: Instant::now(),
            sharing_time: Duration::ZERO,
            shared_until: Instant::now(),
        };
        self.bundles.insert(id, bundle);
        self.leave_oldest();
        id
    }

    fn add_web_seed(&mut self, url: &Url, order: u32, bundle: BundleId) {
        let known = self.web_seeds.iter().position(|seed| seed.url == *url);
        let index = known.unwrap_or_else(|| {
            let source = self.web_seeds.iter().map(|seed| seed.source.0 + 1).max().unwrap_or(0);
            let source = SourceId(source);
            let seed = WebSeed { url: url.clone(), source, last_failure: None, bundles: HashSet::new() };
            self.web_seeds.push(seed);
            self.web_seeds.len() - 1
        });
        let seed = &mut self.web_seeds[index];
        if seed.bundles.insert(bundle) {
            let event = SwarmEvent::Source { source: seed.source, bundles: vec![bundle], order };
            self.tell_swarm(event);
        }
    }

    /// The service gave a bundle's info dictionary, or did not.
    pub(super) fn informed(
        &mut self,
        id: BundleId,
        service: String,
        result: Result<Info, PlanError>,
        took: Duration,
    ) {
        if let Err(error) = &result {
            self.rest_if_slow(service, error, took);
        }
        // A peer may have been faster.
        let Some(bundle) = self.bundles.get_mut(&id).filter(|bundle| bundle.info.is_none()) else { return };
        match result {
            Ok(info) => self.informed_of(id, info),
            Err(error) => {
                bundle.info_asked = InfoAsked::Nobody;
                let joining = std::mem::take(&mut bundle.joining);
                let setback = Setback::no_plan(error.to_string());
                tracing::warn!("{} packages are left to the package manager: {error}", joining.len());
                for (digest, _) in joining {
                    self.fail(&digest, &setback);
                }
                self.leave_if_unused(id);
            }
        }
    }

    /// Begins what is waited for, one after the other: one that is given up at once must not be taken for the bundle's
    /// last.
    fn start_downloads(&mut self, id: BundleId) {
        while let Some((digest, file)) =
            self.bundles.get_mut(&id).and_then(|bundle| bundle.joining.pop_front())
        {
            if let Err(setback) = self.start_download(id, digest, file) {
                self.fail(&digest, &setback);
            }
        }
        self.leave_if_unused(id);
    }

    /// Forgets a bundle that nothing is wanted or given of.
    pub(super) fn leave_if_unused(&mut self, id: BundleId) {
        let is_unused = self
            .bundles
            .get(&id)
            .is_some_and(|it| it.downloads.is_empty() && it.joining.is_empty() && !it.offers);
        if is_unused {
            self.leave(id);
        }
    }

    /// There are too many bundles: those that are only given are left.
    fn leave_oldest(&mut self) {
        let info_len = |bundle: &Bundle| bundle.info_bytes.as_ref().map_or(0, Bytes::len);
        while self.bundles.len() > BUNDLES_MAX
            || self.bundles.values().map(info_len).sum::<usize>() > INFOS_LEN_MAX
        {
            let given = self.bundles.iter().filter(|(_, bundle)| bundle.is_only_given());
            let oldest = given.min_by_key(|(_, bundle)| bundle.used);
            let Some(id) = oldest.map(|(id, _)| *id) else { return };
            self.take_leave(&[id]);
            self.leave(id);
        }
    }

    /// Leaves a bundle, and the web seeds that have no other.
    pub(super) fn leave(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.remove(&id) else { return };
        self.bundle_ids.remove(&bundle.info_hash);
        self.drop_links_of(id);
        self.open.close_all_of(id);
        self.tell_swarm(SwarmEvent::Leave { bundle: id });
        let mut gone = Vec::new();
        self.web_seeds.retain_mut(|seed| {
            seed.bundles.remove(&id);
            if seed.bundles.is_empty() {
                gone.push(seed.source);
            }
            !seed.bundles.is_empty()
        });
        for source in gone {
            self.tell_swarm(SwarmEvent::SourceGone { source });
        }
    }
}
