//! What surrounds a swarm: sources that answer well or badly, and a book of what must have become of every file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::layout::Extent;
use pkgtorrent_protocol::{BundleLayout, PieceLen};
use pkgtorrent_swarm::{Action, BundleId, Event, FileIndex, GiveUpReason, Outcome, RequestId};
use pkgtorrent_swarm::{Settings, SourceId, Swarm};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

const PIECE: u64 = PieceLen::Small.bytes() as u64;

/// A bundle and a file.
pub(crate) type Key = (u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Fetching,
    Whole,
    GivenUp,
}

/// What must be true of a wanted file.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) stage: Stage,
    here: BTreeSet<u32>,
    mismatches: u32,
    /// Pieces of requests that were cancelled in an earlier life of this file do not count.
    life: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) source: u32,
    pub(crate) key: Key,
    pub(crate) first: u32,
    pub(crate) pieces: u32,
    /// How many pieces were brought, right or wrong.
    pub(crate) brought: u32,
    life: u64,
}

/// A swarm and all around it.
pub(crate) struct World {
    pub(crate) swarm: Swarm,
    pub(crate) now: Duration,
    connections: usize,
    layouts: Vec<Arc<BundleLayout>>,
    joined: BTreeSet<u32>,
    /// The bundles of each source.
    sources: BTreeMap<u32, BTreeSet<u32>>,
    pub(crate) files: BTreeMap<Key, Wanted>,
    pub(crate) under_way: BTreeMap<u64, Asked>,
    /// Requests that were cancelled, the latest last.
    cancelled: Vec<(u64, Asked)>,
    /// How often each piece was asked for.
    pub(crate) times_asked: BTreeMap<(u32, u32), u32>,
    pub(crate) requests: u64,
    lives: u64,
    pub(crate) random: Pcg64Mcg,
    /// Everything that was done.
    pub(crate) history: Vec<String>,
}

impl World {
    /// Bundles with files of these sizes, in pieces; the last piece of each file is a short one.
    pub(crate) fn new(bundles: &[Vec<u8>], connections: usize, seed: u64) -> Self {
        let layout = |files: &Vec<u8>| {
            let sizes = files.iter().map(|pieces| u64::from(*pieces).max(1) * PIECE - 7);
            Arc::new(BundleLayout::new(PieceLen::Small, sizes).expect("a layout"))
        };
        let range_len_min = 3 * PIECE;
        let settings = Settings { origin_connections: connections, range_len_min, ..Settings::default() };
        Self {
            swarm: Swarm::new(settings, seed),
            now: Duration::ZERO,
            connections,
            layouts: bundles.iter().map(layout).collect(),
            joined: BTreeSet::new(),
            sources: BTreeMap::new(),
            files: BTreeMap::new(),
            under_way: BTreeMap::new(),
            cancelled: Vec::new(),
            times_asked: BTreeMap::new(),
            requests: 0,
            lives: 0,
            random: Pcg64Mcg::new(u128::from(seed)),
            history: Vec::new(),
        }
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (u64::from(self.random.next_u32()) % bound.max(1) as u64) as usize
    }

    pub(crate) fn bundles(&self) -> u32 {
        self.layouts.len() as u32
    }

    /// All files of all bundles, wanted or not.
    pub(crate) fn all_files(&self) -> Vec<Key> {
        let files = |(bundle, layout): (usize, &Arc<BundleLayout>)| {
            let count = layout.extents().len() as u32;
            (0..count).map(move |file| (bundle as u32, file)).collect::<Vec<Key>>()
        };
        self.layouts.iter().enumerate().flat_map(files).collect()
    }

    fn extent(&self, (bundle, file): Key) -> Extent {
        self.layouts[bundle as usize].extents()[file as usize]
    }

    // --- What happens ---

    pub(crate) fn join(&mut self, bundle: u32) {
        self.joined.insert(bundle);
        let layout = self.layouts[bundle as usize].clone();
        self.tell(Event::Join { bundle: BundleId(bundle), layout });
    }

    pub(crate) fn leave(&mut self, bundle: u32) {
        self.joined.remove(&bundle);
        self.files.retain(|key, _| key.0 != bundle);
        for bundles in self.sources.values_mut() {
            bundles.remove(&bundle);
        }
        self.tell(Event::Leave { bundle: BundleId(bundle) });
        assert!(self.under_way.values().all(|asked| asked.key.0 != bundle), "a left bundle is asked for");
    }

    pub(crate) fn source(&mut self, source: u32, bundles: &[u32], order: u32) {
        self.sources.entry(source).or_default().extend(bundles);
        let bundles = bundles.iter().copied().map(BundleId).collect();
        self.tell(Event::Source { source: SourceId(source), bundles, order });
    }

    pub(crate) fn source_gone(&mut self, source: u32) {
        self.sources.remove(&source);
        self.tell(Event::SourceGone { source: SourceId(source) });
        assert!(
            self.under_way.values().all(|asked| asked.source != source),
            "a source that is gone is asked"
        );
    }

    pub(crate) fn want(&mut self, key: Key, have: &[u32]) {
        if !self.joined.contains(&key.0) {
            return;
        }
        let Extent { first_piece, pieces, .. } = self.extent(key);
        if self.files.get(&key).is_none_or(|file| file.stage == Stage::GivenUp) {
            self.lives += 1;
            let file =
                Wanted { stage: Stage::Fetching, here: BTreeSet::new(), mismatches: 0, life: self.lives };
            self.files.insert(key, file);
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.here.extend(have.iter().filter(|piece| (first_piece..first_piece + pieces).contains(piece)));
        }
        let (bundle, file) = (BundleId(key.0), FileIndex(key.1));
        self.tell(Event::Want { bundle, file, have: have.to_vec() });
    }

    pub(crate) fn unwant(&mut self, key: Key) {
        self.files.remove(&key);
        self.tell(Event::Unwant { bundle: BundleId(key.0), file: FileIndex(key.1) });
        assert!(self.under_way.values().all(|asked| asked.key != key), "an unwanted file is asked for");
    }

    /// The next piece of a request comes.
    pub(crate) fn bring(&mut self, request: u64, is_right: bool) {
        let Some(asked) = self.under_way.get_mut(&request) else { return };
        if asked.brought == asked.pieces {
            return;
        }
        let piece = asked.first + asked.brought;
        asked.brought += 1;
        let (request, key) = (RequestId(request), asked.key);
        if is_right {
            self.files.get_mut(&key).expect("a wanted file").here.insert(piece);
            self.tell(Event::Verified { request, piece });
        } else {
            self.tell(Event::Corrupt { request, piece });
        }
    }

    /// A request ends. It is complete only if everything came.
    pub(crate) fn end(&mut self, request: u64, outcome: Outcome) {
        let Some(asked) = self.under_way.get(&request) else { return };
        let is_complete = matches!(outcome, Outcome::Complete | Outcome::NoRanges);
        if is_complete && asked.brought < asked.pieces {
            return;
        }
        self.under_way.remove(&request);
        self.tell(Event::Ended { request: RequestId(request), outcome });
    }

    /// A piece of a request that was cancelled a moment ago comes out of the hasher.
    pub(crate) fn bring_late(&mut self, which: usize, piece: u32, is_right: bool) {
        // The swarm remembers some dozens of them.
        let Some((request, asked)) = self.cancelled.iter().rev().nth(which % 20).cloned() else { return };
        let piece = asked.first + piece % asked.pieces;
        let request = RequestId(request);
        if !is_right {
            return self.tell(Event::Corrupt { request, piece });
        }
        let file = self.files.get_mut(&asked.key);
        if let Some(file) = file.filter(|file| file.life == asked.life && file.stage == Stage::Fetching) {
            file.here.insert(piece);
        }
        self.tell(Event::Verified { request, piece });
    }

    pub(crate) fn digest_mismatch(&mut self, key: Key) {
        self.lives += 1;
        if let Some(file) = self.files.get_mut(&key).filter(|file| file.stage == Stage::Whole) {
            file.mismatches += 1;
            file.life = self.lives;
            if file.mismatches == 1 {
                file.stage = Stage::Fetching;
                file.here.clear();
            }
        }
        self.tell(Event::DigestMismatch { bundle: BundleId(key.0), file: FileIndex(key.1) });
    }

    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Tick);
    }

    // --- What must follow ---

    pub(crate) fn tell(&mut self, event: Event) {
        let said = match &event {
            Event::Join { bundle, .. } => format!("Join {bundle:?}"),
            event => format!("{event:?}"),
        };
        let actions = self.swarm.handle(event, self.now);
        self.history.push(format!("{:?} {said} -> {actions:?}, wake {:?}", self.now, self.swarm.wake_at()));
        for action in actions {
            self.follow(&action);
        }
        self.swarm.check_invariants();
        assert!(self.swarm.wake_at().is_none_or(|at| at > self.now), "to be woken in the past");
        for (key, file) in &self.files {
            let Extent { first_piece, pieces, size, .. } = self.extent(*key);
            let last = first_piece + pieces - 1;
            let short = if file.here.contains(&last) { u64::from(pieces) * PIECE - size } else { 0 };
            let progress = self.swarm.progress(BundleId(key.0), FileIndex(key.1));
            assert_eq!(progress, Some(file.here.len() as u64 * PIECE - short), "{key:?}");
            let is_whole = file.here.len() as u32 == pieces;
            assert!(file.stage != Stage::Fetching || !is_whole, "{key:?} was not reported as whole");
        }
    }

    fn follow(&mut self, action: &Action) {
        match *action {
            Action::Request { request, source, bundle, file, first_piece, pieces } => {
                let key = (bundle.0, file.0);
                let asked = Asked { source: source.0, key, first: first_piece, pieces, brought: 0, life: 0 };
                self.follow_request(request.0, asked);
            }
            Action::Cancel { request } => {
                let asked = self.under_way.remove(&request.0).expect("only what is under way is cancelled");
                self.cancelled.push((request.0, asked));
            }
            Action::Whole { bundle, file } => {
                let key = (bundle.0, file.0);
                let pieces = self.extent(key).pieces as usize;
                let file = self.files.get_mut(&key).expect("only what is wanted is whole");
                assert_eq!(file.stage, Stage::Fetching, "{key:?} is whole once");
                assert_eq!(file.here.len(), pieces, "{key:?} is whole");
                file.stage = Stage::Whole;
            }

            Action::GiveUp { bundle, file, reason } => {
                let key = (bundle.0, file.0);
                assert!(self.under_way.values().all(|asked| asked.key != key), "{key:?} is under way");
                let file = self.files.get_mut(&key).expect("only what is wanted is given up");
                let is_mismatch = reason == GiveUpReason::DigestMismatch;
                let expected =
                    if is_mismatch { (Stage::Whole, 2) } else { (Stage::Fetching, file.mismatches) };
                assert_eq!((file.stage, file.mismatches), expected, "{key:?}: {reason}");
                file.stage = Stage::GivenUp;
            }
            ref other => panic!("{other:?}, although there are no peers here"),
        }
    }

    fn follow_request(&mut self, request: u64, mut asked: Asked) {
        let file = self.files.get(&asked.key).expect("only what is wanted is asked for");
        assert_eq!(file.stage, Stage::Fetching);
        asked.life = file.life;
        assert!(self.sources[&asked.source].contains(&asked.key.0), "the source does not serve the bundle");
        let Extent { first_piece, pieces, .. } = self.extent(asked.key);
        let (asked_for, all) = (asked.first..asked.first + asked.pieces, first_piece..first_piece + pieces);
        assert!(!asked_for.is_empty() && asked_for.start >= all.start && asked_for.end <= all.end);
        let is_new = |piece: u32| {
            let is_of = |other: &Asked| (other.first..other.first + other.pieces).contains(&piece);
            let is_under_way = self.under_way.values().any(|other| other.key == asked.key && is_of(other));
            !is_under_way && !file.here.contains(&piece)
        };
        // Only who cannot send a part is asked for what is here already, and for the whole file then.
        let news = asked_for.clone().filter(|piece| is_new(*piece)).count() as u32;
        assert!(news == asked.pieces || (asked_for == all && news > 0), "asked for without need");
        for piece in asked_for {
            *self.times_asked.entry((asked.key.0, piece)).or_default() += 1;
        }
        assert!(self.under_way.insert(request, asked).is_none(), "a request's number is given once");
        assert!(self.under_way.len() <= self.connections, "more requests than connections");
        self.requests += 1;
    }
}
