//! What the swarm promises, one file per promise.
//!
//! Sources are written `s0`, files `f<bundle>.<file>`, requests `r0`, links `l0`. The pieces of a file are a string: `.`
//! missing, `R` requested of the origin, `A` asked of peers, `#` here; what a peer has is one of `#` and `.`. A block is
//! `<piece>.<number>`: a piece has two here.

mod corruption;
mod failing_sources;
mod far_sites;
mod first_copies;
mod giving;
mod giving_up;
mod leaving;
mod liars;
mod lid;
mod peers;
mod ranges;
mod sharing;
mod whole_files;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::wire::{BLOCK_LEN, Bitfield, Block};
use pkgtorrent_protocol::{BundleLayout, PieceLen};

use crate::files::FileKey;
use crate::{Action, BundleId, Event, FileIndex, LinkId, Outcome, RequestId, Settings, SourceId, Swarm};

const PIECE: u64 = PieceLen::Small.bytes() as u64;

/// A swarm, and what it asked for. Its invariants are checked after every step.
struct Host {
    swarm: Swarm,
    now: Duration,
    layouts: BTreeMap<u32, Arc<BundleLayout>>,
    /// First piece and number of pieces of each request.
    requests: BTreeMap<u64, (u32, u32)>,
}

impl Host {
    /// Three connections, and no ranges below two pieces.
    fn new() -> Self {
        Self::with(Settings {
            origin_connections: 3,
            range_len_min: 2 * PIECE,
            pipeline_min: 4,
            ..Settings::default()
        })
    }

    fn with(settings: Settings) -> Self {
        let (layouts, requests) = (BTreeMap::new(), BTreeMap::new());
        Self { swarm: Swarm::new(settings, 1), now: Duration::from_secs(5), layouts, requests }
    }

    /// Joins bundle 0 with files of so many pieces, the last piece of each being a short one, and one source, `s0`.
    fn with_files(mut self, pieces: &[u64]) -> Self {
        self.join(0, pieces);
        self.source(0, &[0], 0);
        self
    }

    fn join(&mut self, bundle: u32, pieces: &[u64]) {
        let sizes = pieces.iter().map(|pieces| pieces * PIECE - 100);
        let layout = Arc::new(BundleLayout::new(PieceLen::Small, sizes).unwrap());
        self.layouts.insert(bundle, layout.clone());
        assert!(self.tell(Event::Join { bundle: BundleId(bundle), layout }).is_empty());
    }

    fn source(&mut self, source: u32, bundles: &[u32], order: u32) -> Vec<String> {
        let bundles = bundles.iter().copied().map(BundleId).collect();
        self.tell(Event::Source { source: SourceId(source), bundles, order })
    }

    fn source_gone(&mut self, source: u32) -> Vec<String> {
        self.tell(Event::SourceGone { source: SourceId(source) })
    }

    fn want(&mut self, bundle: u32, file: u32) -> Vec<String> {
        self.want_having(bundle, file, &[])
    }

    fn want_having(&mut self, bundle: u32, file: u32, have: &[u32]) -> Vec<String> {
        self.tell(Event::Want { bundle: BundleId(bundle), file: FileIndex(file), have: have.to_vec() })
    }

    fn unwant(&mut self, bundle: u32, file: u32) -> Vec<String> {
        self.tell(Event::Unwant { bundle: BundleId(bundle), file: FileIndex(file) })
    }

    fn digest_mismatch(&mut self, bundle: u32, file: u32) -> Vec<String> {
        self.tell(Event::DigestMismatch { bundle: BundleId(bundle), file: FileIndex(file) })
    }

    fn verified(&mut self, request: u64, piece: u32) -> Vec<String> {
        self.tell(Event::Verified { request: RequestId(request), piece })
    }

    fn corrupt(&mut self, request: u64, piece: u32) -> Vec<String> {
        self.tell(Event::Corrupt { request: RequestId(request), piece })
    }

    fn end(&mut self, request: u64, outcome: Outcome) -> Vec<String> {
        self.tell(Event::Ended { request: RequestId(request), outcome })
    }

    /// A request brings its pieces in order, `#` right and `x` wrong, and ends.
    fn bring(&mut self, request: u64, pieces: &str, outcome: Outcome) -> Vec<String> {
        let (first, asked) = self.requests[&request];
        assert!(pieces.len() <= asked as usize, "r{request} is for {asked} pieces");
        let mut actions = Vec::new();
        for (piece, sign) in (first..).zip(pieces.chars()) {
            actions.extend(match sign {
                '#' => self.verified(request, piece),
                'x' => self.corrupt(request, piece),
                _ => panic!("{sign} is no piece"),
            });
        }
        actions.extend(self.end(request, outcome));
        actions
    }

    /// A request brings all that it is for.
    fn bring_all(&mut self, request: u64) -> Vec<String> {
        let pieces = "#".repeat(self.requests[&request].1 as usize);
        self.bring(request, &pieces, Outcome::Complete)
    }

    /// Wants a file, alone, and brings all of it.
    fn bring_whole(&mut self, bundle: u32, file: u32) {
        self.want(bundle, file);
        let mut request = 0;
        while self.picture(bundle, file).contains('R') {
            self.bring_all(request);
            request += 1;
        }
    }

    /// Sleeps until the swarm wants to be woken.
    fn sleep(&mut self) -> Vec<String> {
        self.now = self.swarm.wake_at().expect("it waits for something");
        self.tell(Event::Tick)
    }

    fn sleep_seconds(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        self.tell(Event::Tick)
    }

    fn tell(&mut self, event: Event) -> Vec<String> {
        let actions = self.swarm.handle(event, self.now);
        self.swarm.check_invariants();
        actions.iter().map(|action| self.written(action)).collect()
    }

    fn written(&mut self, action: &Action) -> String {
        match action {
            Action::Request { request, source, bundle, file, first_piece, pieces } => {
                self.requests.insert(request.0, (*first_piece, *pieces));
                let extent = self.layouts[&bundle.0].extents()[file.0 as usize];
                let asked = *first_piece..first_piece + pieces;
                let all = extent.first_piece..extent.first_piece + extent.pieces;
                let signs: String = all.map(|piece| if asked.contains(&piece) { 'R' } else { '.' }).collect();
                format!("r{} s{} f{}.{} {signs}", request.0, source.0, bundle.0, file.0)
            }
            Action::Cancel { request } => format!("cancel r{}", request.0),
            Action::Whole { bundle, file } => format!("whole f{}.{}", bundle.0, file.0),
            Action::GiveUp { bundle, file, reason } => format!("give up f{}.{}: {reason}", bundle.0, file.0),
            Action::Ask { link, block } => format!("ask l{} {}", link.0, spot(block)),
            Action::CancelAsk { link, block } => format!("cancel l{} {}", link.0, spot(block)),
            Action::Keep { block, .. } => format!("keep {}", spot(block)),
            Action::Check { piece, .. } => format!("check {piece}"),
            Action::Discard { piece, .. } => format!("discard {piece}"),
            Action::Interest { link, is_interested: true } => format!("l{} is interesting", link.0),
            Action::Interest { link, is_interested: false } => format!("l{} is not interesting", link.0),
            Action::Have { link, piece } => format!("tell l{} of {piece}", link.0),
            Action::Send { link, block } => format!("send l{} {}", link.0, spot(block)),
            Action::Reject { link, block } => format!("reject l{} {}", link.0, spot(block)),
            Action::Part { link, reason } => format!("part l{}: {reason}", link.0),
            Action::AskTracker { wish, .. } => {
                let starved = if wish.is_starved { ", starved" } else { "" };
                format!("ask tracker: got {:?}, lacks {:?}{starved}", wish.got, wish.lacks)
            }
        }
    }

    /// A peer that answers and has these pieces.
    fn peer(&mut self, link: u64, pieces: &str) -> Vec<String> {
        let mut actions = self.tell(Event::Linked { link: LinkId(link), bundle: BundleId(0) });
        actions.extend(self.tell(Event::Unchoked { link: LinkId(link) }));
        let mut has = Bitfield::none(self.layouts[&0].pieces());
        for (piece, sign) in (0..).zip(pieces.chars()) {
            if sign == '#' {
                has.set(piece);
            }
        }
        actions.extend(self.tell(Event::Has { link: LinkId(link), pieces: has }));
        actions
    }

    fn have(&mut self, link: u64, piece: u32) -> Vec<String> {
        self.tell(Event::Have { link: LinkId(link), pieces: vec![piece] })
    }

    fn block(&self, piece: u32, number: u32) -> Block {
        let begin = number * BLOCK_LEN;
        let len = self.swarm.crowds[&BundleId(0)].piece_len(piece);
        Block { piece, begin, len: BLOCK_LEN.min(len - begin) }
    }

    fn arrive(&mut self, link: u64, piece: u32, number: u32) -> Vec<String> {
        let block = self.block(piece, number);
        self.tell(Event::Arrived { link: LinkId(link), block })
    }

    /// Both blocks of a piece arrive, and it is right.
    fn arrive_whole(&mut self, link: u64, piece: u32) -> Vec<String> {
        let mut actions = self.arrive(link, piece, 0);
        actions.extend(self.arrive(link, piece, 1));
        actions.extend(self.right(piece, &[]));
        actions
    }

    fn right(&mut self, piece: u32, wrong: &[u32]) -> Vec<String> {
        self.tell(Event::PieceVerified { bundle: BundleId(0), piece, wrong: wrong.to_vec() })
    }

    fn wrong(&mut self, piece: u32) -> Vec<String> {
        self.tell(Event::PieceCorrupt { bundle: BundleId(0), piece })
    }

    fn asked(&mut self, link: u64, piece: u32, number: u32) -> Vec<String> {
        let block = self.block(piece, number);
        self.tell(Event::Asked { link: LinkId(link), block })
    }

    fn sent(&mut self, link: u64, piece: u32, number: u32) -> Vec<String> {
        let block = self.block(piece, number);
        self.tell(Event::Sent { link: LinkId(link), block })
    }

    /// The tracker knows of so many others, and leases these pieces, from the first to before the second of each pair.
    fn guided(&mut self, others: u32, lease: &[(u32, u32)]) -> Vec<String> {
        self.guided_under(None, others, lease)
    }

    /// The same where there is a lid, and more may be asked for after this time.
    fn guided_under(
        &mut self,
        ask_again: Option<Duration>,
        others: u32,
        lease: &[(u32, u32)],
    ) -> Vec<String> {
        let lease = lease.iter().map(|(start, end)| *start..*end).collect();
        let (bundle, lease, is_second_hand) = (BundleId(0), Some(lease), false);
        self.tell(Event::Guided { bundle, others, lease, is_second_hand, ask_again })
    }

    /// Lets time pass in small steps, as an agent does.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.swarm.wake_at().filter(|at| *at <= until) {
            self.now = at;
            actions.extend(self.tell(Event::Tick));
        }
        self.now = until;
        actions
    }

    /// The pieces of a wanted file.
    fn picture(&self, bundle: u32, file: u32) -> String {
        let key = FileKey { bundle: BundleId(bundle), file: FileIndex(file) };
        self.swarm.files.get(key).expect("a wanted file").pieces.picture()
    }

    fn progress(&self, bundle: u32, file: u32) -> Option<u64> {
        self.swarm.progress(BundleId(bundle), FileIndex(file))
    }
}

/// A block as piece and number within it; in the tests a piece has two.
fn spot(block: &Block) -> String {
    format!("{}.{}", block.piece, block.begin / BLOCK_LEN)
}

const NOTHING: [&str; 0] = [];
