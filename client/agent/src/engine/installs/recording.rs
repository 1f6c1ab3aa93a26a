//! What is remembered of an install while it goes on: bytes by source and second, and what explains them.
//!
//! Nothing is allocated for a block: what came is added to counters of the second and of the peer.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::report::{FallbackReason, Ledger, TEXT_LEN_MAX};
use pkgtorrent_protocol::socket::PeerStatus;

use crate::records::{
    DecisionRecord, OtherPeers, PackageRecord, PeerRecord, Record, Timeline, Wait, WaitRecord,
};
use crate::text::beginning;

/// Into how many parts an install's time is divided at most. One that takes longer has parts of two seconds, of four and so
/// on.
const PARTS_MAX: usize = 300;

/// How many peers are remembered: more than a host is connected with. And how many of them are named in the end.
const PEERS_MAX: usize = 512;
const PEERS_NAMED_MAX: usize = 32;

/// Of how much of the timeline a rate is, and how many peers are named, while it goes on.
const PARTS_LATELY: usize = 3;
const PEERS_TOLD_MAX: usize = 8;

/// How many decisions are kept from an install's beginning, and how many from its end.
const DECISIONS_HALF_MAX: usize = 250;

/// How many times in which nothing came are kept.
const WAITS_MAX: usize = 200;

/// How many packages are named.
const PACKAGES_NAMED_MAX: usize = 200;

/// A host that gives, as it was when it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Giver {
    pub(crate) address: SocketAddr,
    pub(crate) is_far: bool,
}

/// What one install's time was spent with.
#[derive(Debug, Default)]
pub(super) struct Recording {
    timeline: Timeline,
    peers: HashMap<SocketAddr, Given>,
    waits: Vec<WaitRecord>,
    waits_left_out: u32,
    first: Vec<DecisionRecord>,
    latest: VecDeque<DecisionRecord>,
    decisions_left_out: u64,
    packages: Vec<Course>,
    /// Requests to the origin that are under way, and since when there is one.
    origin_open: u32,
    origin_since: Duration,
    origin_busy: Duration,
}

/// One peer.
#[derive(Debug, Default)]
struct Given {
    client: String,
    is_far: bool,
    bytes: u64,
    owed: Duration,
    silences: u32,
    is_banned: bool,
    timeline: Vec<u64>,
}

/// What became of one package, and when.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    whole: Option<u64>,
    over: u64,
    bytes: Ledger,
    left: Option<FallbackReason>,
}

impl Recording {
    pub(super) fn new(packages: usize) -> Self {
        let timeline = Timeline { seconds: 1, ..Timeline::default() };
        Self { timeline, packages: vec![Course::default(); packages], ..Self::default() }
    }

    /// These bytes came.
    pub(super) fn came(&mut self, at: Duration, from: &Ledger) {
        let part = self.part(at);
        let Timeline { origin, near, far, store, .. } = &mut self.timeline;
        for (series, bytes) in
            [(origin, from.origin), (near, from.near), (far, from.far), (store, from.store)]
        {
            add(series, part, bytes);
        }
    }

    /// A peer gave so many of them.
    pub(super) fn gave(&mut self, at: Duration, giver: Giver, bytes: u64) {
        let part = self.part(at);
        if let Some(given) = self.peer(giver.address) {
            given.is_far = giver.is_far;
            given.bytes += bytes;
            add(&mut given.timeline, part, bytes);
        }
    }

    fn peer(&mut self, address: SocketAddr) -> Option<&mut Given> {
        let has_room = self.peers.len() < PEERS_MAX || self.peers.contains_key(&address);
        has_room.then(|| self.peers.entry(address).or_default())
    }

    /// A peer owed something for this time.
    pub(super) fn owed(&mut self, giver: Giver, client: &str, time: Duration) {
        if let Some(given) = self.peer(giver.address) {
            given.is_far = giver.is_far;
            given.owed += time;
            if given.client.is_empty() {
                given.client = beginning(client, TEXT_LEN_MAX).to_owned();
            }
        }
    }

    /// Others were asked for what a peer owed.
    pub(super) fn fell_silent(&mut self, address: SocketAddr) {
        if let Some(given) = self.peer(address) {
            given.silences = given.silences.saturating_add(1);
        }
    }

    pub(super) fn banned(&mut self, address: SocketAddr) {
        if let Some(given) = self.peer(address) {
            given.is_banned = true;
        }
    }

    /// The part of the timeline that a time is in, after parts were made long enough that there is one.
    fn part(&mut self, at: Duration) -> usize {
        while at.as_secs() / u64::from(self.timeline.seconds) >= PARTS_MAX as u64 {
            let Timeline { seconds, origin, near, far, store } = &mut self.timeline;
            // An install of a century would have some two hundred million.
            *seconds *= 2;
            let of_peers = self.peers.values_mut().map(|given| &mut given.timeline);
            [origin, near, far, store].into_iter().chain(of_peers).for_each(fold);
        }
        // Less than PARTS_MAX.
        (at.as_secs() / u64::from(self.timeline.seconds)) as usize
    }

    /// Nothing came in this time.
    pub(super) fn waited(&mut self, from: Duration, to: Duration, why: Wait) {
        let (from, to) = (millis(from), millis(to));
        let has_room = self.waits.len() < WAITS_MAX;
        match self.waits.last_mut() {
            Some(last) if last.to == from && last.why == why => last.to = to,
            _ if has_room => self.waits.push(WaitRecord { from, to, why }),
            _ => self.waits_left_out = self.waits_left_out.saturating_add(1),
        }
    }

    /// Something was decided.
    pub(super) fn decided(&mut self, at: Duration, what: &str) {
        let decision = DecisionRecord { at: millis(at), what: beginning(what, TEXT_LEN_MAX).to_owned() };
        if self.first.len() < DECISIONS_HALF_MAX {
            return self.first.push(decision);
        }
        if self.latest.len() == DECISIONS_HALF_MAX {
            self.latest.pop_front();
            self.decisions_left_out += 1;
        }
        self.latest.push_back(decision);
    }

    /// A request to the origin begins.
    pub(super) fn asks_origin(&mut self, at: Duration) {
        if self.origin_open == 0 {
            self.origin_since = at;
        }
        self.origin_open += 1;
    }

    /// A request to the origin is over.
    pub(super) fn asked_origin(&mut self, at: Duration) {
        self.origin_open = self.origin_open.saturating_sub(1);
        if self.origin_open == 0 {
            self.origin_busy += at.saturating_sub(self.origin_since);
        }
    }

    /// A package is here.
    pub(super) fn whole(&mut self, index: usize, at: Duration) {
        if let Some(course) = self.packages.get_mut(index) {
            course.whole = Some(millis(at));
        }
    }

    /// A package is in place.
    pub(super) fn placed(&mut self, index: usize, at: Duration, bytes: Ledger) {
        if let Some(course) = self.packages.get_mut(index) {
            (course.over, course.bytes) = (millis(at), bytes);
        }
    }

    /// A package is left to the package manager.
    pub(super) fn left(&mut self, index: usize, at: Duration, reason: FallbackReason) {
        if let Some(course) = self.packages.get_mut(index) {
            (course.over, course.left) = (millis(at), Some(reason));
        }
    }

    /// What came so far.
    pub(super) fn so_far(&self) -> Ledger {
        let Timeline { origin, near, far, store, .. } = &self.timeline;
        let [origin, near, far, store] = [origin, near, far, store].map(|series| series.iter().sum());
        Ledger { origin, near, far, store, sent: 0 }
    }

    /// What comes in a second by now, and from whom most of it does.
    pub(super) fn lately(&self, at: Duration) -> (Ledger, Vec<PeerStatus>) {
        let Timeline { seconds, origin, near, far, store } = &self.timeline;
        // Less than PARTS_MAX, but for the last moment before parts are made longer.
        let part = (at.as_secs() / u64::from(*seconds)) as usize;
        let lately = part.saturating_sub(PARTS_LATELY)..part.max(1);
        let time = (lately.len() as u64 * u64::from(*seconds)).max(1);
        let rate = |series: &Vec<u64>| series.iter().take(lately.end).skip(lately.start).sum::<u64>() / time;
        let rates =
            Ledger { origin: rate(origin), near: rate(near), far: rate(far), store: rate(store), sent: 0 };
        let peers =
            self.peers.iter().filter(|(_, given)| given.bytes > 0).map(|(address, given)| PeerStatus {
                address: address.to_string(),
                client: given.client.clone(),
                is_far: given.is_far,
                bytes: given.bytes,
                rate: rate(&given.timeline),
            });
        let mut peers: Vec<PeerStatus> = peers.collect();
        peers.sort_by_key(|peer| std::cmp::Reverse((peer.rate, peer.bytes)));
        peers.truncate(PEERS_TOLD_MAX);
        (rates, peers)
    }

    /// Enters all of it in a record. What a package is called, and how long it is, is asked by its number.
    pub(super) fn finish<'a>(mut self, record: &mut Record, named: impl Fn(usize) -> (&'a str, u64)) {
        if self.origin_open > 0 {
            self.origin_open = 1;
            self.asked_origin(Duration::from_millis(record.took));
        }
        record.slowest = self.slowest(named);
        (record.peers, record.other_peers) = named_peers(self.peers);
        record.origin_busy = millis(self.origin_busy);
        record.timeline = self.timeline;
        (record.waits, record.waits_left_out) = (self.waits, self.waits_left_out);
        record.decisions = self.first.into_iter().chain(self.latest).collect();
        record.decisions_left_out = self.decisions_left_out;
    }

    fn slowest<'a>(&self, named: impl Fn(usize) -> (&'a str, u64)) -> Vec<PackageRecord> {
        let mut slowest: Vec<(usize, &Course)> = self.packages.iter().enumerate().collect();
        slowest.sort_by_key(|(_, course)| std::cmp::Reverse((course.left.is_some(), course.over)));
        let record = |(index, course): (usize, &Course)| {
            let (name, size) = named(index);
            let Course { whole, over, bytes, left } = *course;
            PackageRecord { name: beginning(name, TEXT_LEN_MAX).to_owned(), size, whole, over, bytes, left }
        };
        slowest.into_iter().take(PACKAGES_NAMED_MAX).map(record).collect()
    }
}

/// Those that brought most or made trouble by name, and the sum of the others.
fn named_peers(peers: HashMap<SocketAddr, Given>) -> (Vec<PeerRecord>, OtherPeers) {
    let is_of_note = |given: &Given| given.bytes > 0 || given.silences > 0 || given.is_banned;
    let mut peers: Vec<(SocketAddr, Given)> =
        peers.into_iter().filter(|(_, given)| is_of_note(given)).collect();
    let rank = |given: &Given| (given.is_banned, given.bytes, given.silences);
    peers.sort_by_key(|(address, given)| (std::cmp::Reverse(rank(given)), *address));
    let others = peers.split_off(peers.len().min(PEERS_NAMED_MAX));
    let named = peers.into_iter().map(|(address, given)| PeerRecord {
        address: address.to_string(),
        client: given.client,
        is_far: given.is_far,
        bytes: given.bytes,
        owed: millis(given.owed),
        silences: given.silences,
        is_banned: given.is_banned,
        timeline: given.timeline,
    });
    // At most PEERS_MAX.
    let others =
        OtherPeers { peers: others.len() as u32, bytes: others.iter().map(|(_, given)| given.bytes).sum() };
    (named.collect(), others)
}

/// Milliseconds. No install takes so long that they would not fit.
pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn add(series: &mut Vec<u64>, part: usize, bytes: u64) {
    if bytes > 0 {
        if series.len() <= part {
            series.resize(part + 1, 0);
        }
        series[part] += bytes;
    }
}

/// Makes one part of each two.
fn fold(series: &mut Vec<u64>) {
    *series = series.chunks(2).map(|pair| pair.iter().sum()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn finished(recording: Recording) -> Record {
        let mut record = Record::default();
        recording.finish(&mut record, |_| ("", 0));
        record
    }

    #[test]
    fn a_long_install_has_longer_parts_and_loses_no_byte() {
        let mut recording = Recording::new(0);
        let giver = Giver { address: ([127, 0, 0, 1], 1).into(), is_far: false };
        for second in 0..1000 {
            recording.came(second * SECOND, &Ledger { near: 7, ..Ledger::default() });
            recording.gave(second * SECOND, giver, 7);
        }
        let record = finished(recording);
        assert_eq!((record.timeline.seconds, record.timeline.near.len()), (4, 250));
        assert!(record.timeline.near.iter().all(|bytes| *bytes == 28));
        assert_eq!(record.peers[0].timeline, record.timeline.near);
    }

    #[test]
    fn the_biggest_peers_are_named_and_the_others_are_one() {
        let mut recording = Recording::new(0);
        for port in 1..=1000 {
            let giver = Giver { address: ([127, 0, 0, 1], port).into(), is_far: false };
            recording.gave(SECOND, giver, u64::from(port));
        }
        recording.banned(([127, 0, 0, 1], 1).into());
        let record = finished(recording);
        assert_eq!((record.peers.len(), record.peers[0].is_banned), (PEERS_NAMED_MAX, true));
        assert_eq!((record.peers[1].bytes, record.other_peers.peers), (PEERS_MAX as u64, 480));
    }

    #[test]
    fn a_rate_is_of_the_last_whole_seconds() {
        let mut recording = Recording::new(0);
        let giver = Giver { address: ([127, 0, 0, 1], 1).into(), is_far: true };
        for (second, bytes) in [(0, 9000), (2, 100), (3, 200), (4, 300), (5, 9000)] {
            recording.came(second * SECOND, &Ledger { far: bytes, ..Ledger::default() });
            recording.gave(second * SECOND, giver, bytes);
        }
        let (rates, peers) = recording.lately(5 * SECOND);
        assert_eq!((rates.far, peers[0].rate, peers[0].bytes), (200, 200, 18_600));
        assert_eq!(recording.so_far().far, 18_600);
    }

    #[test]
    fn a_wait_that_goes_on_is_one() {
        let mut recording = Recording::new(0);
        for (from, why) in [(0, Wait::Plan), (1, Wait::Lid), (2, Wait::Lid), (4, Wait::Lid)] {
            recording.waited(from * SECOND, (from + 1) * SECOND, why);
        }
        let waits = finished(recording).waits;
        let times: Vec<(u64, u64)> = waits.iter().map(|wait| (wait.from, wait.to)).collect();
        assert_eq!(times, [(0, 1000), (1000, 3000), (4000, 5000)]);
    }

    #[test]
    fn of_many_decisions_the_first_and_the_last_are_kept() {
        let mut recording = Recording::new(0);
        (0..2000).for_each(|at| recording.decided(Duration::from_millis(at), "x"));
        let record = finished(recording);
        let (first, last) = (record.decisions[0].at, record.decisions.last().unwrap().at);
        assert_eq!((first, last, record.decisions.len()), (0, 1999, 2 * DECISIONS_HALF_MAX));
        assert_eq!(record.decisions_left_out, 1500);
    }

    #[test]
    fn the_origin_is_busy_while_anything_is_asked_of_it() {
        let mut recording = Recording::new(0);
        recording.asks_origin(SECOND);
        recording.asks_origin(2 * SECOND);
        recording.asked_origin(3 * SECOND);
        recording.asked_origin(5 * SECOND);
        recording.asks_origin(9 * SECOND);
        let mut record = Record { took: 10_000, ..Record::default() };
        recording.finish(&mut record, |_| ("", 0));
        assert_eq!(record.origin_busy, 5000);
    }

    #[test]
    fn what_was_left_stands_before_what_took_longest() {
        let mut recording = Recording::new(300);
        for index in 0..300 {
            recording.placed(index, Duration::from_millis(index as u64), Ledger::default());
        }
        recording.left(3, SECOND, FallbackReason::Wrong);
        let slowest = recording.slowest(|index| ("x", index as u64));
        let sizes: Vec<u64> = slowest.iter().take(3).map(|package| package.size).collect();
        assert_eq!((sizes, slowest.len()), (vec![3, 299, 298], PACKAGES_NAMED_MAX));
    }
}
