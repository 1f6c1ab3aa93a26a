//! Whom a host is introduced to: mostly peers of its own site, always some of others, and as many of the other address
//! family that both halves of a swarm are found.

use std::iter::Take;
use std::net::SocketAddr;

use rand_pcg::Pcg64Mcg;

use crate::announce::Asker;
use crate::sites::{Distance, Sites, have_same_prefix};
use crate::swarm::{Contact, Local, Swarm};
use crate::walk::Walk;

/// The other address family gets at least one in so many of an answer's peers, so that hosts with only one family, and
/// through them both halves of a swarm, are found.
const OTHER_FAMILY_SHARE: usize = 5;

/// One in so many of an answer's peers is of elsewhere, and every so-manyth is: of ten that a host calls two can bring
/// what its site lacks, and no site is an island.
const ELSEWHERE_SHARE: usize = 5;

/// The most peers of one family that are looked at for one answer. Some are passed over: after a fleet has left, or
/// when many hosts are clones with one name, nearly all. Among so many, fifty are found as long as one in twenty fits,
/// and no answer costs more than a few microseconds.
const WALK_STEPS_MAX: usize = 1000;

impl Swarm {
    /// Peers for this asker: distinct, fresh, in random order. Those of its site come first, then those of linked ones,
    /// with every fifth from elsewhere, and among each kind the asker's address family.
    pub(crate) fn hand_out(
        &self,
        asker: &Asker,
        sites: &Sites,
        wanted: usize,
        fresh_since: u64,
        random: &mut Pcg64Mcg,
    ) -> Vec<SocketAddr> {
        let ip = asker.address.ip();
        let own = sites.of(ip);
        let mut at = |distance: Distance, wanted: usize| {
            let locals = self.locals().iter().filter(|it| sites.distance(own, it.site) == distance);
            among(&locals.collect::<Vec<_>>(), asker, wanted, fresh_since, random)
        };
        let same = at(Distance::Same, wanted);
        if sites.is_empty() {
            // All that addresses say is whom to call first.
            let (alike, others) = same.into_iter().partition(|peer| have_same_prefix(ip, peer.ip()));
            return mixed(alike, others, wanted);
        }
        let left = wanted.saturating_sub(same.len()).max(wanted / ELSEWHERE_SHARE);
        let mut others = at(Distance::Near, left);
        others.extend(at(Distance::Far, left - others.len()));
        mixed(same, others, wanted)
    }
}

/// The first ones with every so-manyth of the others between them.
fn mixed(first: Vec<SocketAddr>, others: Vec<SocketAddr>, wanted: usize) -> Vec<SocketAddr> {
    let mut mixed = Vec::with_capacity(wanted.min(first.len() + others.len()));
    let (mut first, mut others) = (first.into_iter(), others.into_iter());
    while mixed.len() < wanted {
        let is_others_turn = mixed.len() % ELSEWHERE_SHARE == ELSEWHERE_SHARE - 1;
        let next = if is_others_turn { others.next().or_else(|| first.next()) } else { first.next() };
        let Some(peer) = next.or_else(|| others.next()) else { break };
        mixed.push(peer);
    }
    mixed
}

/// Peers of these sites, the asker's address family first.
fn among(
    locals: &[&Local],
    asker: &Asker,
    wanted: usize,
    fresh_since: u64,
    random: &mut Pcg64Mcg,
) -> Vec<SocketAddr> {
    let is_ipv6 = asker.address.is_ipv6();
    let mut own = FamilyWalk::new(locals, is_ipv6, asker, random);
    let mut other = FamilyWalk::new(locals, !is_ipv6, asker, random);
    // Of a single peer nothing can be reserved: then the own family's is the one that is surely reached.
    let reserved = if wanted > 1 { wanted.div_ceil(OTHER_FAMILY_SHARE).min(other.walk.len()) } else { 0 };
    let mut peers = Vec::with_capacity(wanted.min(own.walk.len() + other.walk.len()));
    own.extend(&mut peers, wanted - reserved, fresh_since);
    other.extend(&mut peers, wanted, fresh_since);
    own.extend(&mut peers, wanted, fresh_since);
    peers
}

/// A walk over all peers of one family that an asker can use.
struct FamilyWalk<'a> {
    pools: Vec<&'a [Contact]>,
    asker: &'a Asker,
    walk: Take<Walk>,
}

impl<'a> FamilyWalk<'a> {
    fn new(locals: &[&'a Local], is_ipv6: bool, asker: &'a Asker, random: &mut Pcg64Mcg) -> Self {
        let usable = if asker.complete { &[false][..] } else { &[false, true] };
        let pools: Vec<&[Contact]> = locals
            .iter()
            .flat_map(|local| usable.iter().map(|is_complete| local.pool(is_ipv6, *is_complete)))
            .collect();
        let walk = Walk::new(pools.iter().map(|pool| pool.len()).sum(), random).take(WALK_STEPS_MAX);
        Self { pools, asker, walk }
    }

    /// Walks on until there are so many peers in all. Each step looks at another peer, so stale ones and the asker cost
    /// a step, and never a place in the answer.
    fn extend(&mut self, peers: &mut Vec<SocketAddr>, len_max: usize, fresh_since: u64) {
        while peers.len() < len_max {
            let Some(contact) = self.walk.next().and_then(|index| self.contact(index)) else { return };
            if contact.seen_millis >= fresh_since
                && contact.address != self.asker.address
                && Some(contact.peer_id) != self.asker.peer_id
            {
                peers.push(contact.address);
            }
        }
    }

    fn contact(&self, mut index: usize) -> Option<&'a Contact> {
        for pool in &self.pools {
            match index.checked_sub(pool.len()) {
                None => return pool.get(index),
                Some(beyond) => index = beyond,
            }
        }
        None
    }
}
