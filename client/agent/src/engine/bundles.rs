//! Bundles that packages are wanted from: reading what is in them, and where.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::{InfoHash, PackageDigest, Sha256Digest};
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex, SourceId};
use reqwest::Url;

use super::event::Task;
use super::{Engine, WantedState};
use crate::origin::{CheckedBundle, CheckedPlan, PlanError, info};

/// A bundle that packages are downloaded from.
#[derive(Debug)]
pub(super) struct Bundle {
    info_hash: InfoHash,
    /// `None` until it was read.
    pub(super) info: Option<Arc<BundleInfo>>,
    /// What is not begun yet, mostly because the info dictionary is not here: digests and files of it.
    joining: VecDeque<(PackageDigest, u32)>,
    /// Which package each download of this bundle brings.
    pub(super) downloads: Vec<(FileIndex, Sha256Digest)>,
}

/// A base URL that packages are read from.
#[derive(Debug)]
pub(super) struct WebSeed {
    pub(super) url: Url,
    pub(super) source: SourceId,
    bundles: HashSet<BundleId>,
}

impl Engine {
    /// These packages are in a bundle of the plan. Its info dictionary is read unless it is known.
    pub(super) fn join(
        &mut self,
        plan: &CheckedPlan,
        planned: &CheckedBundle,
        wanted: Vec<(PackageDigest, u32)>,
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
        let is_first = bundle.joining.is_empty();
        bundle.joining.extend(wanted);
        if bundle.info.is_some() {
            self.start_downloads(id);
        } else if is_first {
            let (yard, service) = (self.yard.clone(), service.to_owned());
            let (torrents, planned) = (plan.torrents.clone(), planned.clone());
            tokio::spawn(async move {
                let started = Instant::now();
                let result = info(&yard.http, &torrents, &planned).await;
                let took = started.elapsed();
                let _ = yard.events.send(Task::Informed { bundle: id, service, result, took }.into()).await;
            });
        }
    }

    fn bundle_of(&mut self, info_hash: InfoHash) -> BundleId {
        if let Some(id) = self.bundle_ids.get(&info_hash) {
            return *id;
        }
        let id = BundleId(self.next_bundle);
        self.next_bundle += 1;
        self.bundle_ids.insert(info_hash, id);
        let bundle = Bundle { info_hash, info: None, joining: VecDeque::new(), downloads: Vec::new() };
        self.bundles.insert(id, bundle);
        id
    }

    fn add_web_seed(&mut self, url: &Url, order: u32, bundle: BundleId) {
        let known = self.web_seeds.iter().position(|seed| seed.url == *url);
        let index = known.unwrap_or_else(|| {
            let source = self.web_seeds.iter().map(|seed| seed.source.0 + 1).max().unwrap_or(0);
            let seed = WebSeed { url: url.clone(), source: SourceId(source), bundles: HashSet::new() };
            self.web_seeds.push(seed);
            self.web_seeds.len() - 1
        });
        let seed = &mut self.web_seeds[index];
        if seed.bundles.insert(bundle) {
            let event = SwarmEvent::Source { source: seed.source, bundles: vec![bundle], order };
            self.tell_swarm(event);
        }
    }

    /// A bundle's info dictionary is here, or is not.
    pub(super) fn informed(
        &mut self,
        id: BundleId,
        service: String,
        result: Result<Arc<BundleInfo>, PlanError>,
        took: Duration,
    ) {
        if let Err(error) = &result {
            self.rest_if_slow(service, error, took);
        }
        let Some(bundle) = self.bundles.get_mut(&id) else { return };
        match result {
            Ok(info) => {
                let layout = Arc::new(info.layout().clone());
                bundle.info = Some(info);
                self.tell_swarm(SwarmEvent::Join { bundle: id, layout });
                self.start_downloads(id);
            }
            Err(error) => {
                let joining = std::mem::take(&mut bundle.joining);
                let reason = error.to_string();
                tracing::warn!("{} packages are left to the package manager: {reason}", joining.len());
                for (digest, _) in joining {
                    self.fail(&digest, &reason);
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
            if let Err(reason) = self.start_download(id, digest, file) {
                self.fail(&digest, &reason);
            }
        }
        self.leave_if_unused(id);
    }

    /// Forgets a bundle that nothing is wanted of, and the web seeds that have no other.
    pub(super) fn leave_if_unused(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        if !bundle.downloads.is_empty() || !bundle.joining.is_empty() {
            return;
        }
        self.bundle_ids.remove(&bundle.info_hash);
        self.bundles.remove(&id);
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
