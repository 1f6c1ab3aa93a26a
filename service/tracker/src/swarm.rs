//! One swarm: its peers in dense vectors, one for each address family and completeness, so that a random one costs a
//! multiplication, and an index that knows where each of them stands.

use std::iter::Take;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};
use rand_pcg::Pcg64Mcg;

use crate::announce::{Asker, SwarmCount};
use crate::hashing::{AddressHash, AddressMap};
use crate::leases::Leases;
use crate::walk::Walk;

/// The other address family gets at least one in so many of an answer's peers, so that hosts with only one family, and
/// through them both halves of a swarm, are found.
const OTHER_FAMILY_SHARE: usize = 5;

/// The most peers of one family that are looked at for one answer. Some are passed over: after a fleet has left, or
/// when many hosts are clones with one name, nearly all. Among so many, fifty are found as long as one in twenty fits,
/// and no answer costs more than a few microseconds.
const WALK_STEPS_MAX: usize = 1000;

/// What an answer needs to know of a peer, in the 64 bytes of one cache line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contact {
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) seen_millis: u64,
}

/// A seed is enough for so many hosts: with more of them, first copies come from the origin as well.
const PEERS_PER_SEED: u32 = 8;

/// The four vectors: IPv4 then IPv6, in each the incomplete ones first.
pub(crate) const POOLS: usize = 4;

fn pool_of(is_ipv6: bool, is_complete: bool) -> usize {
    usize::from(is_ipv6) * 2 + usize::from(is_complete)
}

#[derive(Debug, Clone, Copy)]
struct Place {
    pool: u8,
    position: u32,
}

/// A registered swarm.
pub(crate) struct Swarm {
    pub(crate) info_hash: InfoHash,
    /// When a peer last announced, if any ever did.
    pub(crate) announced_at: Option<Duration>,
    pub(crate) downloaded: u64,
    pub(crate) leases: Leases,
    pools: [Vec<Contact>; POOLS],
    places: AddressMap<SocketAddr, Place>,
    listed_per_ip: AddressMap<IpAddr, u32>,
}

impl Swarm {
    pub(crate) fn new(info_hash: InfoHash, hash: &AddressHash) -> Self {
        Self {
            info_hash,
            announced_at: None,
            downloaded: 0,
            leases: Leases::default(),
            pools: Default::default(),
            places: AddressMap::with_hasher(hash.clone()),
            listed_per_ip: AddressMap::with_hasher(hash.clone()),
        }
    }

    /// How many peers are listed, stale ones that the sweep has not met yet among them.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether any peer is listed at this address.
    pub(crate) fn lists(&self, address: SocketAddr) -> bool {
        self.places.contains_key(&address)
    }

    /// Peers that have announced since this moment, at most so many.
    pub(crate) fn some_fresh(&self, fresh_since: u64, len_max: usize) -> Vec<Contact> {
        let fresh = self.pools.iter().flatten().filter(|contact| contact.seen_millis >= fresh_since);
        fresh.take(len_max).copied().collect()
    }

    /// How many peers are listed for one address.
    pub(crate) fn listed_at(&self, ip: IpAddr) -> u32 {
        self.listed_per_ip.get(&ip).copied().unwrap_or(0)
    }

    /// The lengths of the four vectors.
    pub(crate) fn pool_lens(&self) -> [usize; POOLS] {
        [0, 1, 2, 3].map(|pool| self.pools[pool].len())
    }

    pub(crate) fn count(&self) -> SwarmCount {
        let [v4_incomplete, v4_complete, v6_incomplete, v6_complete] = self.pool_lens();
        // The number of peers is far below 2^32: positions are u32 and `swarm_peers_max` is clamped to them.
        SwarmCount {
            complete: (v4_complete + v6_complete) as u32,
            incomplete: (v4_incomplete + v6_incomplete) as u32,
            downloaded: self.downloaded,
        }
    }

    /// Whether the peer at this address is listed as complete, under this name.
    pub(crate) fn is_listed_complete(&self, address: SocketAddr, peer_id: PeerId) -> bool {
        self.listed_as(address, peer_id) == Some(true)
    }

    /// Whether the peer of this name and address is complete, if it is listed.
    pub(crate) fn listed_as(&self, address: SocketAddr, peer_id: PeerId) -> Option<bool> {
        let place = *self.places.get(&address)?;
        let contact = self.contact(place).filter(|contact| contact.peer_id == peer_id);
        contact.map(|_| place.pool & 1 == 1)
    }

    /// Whether some listed peer has everything.
    pub(crate) fn is_seeded(&self) -> bool {
        self.count().complete > 0
    }

    /// Whether the peers that have everything are enough for those that do not.
    pub(crate) fn is_well_seeded(&self) -> bool {
        let SwarmCount { complete, incomplete, .. } = self.count();
        complete.saturating_mul(PEERS_PER_SEED) >= incomplete && complete > 0
    }

    fn contact(&self, place: Place) -> Option<&Contact> {
        self.pools[usize::from(place.pool)].get(place.position as usize)
    }

    /// Renews a listed peer, which another one at the same address replaces; false when none is listed there.
    pub(crate) fn renew(&mut self, contact: Contact, is_complete: bool) -> bool {
        let Some(place) = self.places.get(&contact.address).copied() else {
            return false;
        };
        let (pool, position) = (usize::from(place.pool), place.position as usize);
        if pool == pool_of(contact.address.is_ipv6(), is_complete) {
            self.pools[pool][position] = contact;
        } else {
            self.take_out(pool, position);
            self.put(contact, is_complete);
        }
        true
    }

    /// Lists a peer whose address is not listed yet.
    pub(crate) fn enter(&mut self, contact: Contact, is_complete: bool) {
        *self.listed_per_ip.entry(contact.address.ip()).or_insert(0) += 1;
        self.put(contact, is_complete);
    }

    /// Takes the peer of this name and address off the list; whether it was on it.
    ///
    /// The name must be right: the last word of an agent that was stopped may arrive after the first one of its
    /// successor on the same port.
    pub(crate) fn leave(&mut self, address: SocketAddr, peer_id: PeerId) -> bool {
        let Some(place) = self.places.get(&address).copied() else {
            return false;
        };
        if self.contact(place).is_none_or(|contact| contact.peer_id != peer_id) {
            return false;
        }
        self.remove(usize::from(place.pool), place.position as usize);
        true
    }

    /// Whether a position of a vector holds a peer that was last seen before this moment.
    pub(crate) fn is_stale(&self, pool: usize, position: usize, fresh_since: u64) -> bool {
        self.pools[pool].get(position).is_some_and(|contact| contact.seen_millis < fresh_since)
    }

    /// Forgets the peer at a position; the last one of the vector takes its place.
    pub(crate) fn remove(&mut self, pool: usize, position: usize) {
        let contact = self.take_out(pool, position);
        self.places.remove(&contact.address);
        let ip = contact.address.ip();
        if let Some(listed) = self.listed_per_ip.get_mut(&ip) {
            *listed -= 1;
            if *listed == 0 {
                self.listed_per_ip.remove(&ip);
            }
        }
        self.leases.forget(contact.address, self.is_seeded());
        if self.places.is_empty() {
            self.release_memory();
        }
    }

    /// A burst leaves room for all its peers behind, in each of a thousand swarms that may never see another.
    fn release_memory(&mut self) {
        self.pools = Default::default();
        self.leases = Leases::default();
        self.places.shrink_to_fit();
        self.listed_per_ip.shrink_to_fit();
    }

    fn put(&mut self, contact: Contact, is_complete: bool) {
        let pool = pool_of(contact.address.is_ipv6(), is_complete);
        let position = self.pools[pool].len() as u32;
        self.places.insert(contact.address, Place { pool: pool as u8, position });
        self.pools[pool].push(contact);
    }

    /// Removes from the vector alone, and tells the index where the one that moved stands now.
    fn take_out(&mut self, pool: usize, position: usize) -> Contact {
        let contact = self.pools[pool].swap_remove(position);
        if let Some(moved) = self.pools[pool].get(position)
            && let Some(place) = self.places.get_mut(&moved.address)
        {
            place.position = position as u32;
        }
        contact
    }

    /// Peers for this asker: distinct, fresh, in random order, the asker's address family first.
    pub(crate) fn hand_out(
        &self,
        asker: &Asker,
        wanted: usize,
        fresh_since: u64,
        random: &mut Pcg64Mcg,
    ) -> Vec<SocketAddr> {
        let is_ipv6 = asker.address.is_ipv6();
        let mut own = FamilyWalk::new(self, is_ipv6, asker, random);
        let mut other = FamilyWalk::new(self, !is_ipv6, asker, random);
        // Of a single peer nothing can be reserved: then the own family's is the one that is surely reached.
        let reserved = if wanted > 1 { wanted.div_ceil(OTHER_FAMILY_SHARE).min(other.walk.len()) } else { 0 };
        let mut peers = Vec::with_capacity(wanted.min(own.walk.len() + other.walk.len()));
        own.extend(&mut peers, wanted - reserved, fresh_since);
        other.extend(&mut peers, wanted, fresh_since);
        own.extend(&mut peers, wanted, fresh_since);
        peers
    }
}

/// A walk over all peers of one family that an asker can use.
struct FamilyWalk<'a> {
    incomplete: &'a [Contact],
    complete: &'a [Contact],
    asker: &'a Asker,
    walk: Take<Walk>,
}

impl<'a> FamilyWalk<'a> {
    fn new(swarm: &'a Swarm, is_ipv6: bool, asker: &'a Asker, random: &mut Pcg64Mcg) -> Self {
        let incomplete: &[Contact] = &swarm.pools[pool_of(is_ipv6, false)];
        let complete: &[Contact] = if asker.complete { &[] } else { &swarm.pools[pool_of(is_ipv6, true)] };
        let walk = Walk::new(incomplete.len() + complete.len(), random).take(WALK_STEPS_MAX);
        Self { incomplete, complete, asker, walk }
    }

    /// Walks on until there are so many peers in all. Each step looks at another peer, so stale ones and the asker cost
    /// a step, and never a place in the answer.
    fn extend(&mut self, peers: &mut Vec<SocketAddr>, len_max: usize, fresh_since: u64) {
        while peers.len() < len_max {
            let Some(index) = self.walk.next() else { return };
            let contact = match index.checked_sub(self.incomplete.len()) {
                None => &self.incomplete[index],
                Some(index) => &self.complete[index],
            };
            if contact.seen_millis >= fresh_since
                && contact.address != self.asker.address
                && Some(contact.peer_id) != self.asker.peer_id
            {
                peers.push(contact.address);
            }
        }
    }
}

#[cfg(test)]
impl Swarm {
    /// Panics unless the vectors, the index and the counts per address say the same.
    pub(crate) fn check_invariants(&self) {
        let mut listed_per_ip = std::collections::BTreeMap::<IpAddr, u32>::new();
        for (pool, contacts) in self.pools.iter().enumerate() {
            for (position, contact) in contacts.iter().enumerate() {
                let place = self.places[&contact.address];
                assert_eq!((usize::from(place.pool), place.position as usize), (pool, position));
                assert_eq!(contact.address.is_ipv6(), pool >= 2);
                *listed_per_ip.entry(contact.address.ip()).or_default() += 1;
            }
        }
        assert_eq!(self.places.len(), self.pools.iter().map(Vec::len).sum::<usize>());
        assert_eq!(self.listed_per_ip.len(), listed_per_ip.len());
        assert!(listed_per_ip.iter().all(|(ip, listed)| self.listed_per_ip[ip] == *listed));
        self.leases.check_invariants();
    }
}
