//! All sources, and which of them to ask for a file.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::Failure;
use crate::file::File;
use crate::files::FileKey;
use crate::identity::{BundleId, SourceId};
use crate::source::{Health, Source};

/// Where a file can be had at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// From this source.
    Ask(SourceId),
    /// From nobody before this time.
    Wait { until: Duration },
    /// From nobody before a request for this file is over.
    AfterRequest,
    /// From nobody at all.
    Nobody,
}

/// All sources.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    sources: BTreeMap<SourceId, Source>,
}

impl Sources {
    pub(crate) fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.get_mut(&id)
    }

    /// Enters a source, or adds to what is known of it.
    pub(crate) fn enter(&mut self, id: SourceId, bundles: Vec<BundleId>, order: u32) {
        let source = self.sources.entry(id).or_insert_with(|| Source::new(order));
        source.order = order;
        source.bundles.extend(bundles);
    }

    pub(crate) fn remove(&mut self, id: SourceId) -> Option<Source> {
        self.sources.remove(&id)
    }

    /// Nobody serves this bundle any more.
    pub(crate) fn forget_bundle(&mut self, bundle: BundleId) {
        for source in self.sources.values_mut() {
            source.bundles.remove(&bundle);
        }
    }

    /// Which source to ask for a file: the one of lowest order among those that could have it and may be asked.
    pub(crate) fn choose(&self, key: FileKey, file: &File, now: Duration) -> Choice {
        // Waiting for a source that was not there when the digest did not match is better than asking the others.
        let is_any_trusted = self.possible(key, file, now).any(|(id, _, _)| !file.distrusts(id));
        let mut best: Option<(u32, SourceId)> = None;
        let mut wait: Option<Duration> = None;
        let mut is_possible = false;
        for (id, source, health) in self.possible(key, file, now) {
            if is_any_trusted && file.distrusts(id) {
                continue;
            }
            is_possible = true;
            match health {
                Health::BackingOff { until } | Health::Dead { until } => {
                    wait = Some(wait.map_or(until, |earliest| earliest.min(until)));
                }
                // It would send again what other requests are to bring.
                Health::Ready if source.sends_whole_files && file.requests > 0 => {}
                Health::Ready => {
                    let candidate = (source.order, id);
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
            }
        }
        match (best, wait) {
            (Some((_, id)), _) => Choice::Ask(id),
            (None, Some(until)) => Choice::Wait { until },
            (None, None) if is_possible => Choice::AfterRequest,
            (None, None) => Choice::Nobody,
        }
    }

    /// The sources that could have a file and are not dead.
    fn possible(
        &self,
        key: FileKey,
        file: &File,
        now: Duration,
    ) -> impl Iterator<Item = (SourceId, &Source, Health)> {
        self.of_bundle(key.bundle)
            .filter(|(id, _)| file.may_be_at(*id))
            .map(move |(id, source)| (id, source, source.health(now)))
            .filter(|(_, _, health)| !matches!(health, Health::Dead { .. }))
    }

    fn of_bundle(&self, bundle: BundleId) -> impl Iterator<Item = (SourceId, &Source)> {
        self.sources
            .iter()
            .filter(move |(_, source)| source.bundles.contains(&bundle))
            .map(|(id, source)| (*id, source))
    }

    /// What went wrong last with the preferred of a bundle's sources.
    pub(crate) fn last_failure(&self, bundle: BundleId) -> Option<Failure> {
        let failed = self
            .of_bundle(bundle)
            .filter_map(|(id, source)| Some(((source.order, id), source.last_failure?)));
        failed.min_by_key(|(preference, _)| *preference).map(|(_, failure)| failure)
    }
}
