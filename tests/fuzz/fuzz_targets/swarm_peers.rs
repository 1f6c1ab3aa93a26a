//! Whatever peers, tracker, origin and hashing say to a swarm, in whatever order, it agrees with itself, asks nobody for
//! what he cannot have or must not be asked, and gives nobody what is not verified; and when everybody has become honest,
//! every file is here or given up.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::wire::{BLOCK_LEN, Bitfield, Block};
use pkgtorrent_protocol::{BundleLayout, PieceLen};
use pkgtorrent_swarm::{Action, BundleId, Event, FileIndex, LinkId, Outcome, RequestId};
use pkgtorrent_swarm::{Settings, SourceId, Swarm};

/// The one bundle: files of less than a block, of less than a piece, of one, and of several.
const BUNDLE: BundleId = BundleId(0);
const SIZES: [u64; 5] = [5, 20_000, 32_768, 100_000, 200_000];

const SOURCE: SourceId = SourceId(0);

/// Few enough that they meet in the same blocks.
const LINKS_MAX: usize = 5;

/// Enough for every block of every file to be asked for again and again.
const ANSWERS_MAX: usize = 20_000;

const OUTCOMES: [Outcome; 5] =
    [Outcome::Complete, Outcome::NoRanges, Outcome::Missing, Outcome::Unreachable, Outcome::Broken];

/// The input, of which each decision takes a byte; zeros when there are no more.
struct Decisions<'a>(&'a [u8]);

impl Decisions<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    /// One of these, or none if there are none.
    fn of<T: Copy>(&mut self, among: impl IntoIterator<Item = T>) -> Option<T> {
        let among: Vec<T> = among.into_iter().collect();
        let at = usize::from(self.byte());
        among.get(at % among.len().max(1)).copied()
    }
}

/// What is known of a link without asking the swarm.
#[derive(Default)]
struct Peer {
    has: BTreeSet<u32>,
    is_unchoked: bool,
    /// What it was asked for and has not sent.
    owes: BTreeSet<Block>,
    /// What was cancelled, and may come nevertheless.
    cancelled: BTreeSet<Block>,
    /// What it asked for and was not answered.
    wants: Vec<Block>,
    /// What is on its way to it.
    sending: Vec<Block>,
}

struct World {
    swarm: Swarm,
    now: Duration,
    layout: Arc<BundleLayout>,
    peers: BTreeMap<LinkId, Peer>,
    next_link: u64,
    /// The block that the swarm is being told of.
    in_hand: Option<Block>,
    /// The blocks that were kept of pieces that are put together.
    kept: BTreeMap<u32, BTreeSet<Block>>,
    /// Pieces that are being checked.
    checking: BTreeSet<u32>,
    /// Requests to the origin, and which pieces they are for.
    requests: BTreeMap<RequestId, Vec<u32>>,
    is_tracker_asked: bool,
    wanted: BTreeSet<FileIndex>,
    /// Of those, the ones that are not waited for any more.
    whole: BTreeSet<FileIndex>,
    given_up: BTreeSet<FileIndex>,
}

impl World {
    fn new(decisions: &mut Decisions<'_>) -> Self {
        let layout = Arc::new(BundleLayout::new(PieceLen::Small, SIZES).expect("a layout"));
        let settings = Settings {
            origin_connections: usize::from(1 + decisions.below(4)),
            assembling_len_max: u64::from(1 + decisions.below(8)) * u64::from(PieceLen::Small.bytes()),
            ..Settings::default()
        };
        let mut world = Self {
            swarm: Swarm::new(settings, decisions.byte().into()),
            now: Duration::ZERO,
            layout: Arc::clone(&layout),
            peers: BTreeMap::new(),
            next_link: 0,
            in_hand: None,
            kept: BTreeMap::new(),
            checking: BTreeSet::new(),
            requests: BTreeMap::new(),
            is_tracker_asked: false,
            wanted: BTreeSet::new(),
            whole: BTreeSet::new(),
            given_up: BTreeSet::new(),
        };
        world.tell(Event::Join { bundle: BUNDLE, layout });
        world.tell(Event::Source { source: SOURCE, bundles: vec![BUNDLE], order: 0 });
        world
    }

    fn pieces(&self) -> u32 {
        self.layout.pieces()
    }

    fn peer(&mut self, link: LinkId) -> &mut Peer {
        self.peers.get_mut(&link).unwrap_or_else(|| panic!("{link} is not there any more"))
    }

    fn is_served(&self, piece: u32) -> bool {
        self.swarm.served(BUNDLE).is_some_and(|served| served.get(piece))
    }

    fn tell(&mut self, event: Event) {
        for action in self.swarm.handle(event, self.now) {
            self.follow(action);
        }
        self.swarm.check_invariants();
        assert!(self.swarm.wake_at().is_none_or(|at| at > self.now), "to be woken in the past");
    }

    fn follow(&mut self, action: Action) {
        match action {
            Action::Request { request, first_piece, pieces, .. } => {
                self.requests.insert(request, (first_piece..first_piece + pieces).collect());
            }
            Action::Cancel { request } => {
                assert!(self.requests.remove(&request).is_some(), "{request:?} is not under way");
            }
            Action::Ask { link, block } => self.follow_ask(link, block),
            Action::CancelAsk { link, block } => {
                let peer = self.peer(link);
                assert!(peer.owes.remove(&block), "{link} owes no {block:?}");
                peer.cancelled.insert(block);
            }
            Action::Keep { block, .. } => {
                assert_eq!(self.in_hand, Some(block), "something else has come");
                assert!(!self.checking.contains(&block.piece), "it is whole already");
                // It may come again: a piece that was mixed and wrong is taken from one peer, from its first block on.
                self.kept.entry(block.piece).or_default().insert(block);
            }
            Action::Check { piece, .. } => {
                let kept = self.kept.remove(&piece).unwrap_or_default();
                let len: u32 = kept.iter().map(|block| block.len).sum();
                assert_eq!(len, self.layout.payload_len(piece), "piece {piece} is not whole");
                self.checking.insert(piece);
            }
            Action::Discard { piece, .. } => {
                self.kept.remove(&piece);
                self.checking.remove(&piece);
            }
            Action::Interest { link, .. } => {
                self.peer(link);
            }
            Action::Have { link, piece } => {
                self.peer(link);
                assert!(self.is_served(piece), "piece {piece} is not here");
            }
            Action::Send { link, block } => {
                assert!(self.is_served(block.piece), "{block:?} is not here");
                self.answer(link, block);
                self.peer(link).sending.push(block);
            }
            Action::Reject { link, block } => self.answer(link, block),
            Action::Part { link, .. } => {
                assert!(self.peers.remove(&link).is_some(), "{link} is not there any more");
            }
            Action::AskTracker { .. } => {
                assert!(!self.is_tracker_asked, "it has not answered yet");
                self.is_tracker_asked = true;
            }
            Action::Whole { file, .. } => {
                assert!(self.whole.insert(file), "{file:?} is whole once");
            }
            Action::GiveUp { file, .. } => {
                assert!(self.given_up.insert(file), "{file:?} is given up once");
            }
        }
    }

    fn follow_ask(&mut self, link: LinkId, block: Block) {
        let payload_len = self.layout.payload_len(block.piece);
        let end = block.begin + block.len;
        assert!(block.begin.is_multiple_of(BLOCK_LEN) && (1..=BLOCK_LEN).contains(&block.len));
        assert!(end <= payload_len, "{block:?} has padding");
        assert!(block.len == BLOCK_LEN || end == payload_len, "{block:?} is cut short");
        let peer = self.peer(link);
        assert!(peer.is_unchoked && peer.has.contains(&block.piece), "{link} cannot send {block:?}");
        assert!(peer.owes.insert(block), "{link} owes {block:?} already");
    }

    /// A request of a peer has got its answer.
    fn answer(&mut self, link: LinkId, block: Block) {
        let wants = &mut self.peer(link).wants;
        let at = wants.iter().position(|wanted| *wanted == block);
        wants.remove(at.unwrap_or_else(|| panic!("{link} did not ask for {block:?}")));
    }

    /// One thing happens.
    fn happen(&mut self, decisions: &mut Decisions<'_>) {
        self.now += Duration::from_millis(u64::from(decisions.byte()) * 8);
        let file = FileIndex(decisions.below(SIZES.len() as u8).into());
        let link = decisions.of(self.peers.keys().copied());
        match (decisions.below(32), link) {
            (0 | 1, _) if self.peers.len() < LINKS_MAX => self.connect(decisions.byte()),
            (2..5, _) => self.want(file),
            (5, _) => {
                self.forget(file);
                self.tell(Event::Unwant { bundle: BUNDLE, file });
            }
            (6, _) if self.whole.contains(&file) => {
                self.forget(file);
                self.tell(Event::Offer { bundle: BUNDLE, file });
            }
            (7, _) => self.tell(Event::Withdraw { bundle: BUNDLE, file }),
            (8, _) if self.whole.remove(&file) => {
                self.tell(Event::DigestMismatch { bundle: BUNDLE, file });
            }
            (9, _) => self.guide(decisions),
            (10..13, _) => self.origin_answers(decisions),
            (13..15, _) => {
                if let Some(piece) = decisions.of(self.checking.iter().copied()) {
                    self.checked(piece, decisions);
                }
            }
            (15, _) => self.tell(Event::Tick),
            (what, Some(link)) => self.peer_speaks(what, link, decisions),
            _ => {}
        }
    }

    fn connect(&mut self, make: u8) {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.peers.insert(link, Peer::default());
        self.tell(Event::Linked { link, bundle: BUNDLE });
        if make % 2 == 1 {
            self.tell(Event::Foreign { link });
        }
        if make % 4 >= 2 {
            self.tell(Event::Far { link });
        }
    }

    fn want(&mut self, file: FileIndex) {
        self.wanted.insert(file);
        self.given_up.remove(&file);
        self.tell(Event::Want { bundle: BUNDLE, file, have: Vec::new() });
    }

    fn forget(&mut self, file: FileIndex) {
        for files in [&mut self.wanted, &mut self.whole, &mut self.given_up] {
            files.remove(&file);
        }
    }

    fn guide(&mut self, decisions: &mut Decisions<'_>) {
        self.is_tracker_asked = false;
        let others = decisions.below(4).into();
        let first = u32::from(decisions.below(16));
        let lease = vec![first..first + u32::from(decisions.below(16))];
        let lease = Some(lease).filter(|_| decisions.below(3) > 0);
        let ask_again = Duration::from_millis(100 * u64::from(decisions.below(64)));
        let ask_again = Some(ask_again).filter(|_| decisions.below(4) == 0);
        match decisions.below(4) {
            0 => self.tell(Event::Unguided { bundle: BUNDLE }),
            how => {
                let is_second_hand = how == 1;
                self.tell(Event::Guided { bundle: BUNDLE, others, lease, is_second_hand, ask_again });
            }
        }
    }

    fn origin_answers(&mut self, decisions: &mut Decisions<'_>) {
        let Some(request) = decisions.of(self.requests.keys().copied()) else { return };
        let how = decisions.below(8);
        let piece = self.requests.get_mut(&request).and_then(|pieces| pieces.pop());
        match piece {
            Some(piece) if how == 0 => self.tell(Event::Corrupt { request, piece }),
            Some(piece) if how < 7 => self.tell(Event::Verified { request, piece }),
            _ => {
                self.requests.remove(&request);
                let outcome = OUTCOMES[usize::from(decisions.below(5))];
                self.tell(Event::Ended { request, outcome });
            }
        }
    }

    fn checked(&mut self, piece: u32, decisions: &mut Decisions<'_>) {
        self.checking.remove(&piece);
        if decisions.below(3) == 0 {
            return self.tell(Event::PieceCorrupt { bundle: BUNDLE, piece });
        }
        let wrong = (0..decisions.below(3)).map(u32::from).collect();
        self.tell(Event::PieceVerified { bundle: BUNDLE, piece, wrong });
    }

    /// A peer says something, which may be wrong, late or of no use.
    fn peer_speaks(&mut self, what: u8, link: LinkId, decisions: &mut Decisions<'_>) {
        let piece = u32::from(decisions.byte()) % (self.pieces() + 1);
        let number = u32::from(decisions.below(3));
        let any = Block { piece, begin: number * BLOCK_LEN, len: BLOCK_LEN };
        match what {
            16 => self.has_all(link),
            17..20 => {
                self.peer(link).has.insert(piece);
                self.tell(Event::Have { link, pieces: vec![piece] });
            }
            20 => {
                let peer = self.peer(link);
                peer.is_unchoked = false;
                peer.owes.clear();
                self.tell(Event::Choked { link });
            }
            21 | 22 => {
                self.peer(link).is_unchoked = true;
                self.tell(Event::Unchoked { link });
            }
            23 => {
                let block = decisions.of(self.peer(link).owes.iter().copied()).unwrap_or(any);
                let peer = self.peer(link);
                if peer.owes.remove(&block) {
                    peer.has.remove(&block.piece);
                }
                self.tell(Event::Rejected { link, block });
            }
            24 => {
                self.peers.remove(&link);
                self.tell(Event::LinkGone { link });
            }
            25 | 26 => {
                self.peer(link).wants.push(any);
                self.tell(Event::Asked { link, block: any });
            }
            27 => {
                let block = decisions.of(self.peer(link).wants.iter().copied()).unwrap_or(any);
                self.tell(Event::AskCancelled { link, block });
            }
            28 => {
                if let Some(block) = self.peer(link).sending.pop() {
                    self.tell(Event::Sent { link, block });
                }
            }
            29 => {
                let late = decisions.of(self.peer(link).cancelled.iter().copied()).unwrap_or(any);
                self.arrive(link, late);
            }
            _ => {
                if let Some(block) = decisions.of(self.peer(link).owes.iter().copied()) {
                    self.arrive(link, block);
                }
            }
        }
    }

    fn has_all(&mut self, link: LinkId) {
        let pieces = self.pieces();
        self.peer(link).has.extend(0..pieces);
        self.tell(Event::Has { link, pieces: Bitfield::all(pieces) });
    }

    fn arrive(&mut self, link: LinkId, block: Block) {
        let peer = self.peer(link);
        peer.owes.remove(&block);
        peer.cancelled.remove(&block);
        self.in_hand = Some(block);
        self.tell(Event::Arrived { link, block });
        self.in_hand = None;
    }

    /// Everybody answers at once and well, until nothing is waited for.
    fn end(&mut self) {
        for _ in 0..ANSWERS_MAX {
            let owed = self.peers.iter().find_map(|(link, peer)| Some((*link, *peer.owes.first()?)));
            let sending = self.peers.iter().find_map(|(link, peer)| Some((*link, *peer.sending.last()?)));
            if let Some(piece) = self.checking.pop_first() {
                self.tell(Event::PieceVerified { bundle: BUNDLE, piece, wrong: Vec::new() });
            } else if let Some((link, block)) = owed {
                self.arrive(link, block);
            } else if let Some((link, block)) = sending {
                self.peer(link).sending.pop();
                self.tell(Event::Sent { link, block });
            } else if let Some((request, pieces)) = self.requests.pop_first() {
                for piece in pieces {
                    self.tell(Event::Verified { request, piece });
                }
                self.tell(Event::Ended { request, outcome: Outcome::Complete });
            } else if std::mem::take(&mut self.is_tracker_asked) {
                self.tell(Event::Unguided { bundle: BUNDLE });
            } else if let Some(wake_at) = self.swarm.wake_at() {
                self.now = wake_at;
                self.tell(Event::Tick);
            } else {
                let is_ended = |file: &FileIndex| self.whole.contains(file) || self.given_up.contains(file);
                assert!(self.wanted.iter().all(is_ended), "something is waited for without an end");
                return;
            }
        }
        panic!("after {ANSWERS_MAX} answers there is still no end");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut decisions = Decisions(bytes);
    let mut world = World::new(&mut decisions);
    while !decisions.0.is_empty() {
        world.happen(&mut decisions);
    }
    world.end();
});
