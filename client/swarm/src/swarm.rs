//! The owner of all state: takes the events apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pkgtorrent_protocol::wire::Bitfield;
use rand_pcg::Pcg64Mcg;

use crate::action::{Action, GiveUpReason, Wish};
use crate::crowd::Crowd;
use crate::event::Event;
use crate::file::{File, Stage};
use crate::files::{FileKey, Files};
use crate::identity::{BundleId, FileIndex, LinkId, SourceId};
use crate::journal::{Happening, Journal, Note};
use crate::link::{Link, Rate};
use crate::piece::{Piece, Pieces};
use crate::request::Requests;
use crate::settings::Settings;
use crate::sources::Sources;
use crate::uploads::Uploads;

/// How often the swarm looks at what only time changes while something is under way between it and its peers.
const BEAT: Duration = Duration::from_millis(250);

/// All bundles, files, sources, peers and requests of one host.
pub struct Swarm {
    pub(crate) settings: Settings,
    pub(crate) random: Pcg64Mcg,
    /// The time of the latest event.
    pub(crate) now: Duration,
    pub(crate) crowds: BTreeMap<BundleId, Crowd>,
    pub(crate) files: Files,
    pub(crate) sources: Sources,
    pub(crate) requests: Requests,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) uploads: Uploads,
    /// The links that may find something to ask for.
    pub(crate) hungry: BTreeSet<LinkId>,
    /// The link that had the last turn.
    pub(crate) fed_last: LinkId,
    /// Peers were asked for as much as this host's line takes.
    pub(crate) is_line_full: bool,
    /// What came lately, from peers and the origin.
    pub(crate) received: Rate,
    /// The length of all pieces that are put together from peers' blocks.
    pub(crate) assembling_len: u64,
    /// Something happened that may let the origin be asked for more.
    pub(crate) is_origin_due: bool,
    /// What one connection to the origin brought lately, in bytes a second.
    pub(crate) origin_rate: Option<f64>,
    /// When the origin may be asked for what it may not be asked for now.
    pub(crate) origin_at: Option<Duration>,
    beat_at: Duration,
    wake_at: Option<Duration>,
    journal: Journal,
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
            crowds: BTreeMap::new(),
            files: Files::default(),
            sources: Sources::default(),
            requests: Requests::default(),
            links: BTreeMap::new(),
            uploads: Uploads::default(),
            hungry: BTreeSet::new(),
            fed_last: LinkId(0),
            is_line_full: false,
            received: Rate::new(Duration::ZERO),
            assembling_len: 0,
            is_origin_due: false,
            origin_rate: None,
            origin_at: None,
            beat_at: Duration::ZERO,
            wake_at: None,
            journal: Journal::default(),
            actions: Vec::new(),
        }
    }

    /// Takes what happened and says what is to be done. `now` is the time since any start, and never runs back.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Join { bundle, layout } => {
                self.crowds.entry(bundle).or_insert_with(|| Crowd::new(layout, now));
            }
            Event::Want { bundle, file, have } => self.want(FileKey { bundle, file }, &have),
            Event::Unwant { bundle, file } => self.unwant(FileKey { bundle, file }),
            Event::Offer { bundle, file } => self.offer(FileKey { bundle, file }),
            Event::Withdraw { bundle, file } => self.withdraw(FileKey { bundle, file }),
            Event::DigestMismatch { bundle, file } => self.digest_mismatch(FileKey { bundle, file }),
            Event::Leave { bundle } => self.leave(bundle),
            Event::Tick => self.is_origin_due = true,
            event => self.handle_others(event),
        }
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// What web seeds, peers and the tracker do.
    fn handle_others(&mut self, event: Event) {
        match event {
            Event::Source { source, bundles, order } => {
                self.sources.enter(source, bundles, order);
                self.is_origin_due = true;
            }
            Event::SourceGone { source } => self.source_gone(source),
            Event::Verified { request, piece } => self.verified(request, piece),
            Event::Corrupt { request, piece } => self.corrupt(request, piece),
            Event::Ended { request, outcome } => self.ended(request, outcome),
            Event::Guided { bundle, others, lease, is_second_hand, ask_again } => {
                self.guided(bundle, others, lease, is_second_hand, ask_again);
            }
            Event::Unguided { bundle } => self.unguided(bundle),
            Event::Linked { link, bundle } => self.linked(link, bundle),
            Event::Foreign { link } => self.foreign(link),
            Event::UploadOnly { link, is_upload_only } => self.upload_only(link, is_upload_only),
            Event::Far { link } => self.far(link),
            Event::Has { link, pieces } => self.has(link, &pieces),
            Event::Have { link, pieces } => self.have(link, pieces),
            Event::Choked { link } => self.choked(link),
            Event::Unchoked { link } => self.unchoked(link),
            Event::Asked { link, block } => self.asked(link, block),
            Event::AskCancelled { link, block } => self.ask_cancelled(link, block),
            Event::Sent { link, .. } => self.sent(link),
            Event::Arrived { link, block } => self.arrived(link, block),
            Event::Rejected { link, block } => self.rejected(link, block),
            Event::PieceVerified { bundle, piece, wrong } => self.piece_verified(bundle, piece, &wrong),
            Event::PieceCorrupt { bundle, piece } => self.piece_corrupt(bundle, piece),
            Event::LinkGone { link } => self.link_gone(link),
            // The others are about bundles and files.
            _ => {}
        }
    }

    /// Does what has become possible or due.
    fn settle(&mut self) {
        if self.now >= self.beat_at && self.is_beating() {
            self.beat_at = self.now + BEAT;
            self.look_after_crowds();
            self.look_after_links();
            self.give_up_hopeless_files();
            self.send();
        }
        let is_waited_for = self.origin_at.is_some_and(|at| at <= self.now);
        if std::mem::take(&mut self.is_origin_due) || is_waited_for {
            self.ask_origin();
        }
        self.feed();
        self.wake_at = match (self.origin_at, self.is_beating().then_some(self.beat_at)) {
            (Some(origin), Some(beat)) => Some(origin.min(beat)),
            (origin, beat) => origin.or(beat),
        };
    }

    /// Whether anything goes on with peers that time could change.
    fn is_beating(&self) -> bool {
        !self.uploads.is_idle()
            || self.crowds.values().any(|crowd| !crowd.needed.is_empty() && !crowd.is_alone())
    }

    /// When to say [`Event::Tick`] if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.wake_at
    }

    /// How many bytes of a wanted file are here and verified; none of a file that is not wanted.
    #[must_use]
    pub fn progress(&self, bundle: BundleId, file: FileIndex) -> Option<u64> {
        self.files.get(FileKey { bundle, file }).map(|file| file.pieces.here_len())
    }

    /// The latest decisions, the oldest first.
    pub fn notes(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.journal.notes()
    }

    /// How many decisions there were, those included that are forgotten.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.journal.noted()
    }

    /// Whether a peer was asked for something that it has not brought.
    #[must_use]
    pub fn owes(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| !link.asked.is_empty())
    }

    /// The pieces of a bundle that are given to peers.
    #[must_use]
    pub fn served(&self, bundle: BundleId) -> Option<&Bitfield> {
        Some(&self.crowds.get(&bundle)?.served)
    }

    /// What to tell a tracker that knows nothing of this host in a bundle.
    #[must_use]
    pub fn standing(&self, bundle: BundleId) -> Option<Wish> {
        self.crowds.get(&bundle).map(Crowd::standing)
    }

    /// How many bytes of a bundle are wanted and not here, padding included.
    #[must_use]
    pub fn needed_len(&self, bundle: BundleId) -> u64 {
        self.crowds.get(&bundle).map_or(0, Crowd::needed_len)
    }

    /// How many connections to peers a bundle has.
    #[must_use]
    pub fn links(&self, bundle: BundleId) -> usize {
        self.crowds.get(&bundle).map_or(0, |crowd| crowd.links.len())
    }

    /// Whether something of a bundle is not asked for on purpose: others are to bring it.
    #[must_use]
    pub fn is_holding_off(&self, bundle: BundleId) -> bool {
        self.crowds.get(&bundle).is_some_and(|crowd| {
            !crowd.needed.is_empty() && !crowd.is_alone() && !crowd.rarity.absent().is_empty()
        })
    }

    /// Whether this is so because of the mirror's lid, and there is hope: something came lately.
    #[must_use]
    pub fn is_held_back(&self, bundle: BundleId) -> bool {
        self.is_holding_off(bundle)
            && self.crowds.get(&bundle).is_some_and(|crowd| crowd.is_moving_under_lid(self.now))
    }

    pub(crate) fn note(&mut self, what: Happening) {
        self.journal.note(self.now, what);
    }

    fn want(&mut self, key: FileKey, have: &[u32]) {
        let now = self.now;
        let Some(crowd) = self.crowds.get_mut(&key.bundle) else {
            return self.refuse(key);
        };
        let Some(extent) = crowd.layout.extents().get(key.file.0 as usize).copied() else {
            return self.refuse(key);
        };
        if crowd.needed.is_empty() {
            crowd.guide.lives(now);
            crowd.guide.brought = now;
        }
        crowd.offered.remove(&key.file);
        let is_under_way = self.files.get(key).is_some_and(|file| !file.is_given_up());
        if !is_under_way {
            self.files.insert(key, Pieces::new(extent, crowd.layout.piece_len()));
            self.refresh(key, extent.first_piece..extent.first_piece + extent.pieces);
        }
        self.change(key, |file| {
            for piece in have {
                file.pieces.verify(*piece);
            }
        });
        self.complete_if_whole(key);
        self.give_up_if_hopeless(key);
        self.feed_crowd(key.bundle);
        self.is_origin_due = true;
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
        self.refresh_file(key);
        self.is_origin_due = true;
    }

    fn offer(&mut self, key: FileKey) {
        let Some(crowd) = self.crowds.get_mut(&key.bundle) else { return };
        if crowd.pieces_of(key.file).is_empty() {
            return;
        }
        crowd.offered.insert(key.file);
        self.unwant(key);
        self.part_idle_links(key.bundle);
    }

    fn withdraw(&mut self, key: FileKey) {
        if let Some(crowd) = self.crowds.get_mut(&key.bundle) {
            crowd.offered.remove(&key.file);
            self.refresh_file(key);
        }
    }

    fn leave(&mut self, bundle: BundleId) {
        for key in self.files.of_bundle(bundle) {
            self.unwant(key);
        }
        let links: Vec<LinkId> =
            self.crowds.get(&bundle).map_or_else(Vec::new, |crowd| crowd.links.iter().copied().collect());
        for link in links {
            self.link_gone(link);
        }
        self.sources.forget_bundle(bundle);
        self.crowds.remove(&bundle);
    }

    fn source_gone(&mut self, source: SourceId) {
        if self.sources.remove(source).is_none() {
            return;
        }
        self.cancel_where(|request| request.source == source);
        for key in self.files.keys() {
            self.change(key, |file| file.forget_source(source));
        }
        self.give_up_hopeless_files();
        self.is_origin_due = true;
    }

    /// Changes a file, and all that follows from its pieces.
    pub(crate) fn change<R>(&mut self, key: FileKey, change: impl FnOnce(&mut File) -> R) -> Option<R> {
        let (result, turned) = self.files.change(key, change)?;
        self.refresh(key, turned);
        Some(result)
    }

    fn refresh_file(&mut self, key: FileKey) {
        if let Some(crowd) = self.crowds.get(&key.bundle) {
            let pieces = crowd.pieces_of(key.file);
            self.refresh(key, pieces);
        }
    }

    /// What the bundle and its links know of these pieces of a file is what the file says.
    fn refresh(&mut self, key: FileKey, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            self.refresh_piece(key, piece);
        }
    }

    fn refresh_piece(&mut self, key: FileKey, piece: u32) {
        let Some(crowd) = self.crowds.get_mut(&key.bundle) else { return };
        let file = self.files.get(key);
        let state = file.and_then(|file| file.pieces.get(piece));
        let is_fetching = file.is_some_and(|file| file.stage == Stage::Fetching);
        // After a digest that did not match, everything comes from the origin.
        let is_for_peers = is_fetching && file.is_some_and(|file| !file.is_mismatched);
        let is_needed = is_fetching && state.is_some_and(|state| state != Piece::Here);
        let is_served = state == Some(Piece::Here) || crowd.offered.contains(&key.file);
        if is_needed != crowd.needed.get(piece) {
            if is_needed {
                crowd.needed.set(piece)
            } else {
                crowd.needed.clear(piece)
            };
            for id in &crowd.links {
                if let Some(link) = self.links.get_mut(id).filter(|link| link.has.get(piece)) {
                    if is_needed {
                        link.useful += 1;
                    } else {
                        link.useful -= 1;
                    };
                }
            }
        }
        self.is_origin_due |= is_needed && state == Some(Piece::Missing);
        let is_assembled = crowd.assemblies.contains_key(&piece);
        if is_for_peers && state == Some(Piece::Missing) && !is_assembled {
            crowd.rarity.insert(piece, &mut self.random);
        } else {
            crowd.rarity.remove(piece);
        }
        if is_served && crowd.served.set(piece) {
            for id in &crowd.links {
                if self.links.get(id).is_some_and(|link| !link.has.get(piece)) {
                    self.actions.push(Action::Have { link: *id, piece });
                }
            }
        } else if !is_served {
            crowd.served.clear(piece);
        }
        if !is_needed && is_assembled {
            self.drop_assembly(key.bundle, piece, true);
            self.disassemble(key.bundle, piece);
        } else if is_assembled && state == Some(Piece::Missing) {
            // The origin did not bring it; peers are asked for it already.
            self.change(key, |file| file.pieces.assemble(piece));
        }
    }

    fn part_idle_links(&mut self, bundle: BundleId) {
        let links: Vec<LinkId> =
            self.crowds.get(&bundle).map_or_else(Vec::new, |crowd| crowd.links.iter().copied().collect());
        for link in links {
            self.part_if_idle(link);
        }
        self.feed_crowd(bundle);
    }
}
