//! What a host that asks is leased: what is free, else a part of what another holds, and if it starves even what is out.

use std::net::SocketAddr;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;

use super::ranges::{self, Range};
use super::{Leases, STRETCHES_MAX, Speaker, Stretch, Terms};
use crate::lid::Purpose;
use crate::walk::below;

/// With so many holders, who holds nothing takes nothing from one that brings some. All holders share the origin's line:
/// the more they are, the later the first piece of each is whole, and the more ranges reach into what has become
/// another's meanwhile. The fewer, the more hosts wait for one that has something new while their own lines idle.
const HOLDERS_MAX: usize = 16;

/// The same where other sites' hosts fetch first copies: few share the line from there as well as many, and have
/// something whole sooner however thin it is.
const BRINGERS_MAX: usize = 4;

/// The most hosts of a swarm that have pieces because they starve: so many at once do not overrun an origin, and they
/// feed the others.
pub(super) const STARVED_MAX: usize = 8;

/// The same where other sites' hosts fetch first copies. Where the line from there is thin all seem to starve, and what
/// is in the site already would stand in the way of what is not; so each of them gets little.
pub(super) const STARVED_BRINGERS_MAX: usize = 2;

/// What a starved host gets at least, if it lacks so many pieces: enough that it is not asking all the time.
pub(super) const STARVED_PIECES_MIN: u32 = 8;

/// A holder may bring nothing for so long at least: it reports twice a second.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// For how long a host that got nothing goes before others that hold something already. Waiting hosts ask every second.
const WAITING: Duration = Duration::from_secs(2);

impl Speaker {
    fn holders_max(&self) -> usize {
        if self.second_hand { BRINGERS_MAX } else { HOLDERS_MAX }
    }
}

impl Leases {
    /// Leases what is free, else half of what another holds, and to a starved host what is out; whether there was any.
    pub(super) fn grant(
        &mut self,
        speaker: &Speaker,
        lacks: &[Range],
        starved: bool,
        now: Duration,
        terms: &mut Terms<'_>,
    ) -> bool {
        let host = speaker.address;
        let held = self.hosts.get(&host).map_or(0, |known| known.held);
        let is_waited_for =
            self.waiting.is_some_and(|(waiting, at)| waiting != host && now.saturating_sub(at) <= WAITING);
        let granted = (!speaker.seeded
            && (self.lease_free(speaker, lacks, held, is_waited_for, now, terms)
                || self.steal(speaker, lacks, held, now, terms)))
            || (starved && held == 0 && self.lease_to_starved(speaker, lacks, now, terms));
        if !granted && held == 0 && !lacks.is_empty() {
            self.waiting = Some((host, now));
        } else if !is_waited_for {
            self.waiting = None;
        }
        granted
    }

    /// The longest free stretch, or all of them if nobody else holds anything or waits, as far as the lid lets it.
    fn lease_free(
        &mut self,
        speaker: &Speaker,
        lacks: &[Range],
        held: u32,
        is_waited_for: bool,
        now: Duration,
        terms: &mut Terms<'_>,
    ) -> bool {
        if self.free == 0 || (held > 0 && is_waited_for) {
            return false;
        }
        let host = speaker.address;
        let mut free = self.free_within(lacks);
        let is_alone = !is_waited_for && self.stretches.values().all(|stretch| stretch.holder == host);
        if !is_alone {
            free = longest(free, terms.random).into_iter().collect();
        }
        let drawn = terms.draw(speaker, free.iter().map(Range::len).sum(), Purpose::FirstCopy, now);
        let lease = Stretch { end: 0, holder: host, since: now, starved: false };
        ranges::first(free, drawn).into_iter().filter(|&range| self.lease(range, lease, terms)).count() > 0
    }

    fn free_within(&self, lacks: &[Range]) -> Vec<Range> {
        let mut free = Vec::new();
        for &range in lacks {
            let mut from = range.start;
            for leased in self.leased_within(range) {
                self.unreported(Range { start: from, end: leased.start }, &mut free);
                from = leased.end;
            }
            self.unreported(Range { start: from, end: range.end }, &mut free);
        }
        free
    }

    /// The parts of a range that no host has reported.
    fn unreported(&self, range: Range, found: &mut Vec<Range>) {
        let mut start = range.start;
        while start < range.end {
            let copies = &self.copies[start as usize..range.end as usize];
            let skipped = copies.iter().take_while(|&&copies| copies > 0).count() as u32;
            let len = copies[skipped as usize..].iter().take_while(|&&copies| copies == 0).count() as u32;
            start += skipped;
            if len > 0 {
                found.push(Range { start, end: start + len });
            }
            start += len;
        }
    }

    /// Takes the second half of the longest stretch of another, as far as the host can use it and its holder is not at it.
    /// Under a lid holders are leased what they fetch in a moment, and only those that bring nothing have time to lose it.
    fn steal(
        &mut self,
        speaker: &Speaker,
        lacks: &[Range],
        held: u32,
        now: Duration,
        terms: &mut Terms<'_>,
    ) -> bool {
        let host = speaker.address;
        if self.stretches.len() >= STRETCHES_MAX {
            return false;
        }
        let is_crowded = held == 0 && self.holding() >= speaker.holders_max();
        let mut takeable = Vec::new();
        for (&start, stretch) in self.stretches.iter().filter(|(_, it)| it.holder != host && !it.starved) {
            let whole = Range { start, end: stretch.end };
            let is_stale = self.is_stale(stretch, now, terms.ttl);
            // Who holds something already takes of those only who hold more.
            if whole.len() > held && (is_stale || !is_crowded && terms.lid.is_none()) {
                // What a holder is at stays its own, unless it has brought nothing for long.
                let open = if is_stale { start } else { start + speaker.at_once };
                let halves = ranges::overlaps(lacks, whole).map(|part| {
                    let half = part.end - (part.len() / 2).max(1);
                    Range { start: half.max(open).min(part.end), ..part }
                });
                takeable.extend(halves.filter(|half| half.len() > 0));
            }
        }
        let Some(taken) = longest(takeable, terms.random) else { return false };
        self.cut(taken, |_| true);
        let lease = Stretch { end: 0, holder: host, since: now, starved: false };
        let is_leased = self.lease(taken, lease, terms);
        terms.counts.stolen += u64::from(is_leased);
        is_leased
    }

    /// How many hosts hold something.
    fn holding(&self) -> usize {
        self.hosts.values().filter(|host| host.held > 0).count()
    }

    /// How long a holder may bring nothing: twice as long as others take. One on a slow line keeps nobody waiting.
    fn patience(&self, ttl: Duration) -> Duration {
        let most = ttl / 2;
        self.pace.map_or(most, |pace| (2 * pace).clamp(PATIENCE_MIN.min(most), most))
    }

    /// Whether a holder has brought nothing for long.
    fn is_stale(&self, stretch: &Stretch, now: Duration, ttl: Duration) -> bool {
        let idle_since = self.hosts.get(&stretch.holder).map(|host| host.reported_at.max(stretch.since));
        idle_since.is_none_or(|since| now.saturating_sub(since) > self.patience(ttl))
    }

    /// Leases a share of all that a starved host lacks, the pieces first that the fewest have.
    fn lease_to_starved(
        &mut self,
        speaker: &Speaker,
        lacks: &[Range],
        now: Duration,
        terms: &mut Terms<'_>,
    ) -> bool {
        let mut others: Vec<SocketAddr> =
            self.stretches.values().filter(|it| it.starved).map(|it| it.holder).collect();
        others.sort_unstable();
        others.dedup();
        let is_brought = speaker.second_hand && !speaker.seeded;
        let starved_max = if is_brought { STARVED_BRINGERS_MAX } else { STARVED_MAX };
        if others.len() >= starved_max {
            return false;
        }
        let lacked: u32 = lacks.iter().map(Range::len).sum();
        let share = if is_brought { 0 } else { lacked / (1 + others.len() as u32) };
        let share = share.max(STARVED_PIECES_MIN);
        let mut runs = self.unleased_by_copies(lacks);
        let leasable: u32 = runs.iter().map(|(_, run)| run.len()).sum();
        let left = terms.draw(speaker, share.min(leasable), Purpose::Relief, now);
        // Stable: runs that are alike stay in the order of the bundle, from a random one on.
        let turn = below(terms.random, runs.len() as u64) as usize;
        runs.rotate_left(turn);
        runs.sort_by_key(|&(copies, run)| (copies, std::cmp::Reverse(run.len())));
        let lease = Stretch { end: 0, holder: speaker.address, since: now, starved: true };
        let mut granted = false;
        for run in ranges::first(runs.into_iter().map(|(_, run)| run), left) {
            if self.lease(run, lease, terms) {
                terms.counts.starved += 1;
                granted = true;
            }
        }
        granted
    }

    /// What nobody holds, as stretches of which equally many hosts have reported all pieces.
    fn unleased_by_copies(&self, lacks: &[Range]) -> Vec<(u8, Range)> {
        let mut runs: Vec<(u8, Range)> = Vec::new();
        for &range in lacks {
            let leased: Vec<Range> = self.leased_within(range).collect();
            let mut leased = leased.into_iter().peekable();
            let mut piece = range.start;
            while piece < range.end {
                if let Some(held) = leased.next_if(|held| held.start <= piece) {
                    piece = held.end;
                    continue;
                }
                let copies = self.copies[piece as usize];
                match runs.last_mut() {
                    Some((same, run)) if *same == copies && run.end == piece => run.end += 1,
                    _ => runs.push((copies, Range { start: piece, end: piece + 1 })),
                }
                piece += 1;
            }
        }
        runs
    }
}

/// The longest range, a random one of several.
fn longest(ranges: Vec<Range>, random: &mut Pcg64Mcg) -> Option<Range> {
    let len = ranges.iter().map(Range::len).max()?;
    let mut longest: Vec<Range> = ranges.into_iter().filter(|range| range.len() == len).collect();
    let chosen = below(random, longest.len() as u64) as usize;
    Some(longest.swap_remove(chosen))
}
