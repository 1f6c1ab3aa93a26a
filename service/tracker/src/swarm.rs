//! One swarm: its peers in dense vectors, one for each site, address family and completeness, so that a random one costs
//! a multiplication, and an index that knows where each of them stands.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};

use crate::announce::SwarmCount;
use crate::hashing::{AddressHash, AddressMap};
use crate::leases::Leases;
use crate::sites::SiteId;

/// What an answer needs to know of a peer, in the 64 bytes of one cache line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contact {
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) seen_millis: u64,
}

/// A seed is enough for so many hosts: with more of them, first copies come from the origin as well.
const PEERS_PER_SEED: usize = 8;

/// The vectors of one site: IPv4 then IPv6, in each the incomplete ones first.
pub(crate) const POOLS: usize = 4;

fn pool_of(is_ipv6: bool, is_complete: bool) -> usize {
    usize::from(is_ipv6) * 2 + usize::from(is_complete)
}

/// Where a peer stands: in which of all sites' vectors, one site's behind another's, and where in it.
#[derive(Debug, Clone, Copy)]
struct Place {
    pool: u16,
    position: u32,
}

/// The peers of one site, and what is leased to them.
pub(crate) struct Local {
    pub(crate) site: SiteId,
    pub(crate) leases: Leases,
    pools: [Vec<Contact>; POOLS],
}

impl Local {
    fn new(site: SiteId) -> Self {
        Self { site, leases: Leases::default(), pools: Default::default() }
    }

    pub(crate) fn pool(&self, is_ipv6: bool, is_complete: bool) -> &[Contact] {
        &self.pools[pool_of(is_ipv6, is_complete)]
    }

    fn pool_lens(&self) -> [usize; POOLS] {
        [0, 1, 2, 3].map(|pool| self.pools[pool].len())
    }

    fn is_empty(&self) -> bool {
        self.pools.iter().all(Vec::is_empty)
    }

    /// How many have not everything, and how many do.
    pub(crate) fn count(&self) -> (usize, usize) {
        let [v4_incomplete, v4_complete, v6_incomplete, v6_complete] = self.pool_lens();
        (v4_incomplete + v6_incomplete, v4_complete + v6_complete)
    }

    /// Whether some peer of the site has everything.
    pub(crate) fn is_seeded(&self) -> bool {
        self.count().1 > 0
    }

    /// Whether the peers of the site that have everything are enough for those that do not.
    pub(crate) fn is_well_seeded(&self) -> bool {
        let (incomplete, complete) = self.count();
        complete.saturating_mul(PEERS_PER_SEED) >= incomplete && complete > 0
    }
}

/// A registered swarm.
pub(crate) struct Swarm {
    pub(crate) info_hash: InfoHash,
    /// When a peer last announced, if any ever did.
    pub(crate) announced_at: Option<Duration>,
    pub(crate) downloaded: u64,
    /// The sites that peers are or were in, in the order of their coming. None is dropped before all peers are gone.
    locals: Vec<Local>,
    places: AddressMap<SocketAddr, Place>,
    listed_per_ip: AddressMap<IpAddr, u32>,
}

impl Swarm {
    pub(crate) fn new(info_hash: InfoHash, hash: &AddressHash) -> Self {
        Self {
            info_hash,
            announced_at: None,
            downloaded: 0,
            locals: Vec::new(),
            places: AddressMap::with_hasher(hash.clone()),
            listed_per_ip: AddressMap::with_hasher(hash.clone()),
        }
    }

    pub(crate) fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// What is known of a site, made if it is nothing yet.
    pub(crate) fn local(&mut self, site: SiteId) -> &mut Local {
        let index = self.index_of(site);
        &mut self.locals[index]
    }

    fn index_of(&mut self, site: SiteId) -> usize {
        let known = self.locals.iter().position(|local| local.site == site);
        known.unwrap_or_else(|| {
            self.locals.push(Local::new(site));
            self.locals.len() - 1
        })
    }

    /// The sites that peers are in.
    pub(crate) fn present(&self) -> impl Iterator<Item = SiteId> + '_ {
        self.locals.iter().filter(|local| !local.is_empty()).map(|local| local.site)
    }

    /// How many peers are listed, stale ones that the sweep has not met yet among them.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether any peer is listed at this address.
    pub(crate) fn lists(&self, address: SocketAddr) -> bool {
        self.places.contains_key(&address)
    }

    /// Whether a peer is listed at this address that has announced since this moment.
    pub(crate) fn is_fresh(&self, address: SocketAddr, fresh_since: u64) -> bool {
        let contact = self.places.get(&address).and_then(|place| self.contact(*place));
        contact.is_some_and(|contact| contact.seen_millis >= fresh_since)
    }

    /// Peers that have announced since this moment, at most so many, and as many of each site.
    pub(crate) fn some_fresh(&self, fresh_since: u64, len_max: usize) -> Vec<Contact> {
        let of_site = len_max / self.locals.len().max(1);
        let fresh = |local: &Local| {
            let fresh = local.pools.iter().flatten().filter(|contact| contact.seen_millis >= fresh_since);
            fresh.take(of_site).copied().collect::<Vec<_>>()
        };
        self.locals.iter().flat_map(fresh).collect()
    }

    /// How many peers are listed for one address.
    pub(crate) fn listed_at(&self, ip: IpAddr) -> u32 {
        self.listed_per_ip.get(&ip).copied().unwrap_or(0)
    }

    /// The lengths of the four vectors of all sites together.
    pub(crate) fn pool_lens(&self) -> [usize; POOLS] {
        let mut sum = [0; POOLS];
        for local in &self.locals {
            sum.iter_mut().zip(local.pool_lens()).for_each(|(sum, len)| *sum += len);
        }
        sum
    }

    /// How many vectors there are.
    pub(crate) fn pools(&self) -> usize {
        self.locals.len() * POOLS
    }

    pub(crate) fn pool(&self, pool: usize) -> &[Contact] {
        self.locals.get(pool / POOLS).map_or(&[], |local| &local.pools[pool % POOLS])
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

    fn contact(&self, place: Place) -> Option<&Contact> {
        self.pool(usize::from(place.pool)).get(place.position as usize)
    }

    /// Renews a listed peer, which another one at the same address replaces; false when none is listed there.
    pub(crate) fn renew(&mut self, contact: Contact, is_complete: bool) -> bool {
        let Some(place) = self.places.get(&contact.address).copied() else {
            return false;
        };
        let (pool, position) = (usize::from(place.pool), place.position as usize);
        let kind = pool_of(contact.address.is_ipv6(), is_complete);
        if pool % POOLS == kind {
            self.locals[pool / POOLS].pools[kind][position] = contact;
        } else {
            self.take_out(pool, position);
            self.put(contact, pool / POOLS, kind);
        }
        true
    }

    /// Lists a peer of a site whose address is not listed yet.
    pub(crate) fn enter(&mut self, contact: Contact, site: SiteId, is_complete: bool) {
        *self.listed_per_ip.entry(contact.address.ip()).or_insert(0) += 1;
        let local = self.index_of(site);
        self.put(contact, local, pool_of(contact.address.is_ipv6(), is_complete));
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
        self.pool(pool).get(position).is_some_and(|contact| contact.seen_millis < fresh_since)
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
        let local = &mut self.locals[pool / POOLS];
        local.leases.forget(contact.address, local.is_seeded());
        if local.is_empty() {
            *local = Local::new(local.site);
        }
        if self.places.is_empty() {
            self.release_memory();
        }
    }

    /// A burst leaves room for all its peers behind, in each of a thousand swarms that may never see another.
    fn release_memory(&mut self) {
        self.locals = Vec::new();
        self.places.shrink_to_fit();
        self.listed_per_ip.shrink_to_fit();
    }

    fn put(&mut self, contact: Contact, local: usize, kind: usize) {
        let pool = &mut self.locals[local].pools[kind];
        let position = pool.len() as u32;
        pool.push(contact);
        // Sites are at most SITES_MAX and one more.
        let place = Place { pool: (local * POOLS + kind) as u16, position };
        self.places.insert(contact.address, place);
    }

    /// Removes from the vector alone, and tells the index where the one that moved stands now.
    fn take_out(&mut self, pool: usize, position: usize) -> Contact {
        let contacts = &mut self.locals[pool / POOLS].pools[pool % POOLS];
        let contact = contacts.swap_remove(position);
        if let Some(moved) = contacts.get(position)
            && let Some(place) = self.places.get_mut(&moved.address)
        {
            place.position = position as u32;
        }
        contact
    }
}

#[cfg(test)]
impl Swarm {
    /// Panics unless the vectors, the index and the counts per address say the same.
    pub(crate) fn check_invariants(&self, sites: &crate::sites::Sites) {
        let mut listed_per_ip = std::collections::BTreeMap::<IpAddr, u32>::new();
        for pool in 0..self.pools() {
            for (position, contact) in self.pool(pool).iter().enumerate() {
                let place = self.places[&contact.address];
                assert_eq!((usize::from(place.pool), place.position as usize), (pool, position));
                assert_eq!(contact.address.is_ipv6(), pool % POOLS >= 2);
                assert_eq!(self.locals[pool / POOLS].site, sites.of(contact.address.ip()));
                *listed_per_ip.entry(contact.address.ip()).or_default() += 1;
            }
        }
        assert_eq!(self.places.len(), self.pool_lens().iter().sum::<usize>());
        let sites: std::collections::BTreeSet<SiteId> = self.locals.iter().map(|local| local.site).collect();
        assert_eq!(self.locals.len(), sites.len());
        assert_eq!(self.listed_per_ip.len(), listed_per_ip.len());
        assert!(listed_per_ip.iter().all(|(ip, listed)| self.listed_per_ip[ip] == *listed));
        self.locals.iter().for_each(|local| local.leases.check_invariants());
    }
}
