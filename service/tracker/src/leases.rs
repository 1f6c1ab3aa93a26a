//! Which host is, for now, to fetch which pieces' first copies from the origin.
//!
//! A piece is *leased* to one host at most. Of the others, those are *out* that a host has said to have, and the rest
//! is *free*. The first host of a swarm is leased all that it wants, and is as fast as with plain HTTP. Who comes later
//! takes half of the longest stretch that is left, from its end: holders work from the front. So a crowd shares the
//! first copies out among itself, and each leaves the origin once.
//!
//! This file is what is known; what is given to whom is in `granting`.
//!
//! Nothing rests on a lease being kept: one that its holder does not renew goes to the next who asks, and a host whose
//! peers bring it nothing may have what others are said to have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use rand_pcg::Pcg64Mcg;

mod granting;
mod moving;
mod ranges;

use ranges::Range;

use crate::lid::{Lid, Purpose};

/// The most stretches of one swarm. A crowd has a few for each of its hosts, and looking through so many takes some ten
/// microseconds; beyond it hosts wait for their peers.
const STRETCHES_MAX: usize = 4096;

/// How often leases that ran out are looked for: a hundredth of their time, and not for each of ten thousand askers.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);

/// A starved host does not wait for leases to run out whose holder has said nothing for so long: who fetches first copies
/// reports every half second.
const SILENCE_MAX: Duration = Duration::from_millis(1500);

/// What happened to leases since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Stretches that were leased, for whatever reason.
    pub granted: u64,
    /// Those of them that were another's.
    pub stolen: u64,
    /// Those of them that a starved host was given although they were out.
    pub starved: u64,
    /// Stretches whose holder did not renew them.
    pub expired: u64,
}

/// What is the same for all swarms.
pub(crate) struct Terms<'a> {
    /// A lease ends when it was not renewed for so long.
    pub(crate) ttl: Duration,
    pub(crate) random: &'a mut Pcg64Mcg,
    pub(crate) counts: &'a mut LeaseCounts,
    pub(crate) lid: Option<&'a mut Lid>,
    /// Whether the speaker asked for more and got nothing.
    pub(crate) is_in_vain: bool,
}

impl Terms<'_> {
    /// How many of the pieces that a host would be leased it may be.
    fn draw(&mut self, speaker: &Speaker, pieces: u32, purpose: Purpose, now: Duration) -> u32 {
        let Some(lid) = &mut self.lid else { return pieces };
        let piece_len = u64::from(speaker.piece_len);
        let drawn = lid.draw(u64::from(pieces) * piece_len, speaker.stretch_len(), purpose, now);
        // No more than there are, which is a u32.
        (drawn / piece_len) as u32
    }
}

/// Who speaks, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker {
    pub(crate) address: SocketAddr,
    /// Whether it has everything.
    pub(crate) complete: bool,
    /// How many pieces its bundle has.
    pub(crate) pieces: u32,
    /// How many bytes each of them has.
    pub(crate) piece_len: u32,
    /// How many of them a holder fetches at once.
    pub(crate) at_once: u32,
    /// Whether some peer of the swarm has everything.
    pub(crate) seeded: bool,
    /// Whether another site's hosts fetch first copies, and its own bring them from there.
    pub(crate) second_hand: bool,
}

impl Speaker {
    /// How many bytes a holder fetches at once.
    pub(crate) fn stretch_len(&self) -> u64 {
        u64::from(self.at_once) * u64::from(self.piece_len)
    }
}

/// Neighbouring pieces that one host has got at once. The first of them is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    end: u32,
    holder: SocketAddr,
    since: Duration,
    /// Whether it was given although it was out, because the holder starved.
    starved: bool,
}

/// A host that holds pieces, or was the only one to report some.
#[derive(Debug)]
struct Host {
    renewed_at: Duration,
    reported_at: Duration,
    /// How many pieces are leased to it.
    held: u32,
    /// How many pieces it alone has reported.
    sole: u32,
}

/// The leases of one swarm.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    stretches: BTreeMap<u32, Stretch>,
    hosts: BTreeMap<SocketAddr, Host>,
    /// How many hosts have reported each piece, as far as a byte counts. Empty before anybody has asked.
    copies: Vec<u8>,
    /// The host that alone has reported a piece, if one has.
    sole: Vec<Option<SocketAddr>>,
    /// How many pieces are free.
    free: u32,
    /// How long holders take from one report of something new to the next, lately.
    pace: Option<Duration>,
    /// When leases that ran out were last looked for.
    expired_at: Option<Duration>,
    /// Who last asked and has nothing, and when.
    waiting: Option<(SocketAddr, Duration)>,
}

impl Leases {
    /// Hears what a host has to say, and tells it all that it holds from now on.
    pub(crate) fn answer(
        &mut self,
        speaker: &Speaker,
        wish: &LeaseWish,
        now: Duration,
        terms: &mut Terms<'_>,
    ) -> Vec<PieceRange> {
        self.begin(speaker.pieces);
        let host = speaker.address;
        if let Some(known) = self.hosts.get_mut(&host) {
            known.renewed_at = now;
        }
        self.report(host, &wish.got, now);
        if wish.returned || speaker.complete {
            self.give_back(host);
        }
        if (wish.wants || wish.starved) && !speaker.complete {
            self.expire(wish.starved, now, terms);
            let whole = [(0, speaker.pieces)];
            let lacks = if wish.lacks.is_empty() { &whole[..] } else { &wish.lacks };
            let lacks = ranges::within(lacks, self.pieces());
            terms.is_in_vain = !self.grant(speaker, &lacks, wish.starved, now, terms);
        }
        self.drop_if_idle(host);
        self.held_by(host)
    }

    /// Forgets a host that has left: what it held is free, and what it alone had is too, unless the swarm is seeded.
    pub(crate) fn forget(&mut self, host: SocketAddr, seeded: bool) {
        if self.waiting.is_some_and(|(waiting, _)| waiting == host) {
            self.waiting = None;
        }
        self.give_back(host);
        let Some(known) = self.hosts.remove(&host) else { return };
        if known.sole == 0 {
            return;
        }
        for piece in 0..self.copies.len() {
            if self.sole[piece] == Some(host) {
                self.sole[piece] = None;
                if !seeded {
                    self.copies[piece] = 0;
                    self.free += u32::from(!self.is_leased(piece as u32));
                }
            }
        }
    }

    /// How many pieces are leased.
    pub(crate) fn leased(&self) -> usize {
        self.hosts.values().map(|host| host.held as usize).sum()
    }

    /// How many hosts have reported each piece, as far as a byte counts. Empty before anybody has asked.
    pub(crate) fn copies(&self) -> &[u8] {
        &self.copies
    }

    /// How many pieces are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// All that is leased, ascending.
    pub(crate) fn leased_ranges(&self) -> impl Iterator<Item = PieceRange> + '_ {
        self.stretches.iter().map(|(&start, stretch)| (start, stretch.end - start))
    }

    /// How many leased pieces nobody has.
    pub(crate) fn first_copies(&self) -> u32 {
        let ranges = self.stretches.iter().map(|(&start, stretch)| Range { start, end: stretch.end });
        ranges.map(|range| self.unreported_len(range)).sum()
    }

    fn begin(&mut self, pieces: u32) {
        if self.copies.is_empty() {
            let pieces = pieces.min(BUNDLE_PIECES_MAX);
            self.copies = vec![0; pieces as usize];
            self.sole = vec![None; pieces as usize];
            self.free = pieces;
        }
    }

    fn pieces(&self) -> u32 {
        self.copies.len() as u32
    }

    /// Notes that a host has pieces. They leave every lease but those of starved hosts, who get them from nobody.
    fn report(&mut self, host: SocketAddr, got: &[PieceRange], now: Duration) {
        if got.is_empty() {
            return;
        }
        self.keep_pace(host, now);
        for range in ranges::within(got, self.pieces()) {
            self.cut(range, |stretch| stretch.holder == host || !stretch.starved);
            self.host(host, now).reported_at = now;
            for piece in range.start..range.end {
                self.count_copy(piece, host);
            }
        }
    }

    /// Learns from a report how long a holder takes for something new.
    fn keep_pace(&mut self, host: SocketAddr, now: Duration) {
        let first =
            self.stretches.values().filter(|it| it.holder == host && !it.starved).map(|it| it.since).min();
        let reported_at = self.hosts.get(&host).map(|known| known.reported_at);
        if let Some(since) = first.zip(reported_at).map(|(first, reported_at)| first.max(reported_at)) {
            let took = now.saturating_sub(since);
            self.pace = Some(self.pace.map_or(took, |pace| (3 * pace + took) / 4));
        }
    }

    fn count_copy(&mut self, piece: u32, host: SocketAddr) {
        let at = piece as usize;
        if self.sole[at] == Some(host) {
            return;
        }
        if self.copies[at] == 0 {
            self.free -= u32::from(!self.is_leased(piece));
            self.sole[at] = Some(host);
            self.change_sole(host, |sole| *sole += 1);
        } else if let Some(former) = self.sole[at].take() {
            self.change_sole(former, |sole| *sole -= 1);
            self.drop_if_idle(former);
        }
        self.copies[at] = self.copies[at].saturating_add(1);
    }

    fn change_sole(&mut self, host: SocketAddr, change: impl FnOnce(&mut u32)) {
        if let Some(known) = self.hosts.get_mut(&host) {
            change(&mut known.sole);
        }
    }

    /// The host's entry, made if there is none.
    fn host(&mut self, host: SocketAddr, now: Duration) -> &mut Host {
        let unknown = Host { renewed_at: now, reported_at: now, held: 0, sole: 0 };
        self.hosts.entry(host).or_insert(unknown)
    }

    /// A host of which there is nothing to remember takes no room: so there are never more than pieces.
    fn drop_if_idle(&mut self, host: SocketAddr) {
        if self.hosts.get(&host).is_some_and(|known| known.held == 0 && known.sole == 0) {
            self.hosts.remove(&host);
        }
    }

    fn held_by(&self, host: SocketAddr) -> Vec<PieceRange> {
        if self.hosts.get(&host).is_none_or(|known| known.held == 0) {
            return Vec::new();
        }
        let own = self.stretches.iter().filter(|(_, stretch)| stretch.holder == host);
        ranges::merged(own.map(|(&start, stretch)| Range { start, end: stretch.end }))
    }

    fn give_back(&mut self, host: SocketAddr) {
        if self.hosts.get(&host).is_none_or(|known| known.held == 0) {
            return;
        }
        let whole = Range { start: 0, end: self.pieces() };
        self.cut(whole, |stretch| stretch.holder == host);
    }

    /// Ends the leases that were not renewed, and those of starved hosts that have got nothing done.
    fn expire(&mut self, is_urgent: bool, now: Duration, terms: &mut Terms<'_>) {
        if !is_urgent && self.expired_at.is_some_and(|at| now.saturating_sub(at) < EXPIRY_INTERVAL) {
            return;
        }
        self.expired_at = Some(now);
        let silence_max = if is_urgent { terms.ttl.min(SILENCE_MAX) } else { terms.ttl };
        let is_over = |stretch: &Stretch| {
            let Some(host) = self.hosts.get(&stretch.holder) else { return true };
            let idle_since = host.reported_at.max(stretch.since);
            now.saturating_sub(host.renewed_at) > silence_max
                || (stretch.starved && now.saturating_sub(idle_since) > terms.ttl)
        };
        let over: Vec<(u32, Stretch)> =
            self.stretches.iter().filter(|(_, it)| is_over(it)).map(|(&start, it)| (start, *it)).collect();
        terms.counts.expired += over.len() as u64;
        for (start, stretch) in over {
            self.cut(Range { start, end: stretch.end }, |_| true);
        }
    }

    /// Stretches within a range, cut off at its ends.
    fn leased_within(&self, range: Range) -> impl Iterator<Item = Range> + '_ {
        let before = self.stretches.range(..range.start).next_back();
        let inside = self.stretches.range(range.start..range.end);
        before.into_iter().chain(inside).filter_map(move |(&start, stretch)| {
            let part = Range { start: start.max(range.start), end: stretch.end.min(range.end) };
            (part.len() > 0).then_some(part)
        })
    }

    fn is_leased(&self, piece: u32) -> bool {
        self.stretches.range(..=piece).next_back().is_some_and(|(_, stretch)| piece < stretch.end)
    }

    /// How many pieces of a range no host has reported.
    fn unreported_len(&self, range: Range) -> u32 {
        let copies = &self.copies[range.start as usize..range.end as usize];
        copies.iter().filter(|&&copies| copies == 0).count() as u32
    }

    /// Leases pieces that nobody holds; false when there are too many stretches.
    fn lease(&mut self, range: Range, lease: Stretch, terms: &mut Terms<'_>) -> bool {
        if self.stretches.len() >= STRETCHES_MAX {
            return false;
        }
        self.free -= self.unreported_len(range);
        self.put(range, lease);
        let known = self.host(lease.holder, lease.since);
        known.held += range.len();
        terms.counts.granted += 1;
        true
    }

    fn put(&mut self, range: Range, stretch: Stretch) {
        self.stretches.insert(range.start, Stretch { end: range.end, ..stretch });
    }

    /// Takes a range out of those stretches that are to lose it.
    fn cut(&mut self, range: Range, loses: impl Fn(&Stretch) -> bool) {
        let starts: Vec<u32> = self.leased_within(range).map(|part| part.start).collect();
        for start in starts {
            let Some((&first, &stretch)) = self.stretches.range(..=start).next_back() else { continue };
            if !loses(&stretch) {
                continue;
            }
            let lost = Range { start, end: stretch.end.min(range.end) };
            self.stretches.remove(&first);
            self.unlease(lost, stretch.holder);
            for rest in [Range { start: first, end: start }, Range { start: lost.end, end: stretch.end }] {
                // A holder that leaves holes everywhere does not get more stretches by it.
                if self.stretches.len() >= STRETCHES_MAX {
                    self.unlease(rest, stretch.holder);
                } else if rest.len() > 0 {
                    self.put(rest, stretch);
                }
            }
        }
    }

    /// Counts what a holder has lost.
    fn unlease(&mut self, lost: Range, holder: SocketAddr) {
        self.free += self.unreported_len(lost);
        if let Some(known) = self.hosts.get_mut(&holder) {
            known.held -= lost.len();
        }
        self.drop_if_idle(holder);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
