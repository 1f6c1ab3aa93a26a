//! Whatever a swarm is told, in whatever order, it agrees with itself and asks for nothing that it should not; and when
//! everything is answered, it has an end.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::{BundleLayout, PieceLen};
use pkgtorrent_swarm::{Action, BundleId, Event, FileIndex, Outcome, RequestId};
use pkgtorrent_swarm::{Settings, SourceId, Swarm};

/// Few enough that events meet each other, and one bundle and file more than there are.
const BUNDLES: u8 = 3;
const FILES_MAX: u8 = 6;
const SOURCES: u8 = 4;

/// Enough to end all requests of all files again and again, until each is given up.
const ANSWERS_MAX: usize = 20_000;

const OUTCOMES: [Outcome; 6] = [
    Outcome::Complete,
    Outcome::NoRanges,
    Outcome::Missing,
    Outcome::Unreachable,
    Outcome::Refused,
    Outcome::Broken,
];

/// The input, of which each decision takes a byte; zeros when there are no more.
struct Decisions<'a>(&'a [u8]);

impl Decisions<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }
}

struct World {
    swarm: Swarm,
    now: Duration,
    connections: usize,
    layouts: Vec<Arc<BundleLayout>>,
    /// The requests that were neither cancelled nor ended, with their first pieces.
    under_way: BTreeMap<RequestId, u32>,
    /// The number that the next request is to have at least.
    next: RequestId,
}

impl World {
    fn new(decisions: &mut Decisions<'_>) -> Self {
        let mut layout = || {
            let files = 1 + decisions.below(FILES_MAX);
            // Also of less than a piece, and of whole ones.
            let quarter = u64::from(PieceLen::Small.bytes()) / 4;
            let sizes: Vec<u64> = (0..files).map(|_| (u64::from(decisions.byte()) + 1) * quarter).collect();
            Arc::new(BundleLayout::new(PieceLen::Small, sizes).expect("a layout"))
        };
        let layouts = (0..BUNDLES).map(|_| layout()).collect();
        let connections = usize::from(1 + decisions.below(8));
        let range_len_min = 3 * u64::from(PieceLen::Small.bytes());
        let settings = Settings { origin_connections: connections, range_len_min, ..Settings::default() };
        let swarm = Swarm::new(settings, decisions.byte().into());
        let (now, under_way, next) = (Duration::ZERO, BTreeMap::new(), RequestId(0));
        Self { swarm, now, connections, layouts, under_way, next }
    }

    fn tell(&mut self, event: Event) {
        for action in self.swarm.handle(event, self.now) {
            match action {
                Action::Request { request, bundle, file, first_piece, pieces, .. } => {
                    let extent = self.layouts[bundle.0 as usize].extents()[file.0 as usize];
                    let all = extent.first_piece..extent.first_piece + extent.pieces;
                    assert!(pieces > 0 && all.start <= first_piece && first_piece + pieces <= all.end);
                    assert!(request >= self.next, "a request's number is given once");
                    self.next = RequestId(request.0 + 1);
                    self.under_way.insert(request, first_piece);
                }
                Action::Cancel { request } => {
                    assert!(self.under_way.remove(&request).is_some(), "{request:?} is not under way");
                }
                Action::Whole { .. } | Action::GiveUp { .. } => {}
                other => panic!("{other:?}, although there are no peers here"),
            }
            assert!(self.under_way.len() <= self.connections);
        }
        self.swarm.check_invariants();
    }

    /// A request that is under way, or sometimes one that is not, and a piece that it is likely to bring.
    fn request(&self, decisions: &mut Decisions<'_>) -> (RequestId, u32) {
        let which = decisions.byte();
        let offset = u32::from(decisions.below(16));
        let known = self.under_way.iter().nth(usize::from(which) % (self.connections + 1));
        match known {
            Some((request, first_piece)) => (*request, first_piece + offset),
            None => (RequestId(which.into()), offset),
        }
    }

    fn event(&self, decisions: &mut Decisions<'_>) -> Event {
        let what = decisions.below(16);
        let bundle = BundleId(decisions.below(BUNDLES + 1).into());
        let file = FileIndex(decisions.below(FILES_MAX + 1).into());
        let source = SourceId(decisions.below(SOURCES).into());
        match what {
            0 => match self.layouts.get(bundle.0 as usize) {
                Some(layout) => Event::Join { bundle, layout: Arc::clone(layout) },
                None => Event::Tick,
            },
            1 | 2 => {
                let have = (0..decisions.below(4)).map(|_| decisions.byte().into()).collect();
                Event::Want { bundle, file, have }
            }
            3 => Event::Unwant { bundle, file },
            4 => {
                let is_in = decisions.byte();
                let bundles = (0..=BUNDLES).filter(|bit| is_in >> bit & 1 == 1);
                let bundles = bundles.map(|bundle| BundleId(bundle.into())).collect();
                Event::Source { source, bundles, order: u32::from(is_in >> 6) }
            }
            5 => Event::SourceGone { source },
            6 => Event::DigestMismatch { bundle, file },
            7 => Event::Leave { bundle },
            8 => {
                let (request, piece) = self.request(decisions);
                Event::Corrupt { request, piece }
            }
            9..13 => {
                let (request, piece) = self.request(decisions);
                Event::Verified { request, piece }
            }
            13 | 14 => {
                let (request, _) = self.request(decisions);
                Event::Ended { request, outcome: OUTCOMES[usize::from(decisions.below(6))] }
            }
            _ => Event::Tick,
        }
    }

    /// Ends everything, until nothing is under way and nothing is waited for.
    fn end(&mut self, decisions: &mut Decisions<'_>) {
        for _ in 0..ANSWERS_MAX {
            if let Some(request) = self.under_way.keys().next().copied() {
                let outcome = OUTCOMES[usize::from(decisions.below(6))];
                self.under_way.remove(&request);
                self.tell(Event::Ended { request, outcome });
            } else if let Some(wake_at) = self.swarm.wake_at() {
                assert!(wake_at > self.now, "to be woken in the past");
                self.now = wake_at;
                self.tell(Event::Tick);
            } else {
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
        world.now += Duration::from_millis(u64::from(decisions.byte()) * 20);
        let event = world.event(&mut decisions);
        if let Event::Ended { request, .. } = &event {
            world.under_way.remove(request);
        }
        world.tell(event);
    }
    world.end(&mut decisions);
});
