//! The owner of all state: takes the events apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::BundleLayout;
use rand_pcg::Pcg64Mcg;

use crate::action::{Action, GiveUpReason};
use crate::event::Event;
use crate::files::{FileKey, Files};
use crate::identity::{BundleId, FileIndex, SourceId};
use crate::piece::Pieces;
use crate::request::Requests;
use crate::settings::Settings;
use crate::sources::Sources;

/// All bundles, files, sources and requests of one host.
pub struct Swarm {
    pub(crate) settings: Settings,
    pub(crate) random: Pcg64Mcg,
    /// The time of the latest event.
    pub(crate) now: Duration,
    pub(crate) bundles: BTreeMap<BundleId, Arc<BundleLayout>>,
    pub(crate) files: Files,
    pub(crate) sources: Sources,
    pub(crate) requests: Requests,
    pub(crate) wake_at: Option<Duration>,
    /// What this event leads to.
    pub(crate) actions: Vec<Action>,
}

impl Swarm {
    /// A swarm that knows nothing yet. The same seed and the same events give the same actions.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            random: Pcg64Mcg::new(u128::from(seed)),
            now: Duration::ZERO,
            bundles: BTreeMap::new(),
            files: Files::default(),
            sources: Sources::default(),
            requests: Requests::default(),
            wake_at: None,
            actions: Vec::new(),
        }
    }

    /// Takes what happened and says what is to be done. `now` is the time since any start, and never runs back.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Join { bundle, layout } => drop(self.bundles.entry(bundle).or_insert(layout)),
            Event::Want { bundle, file, have } => self.want(FileKey { bundle, file }, &have),
            Event::Unwant { bundle, file } => self.unwant(FileKey { bundle, file }),
            Event::Source { source, bundles, order } => self.sources.enter(source, bundles, order),
            Event::SourceGone { source } => self.source_gone(source),
            Event::Verified { request, piece } => self.verified(request, piece),
            Event::Corrupt { request, piece } => self.corrupt(request, piece),
            Event::Ended { request, outcome } => self.ended(request, outcome),
            Event::DigestMismatch { bundle, file } => self.digest_mismatch(FileKey { bundle, file }),
            Event::Leave { bundle } => self.leave(bundle),
            Event::Tick => {}
        }
        self.ask();
        std::mem::take(&mut self.actions)
    }

    /// When to say [`Event::Tick`] if nothing happens before: the earliest end of a back-off that something waits for.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    /// How many bytes of a wanted file are here and verified; none of a file that is not wanted.
    #[must_use]
    pub fn progress(&self, bundle: BundleId, file: FileIndex) -> Option<u64> {
        self.files.get(FileKey { bundle, file }).map(|file| file.pieces.here_len())
    }

    fn want(&mut self, key: FileKey, have: &[u32]) {
        let Some(layout) = self.bundles.get(&key.bundle) else {
            return self.refuse(key);
        };
        let Some(extent) = layout.extents().get(key.file.0 as usize) else {
            return self.refuse(key);
        };
        let is_under_way = self.files.get(key).is_some_and(|file| !file.is_given_up());
        if !is_under_way {
            self.files.insert(key, Pieces::new(*extent, layout.piece_len()));
        }
        self.files.change(key, |file| {
            for piece in have {
                file.pieces.verify(*piece);
            }
        });
        self.complete_if_whole(key);
        self.give_up_if_hopeless(key);
    }

    /// A file that the bundle does not have is no reason to let anybody wait.
    fn refuse(&mut self, key: FileKey) {
        let FileKey { bundle, file } = key;
        self.actions.push(Action::GiveUp { bundle, file, reason: GiveUpReason::NoSource { last: None } });
    }

    fn unwant(&mut self, key: FileKey) {
        self.cancel_where(|request| request.file == key);
        self.requests.forget_cancelled(key);
        self.files.remove(key);
    }

    fn leave(&mut self, bundle: BundleId) {
        for key in self.files.of_bundle(bundle) {
            self.unwant(key);
        }
        self.sources.forget_bundle(bundle);
        self.bundles.remove(&bundle);
    }

    fn source_gone(&mut self, source: SourceId) {
        if self.sources.remove(source).is_none() {
            return;
        }
        self.cancel_where(|request| request.source == source);
        for key in self.files.keys() {
            self.files.change(key, |file| file.forget_source(source));
        }
        self.give_up_hopeless_files();
    }
}
