//! All registered swarms, and the rules by which peers are let in, listed and introduced.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use crate::announce::{Announce, Asker, Event, Introduction, Lease, LeaseQuestion, Refusal, SwarmCount};
use crate::flood::FloodGuard;
use crate::hashing::{AddressHash, DigestMap};
use crate::leases::{LeaseCounts, Speaker, Terms};
use crate::lid::{Lid, LidCounts};
use crate::networks::{canonical, contain};
use crate::settings::Settings;
use crate::sites::SiteId;
use crate::swarm::{Contact, POOLS, Swarm};
use crate::sweep::Cursor;
use crate::views::SwarmOverview;
use crate::walk::below;

mod moving;

/// A peer may come back of its own accord after this part of the interval: often enough for one that ran out of peers,
/// and no doubling of the load when a client makes it a habit.
const MIN_INTERVAL_DIVISOR: u32 = 2;

/// Intervals are up to one part in so many longer than asked for: a quarter spreads a fleet that started in one second
/// over a quarter of a minute at its first announce, and over the whole minute within a few.
const JITTER_DIVISOR: u32 = 4;

/// The swarms. That of an evicted bundle leaves an empty one in its slot, which the next bundle takes over: so slots
/// never move, and the sweep's place stays right.
pub(crate) struct Swarms {
    pub(crate) settings: Settings,
    pub(crate) slots: Vec<Swarm>,
    pub(crate) cursor: Cursor,
    /// How many peers are listed in all swarms together.
    pub(crate) listed: usize,
    pub(crate) lease_counts: LeaseCounts,
    lid: Option<Lid>,
    slot_of: DigestMap<InfoHash, usize>,
    free_slots: Vec<usize>,
    flood: Option<FloodGuard>,
    random: Pcg64Mcg,
    address_hash: AddressHash,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Swarms {
    pub(crate) fn new(mut settings: Settings, seed: u64) -> Self {
        // A place in a swarm is a u32.
        settings.swarm_peers_max = settings.swarm_peers_max.min(u32::MAX as usize);
        let mut random = Pcg64Mcg::new(u128::from(seed));
        let address_hash = AddressHash::new(random.next_u64());
        Self {
            flood: settings.flood.map(|limit| FloodGuard::new(limit, &address_hash)),
            lid: settings.origin_max_rate.map(Lid::new),
            settings,
            slots: Vec::new(),
            cursor: Cursor::default(),
            listed: 0,
            lease_counts: LeaseCounts::default(),
            slot_of: DigestMap::default(),
            free_slots: Vec::new(),
            random,
            address_hash,
        }
    }

    pub(crate) fn reconfigure(&mut self, settings: &Settings) {
        // A guard that stays as it is goes on knowing who was too fast.
        if settings.flood != self.settings.flood {
            self.flood = settings.flood.map(|limit| FloodGuard::new(limit, &self.address_hash));
        }
        match (&mut self.lid, settings.origin_max_rate) {
            (Some(lid), Some(rate)) => lid.set_rate(rate),
            (lid, rate) => *lid = rate.map(Lid::new),
        }
        let own = &mut self.settings;
        (own.interval, own.peer_ttl) = (settings.interval, settings.peer_ttl);
        (own.flood, own.origin_max_rate) = (settings.flood, settings.origin_max_rate);
        own.peers_per_answer_max = settings.peers_per_answer_max;
    }

    /// Makes a swarm for a bundle; one that is there stays as it is.
    pub(crate) fn register(&mut self, info_hash: InfoHash) {
        if self.slot_of.contains_key(&info_hash) {
            return;
        }
        let swarm = Swarm::new(info_hash, &self.address_hash);
        let slot = if let Some(slot) = self.free_slots.pop() {
            self.slots[slot] = swarm;
            slot
        } else {
            self.slots.push(swarm);
            self.slots.len() - 1
        };
        self.slot_of.insert(info_hash, slot);
    }

    /// Forgets a swarm and its peers.
    pub(crate) fn remove(&mut self, info_hash: &InfoHash) {
        let Some(slot) = self.slot_of.remove(info_hash) else {
            return;
        };
        self.listed -= self.slots[slot].len();
        self.slots[slot] = Swarm::new(*info_hash, &self.address_hash);
        self.free_slots.push(slot);
    }

    pub(crate) fn get(&self, info_hash: &InfoHash) -> Option<&Swarm> {
        self.slot_of.get(info_hash).map(|&slot| &self.slots[slot])
    }

    /// All announces of one request, each answered or refused by itself; together they cost one of the address's.
    pub(crate) fn announce_all(
        &mut self,
        address: SocketAddr,
        announces: &[Announce],
        now: Duration,
    ) -> Result<Vec<Result<Introduction, Refusal>>, Refusal> {
        let address = self.admit(address, now)?;
        let answered = announces.iter().map(|announce| {
            let slot = self.slot(announce.info_hash)?;
            Ok(self.introduce(slot, &Announce { address, ..*announce }, now))
        });
        Ok(answered.collect())
    }

    pub(crate) fn announce(&mut self, announce: &Announce, now: Duration) -> Result<Introduction, Refusal> {
        let address = self.admit(announce.address, now)?;
        let slot = self.slot(announce.info_hash)?;
        Ok(self.introduce(slot, &Announce { address, ..*announce }, now))
    }

    /// Enters a host that was just given a plan into all of its swarms, as one announce. Nothing happens unless all of
    /// them are known.
    pub(crate) fn join(
        &mut self,
        info_hashes: &[InfoHash],
        peer_id: PeerId,
        address: SocketAddr,
        wanted: usize,
        now: Duration,
    ) -> Result<Vec<Introduction>, Refusal> {
        let address = self.admit(address, now)?;
        let slots: Vec<usize> = info_hashes.iter().map(|&it| self.slot(it)).collect::<Result<_, _>>()?;
        let entered = slots.into_iter().zip(info_hashes).map(|(slot, &info_hash)| {
            // A plan says nothing about progress: a host that asks for one again may be a seed already.
            let complete = self.slots[slot].is_listed_complete(address, peer_id);
            let event = Some(Event::Started);
            let announce = Announce { info_hash, peer_id, address, complete, event, wanted };
            self.introduce(slot, &announce, now)
        });
        Ok(entered.collect())
    }

    /// Peers for a host that cannot be reached itself, or is only looking. Nobody outside the networks gets any.
    pub(crate) fn peers_of(
        &mut self,
        info_hash: InfoHash,
        asker: &Asker,
        wanted: usize,
        now: Duration,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let asker = Asker { address: self.inside(asker.address)?, ..*asker };
        let slot = self.slot(info_hash)?;
        let wanted = wanted.min(self.settings.peers_per_answer_max);
        let fresh_since = self.fresh_since(now);
        Ok(self.slots[slot].hand_out(&asker, &self.settings.sites, wanted, fresh_since, &mut self.random))
    }

    /// The address under which a host is listed in a swarm, if it is.
    pub(crate) fn listed(&self, info_hash: &InfoHash, address: SocketAddr) -> Option<SocketAddr> {
        let address = canonical(address);
        self.get(info_hash).filter(|swarm| swarm.lists(address)).map(|_| address)
    }

    /// Which of a swarm's hosts can be called by one that is told of its peers.
    pub(crate) fn callable_by(
        &self,
        info_hash: &InfoHash,
        asker: SocketAddr,
        now: Duration,
    ) -> impl Fn(&SocketAddr) -> bool + '_ {
        let (swarm, asker) = (self.get(info_hash), canonical(asker));
        let (site, fresh_since) = (self.settings.sites.of(asker.ip()), self.fresh_since(now));
        move |host| {
            let is_listed = swarm.is_some_and(|swarm| swarm.is_fresh(*host, fresh_since));
            *host != asker && self.settings.sites.of(host.ip()) == site && is_listed
        }
    }

    /// Hears what a listed peer says of leases; see [`crate::Tracker::lease`].
    pub(crate) fn lease(&mut self, asked: &LeaseQuestion<'_>, now: Duration) -> Option<Lease> {
        let LeaseQuestion { info_hash, peer_id, address, pieces, piece_len, wish } = *asked;
        if self.settings.lease_ttl.is_zero() {
            return None;
        }
        let address = canonical(address);
        let slot = *self.slot_of.get(&info_hash)?;
        let second_hand = self.is_second_hand(&info_hash, address);
        let swarm = &mut self.slots[slot];
        let complete = swarm.listed_as(address, peer_id)?;
        let local = swarm.local(self.settings.sites.of(address.ip()));
        let (at_once, seeded) = (piece_len.fetched_at_once(), local.is_well_seeded());
        let piece_len = piece_len.bytes();
        let speaker = Speaker { address, complete, pieces, piece_len, at_once, seeded, second_hand };
        let mut terms = Terms {
            ttl: self.settings.lease_ttl,
            random: &mut self.random,
            counts: &mut self.lease_counts,
            // What is brought from another site is not the origin's.
            lid: self.lid.as_mut().filter(|_| !second_hand),
            is_in_vain: false,
        };
        let pieces = local.leases.answer(&speaker, wish, now, &mut terms);
        let Terms { random, lid, is_in_vain, .. } = terms;
        let stretch = speaker.stretch_len();
        let ask_again = lid.map(|lid| lid.ask_again(is_in_vain, stretch, now, random));
        Some(Lease { pieces, ask_again })
    }

    /// The origin has sent so much more; see [`crate::Tracker::origin_sent`].
    pub(crate) fn origin_sent(&mut self, bytes: u64, now: Duration) {
        if let Some(lid) = &mut self.lid {
            lid.sent(bytes, now);
        }
    }

    /// What was asked of the lid, if there is one.
    pub(crate) fn lid_counts(&self) -> LidCounts {
        self.lid.as_ref().map_or_else(LidCounts::default, |lid| lid.counts)
    }

    /// Whether hosts of another site fetch a swarm's first copies, for this address; see [`crate::Tracker::is_second_hand`].
    pub(crate) fn is_second_hand(&self, info_hash: &InfoHash, address: SocketAddr) -> bool {
        let (sites, site) = (&self.settings.sites, self.settings.sites.of(canonical(address).ip()));
        let present = self.get(info_hash).into_iter().flat_map(Swarm::present);
        site != SiteId::NONE && sites.first_hand(present).is_some_and(|first| first != site)
    }

    /// How many pieces are leased in all swarms together.
    pub(crate) fn leased(&self) -> usize {
        self.slots.iter().flat_map(Swarm::locals).map(|local| local.leases.leased()).sum()
    }

    pub(crate) fn count(&self, info_hash: &InfoHash) -> Option<SwarmCount> {
        self.get(info_hash).map(Swarm::count)
    }

    /// How many peers all swarms have in each of their four vectors.
    pub(crate) fn pool_lens(&self) -> [usize; POOLS] {
        let mut sum = [0; POOLS];
        for swarm in &self.slots {
            for (sum, len) in sum.iter_mut().zip(swarm.pool_lens()) {
                *sum += len;
            }
        }
        sum
    }

    /// How many swarms there are.
    pub(crate) fn len(&self) -> usize {
        self.slot_of.len()
    }

    /// How many addresses the flood limit remembers.
    pub(crate) fn flood_addresses(&self) -> usize {
        self.flood.as_ref().map_or(0, FloodGuard::len)
    }

    /// The swarms with the most peers, the largest first, and at most so many; swarms without peers are left out.
    pub(crate) fn busiest(&self, swarms_max: usize) -> Vec<SwarmOverview> {
        let mut swarms: Vec<&Swarm> = self.slots.iter().filter(|swarm| swarm.len() > 0).collect();
        let rank = |swarm: &&Swarm| (std::cmp::Reverse(swarm.len()), swarm.info_hash);
        if swarms.len() > swarms_max {
            swarms.select_nth_unstable_by_key(swarms_max, rank);
            swarms.truncate(swarms_max);
        }
        swarms.sort_unstable_by_key(rank);
        swarms.into_iter().map(SwarmOverview::of).collect()
    }

    /// The moment since which a peer must have announced to be handed out.
    pub(crate) fn fresh_since(&self, now: Duration) -> u64 {
        millis(now).saturating_sub(millis(self.settings.peer_ttl))
    }

    /// The address in its one form, when it is one whose hosts meet here.
    fn inside(&self, address: SocketAddr) -> Result<SocketAddr, Refusal> {
        let address = canonical(address);
        if !contain(&self.settings.peer_networks, address.ip()) {
            return Err(Refusal::OutsideNetworks(address.ip()));
        }
        Ok(address)
    }

    /// As `inside`, and takes one of the address's announces. Announces of unknown swarms count as well.
    fn admit(&mut self, address: SocketAddr, now: Duration) -> Result<SocketAddr, Refusal> {
        let address = self.inside(address)?;
        if let Some(flood) = &mut self.flood {
            flood.take(address.ip(), now).map_err(|retry_after| Refusal::TooManyAnnounces { retry_after })?;
        }
        Ok(address)
    }

    fn slot(&self, info_hash: InfoHash) -> Result<usize, Refusal> {
        self.slot_of.get(&info_hash).copied().ok_or(Refusal::UnknownSwarm(info_hash))
    }

    /// Answers an admitted announce.
    fn introduce(&mut self, slot: usize, announce: &Announce, now: Duration) -> Introduction {
        let is_stopped = announce.event == Some(Event::Stopped);
        let wanted = if is_stopped { 0 } else { announce.wanted.min(self.settings.peers_per_answer_max) };
        let fresh_since = self.fresh_since(now);
        let swarm = &mut self.slots[slot];
        swarm.announced_at = Some(now);
        if announce.event == Some(Event::Completed)
            && !swarm.is_listed_complete(announce.address, announce.peer_id)
        {
            swarm.downloaded += 1;
        }
        let listed = if is_stopped {
            self.listed -= usize::from(swarm.leave(announce.address, announce.peer_id));
            false
        } else {
            list(swarm, announce, now, &self.settings, &mut self.listed)
        };
        let asker =
            Asker { address: announce.address, peer_id: Some(announce.peer_id), complete: announce.complete };
        let peers = swarm.hand_out(&asker, &self.settings.sites, wanted, fresh_since, &mut self.random);
        let SwarmCount { complete, incomplete, .. } = swarm.count();
        let interval = self.settings.interval;
        let jitter_millis = below(&mut self.random, millis(interval / JITTER_DIVISOR));
        Introduction {
            interval: interval.saturating_add(Duration::from_millis(jitter_millis)),
            min_interval: interval / MIN_INTERVAL_DIVISOR,
            complete,
            incomplete,
            listed,
            peers,
        }
    }
}

/// Lists the announcer, or renews it; false when it does not listen or a limit was met.
fn list(
    swarm: &mut Swarm,
    announce: &Announce,
    now: Duration,
    settings: &Settings,
    listed: &mut usize,
) -> bool {
    let Announce { peer_id, address, complete, .. } = *announce;
    if address.port() == 0 {
        return false;
    }
    let contact = Contact { address, peer_id, seen_millis: millis(now) };
    if swarm.renew(contact, complete) {
        return true;
    }
    enter(swarm, contact, complete, settings, listed)
}

/// Lists a peer that is not listed yet; false when a limit was met.
fn enter(
    swarm: &mut Swarm,
    contact: Contact,
    complete: bool,
    settings: &Settings,
    listed: &mut usize,
) -> bool {
    let is_full = *listed >= settings.peers_max
        || swarm.len() >= settings.swarm_peers_max
        || swarm.listed_at(contact.address.ip()) >= settings.peers_per_address_max;
    if !is_full {
        swarm.enter(contact, settings.sites.of(contact.address.ip()), complete);
        *listed += 1;
    }
    !is_full
}

#[cfg(test)]
impl Swarms {
    /// Panics unless the swarms, their index and the total say the same.
    pub(crate) fn check_invariants(&self) {
        for (info_hash, &slot) in &self.slot_of {
            assert_eq!(self.slots[slot].info_hash, *info_hash);
        }
        assert!(self.free_slots.iter().all(|&slot| self.slots[slot].len() == 0));
        assert_eq!(self.slots.len(), self.slot_of.len() + self.free_slots.len());
        assert_eq!(self.listed, self.slots.iter().map(Swarm::len).sum::<usize>());
        self.slots.iter().for_each(|swarm| swarm.check_invariants(&self.settings.sites));
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
