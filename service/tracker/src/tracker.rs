//! The tracker as its owner sees it: swarms and homes that live and die together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId, Sha256Digest};

use crate::announce::{Announce, Asker, Introduction, Lease, LeaseQuestion, Refusal, SwarmCount};
use crate::homes::{Bundler, HomePackage, Homes, Share};
use crate::leases::LeaseCounts;
use crate::lid::LidCounts;
use crate::settings::Settings;
use crate::swarms::Swarms;
use crate::views::{SwarmOverview, SwarmView};

/// So many packages are looked through when one host has got all that it wanted: less than a millisecond's work.
const SERVED_PACKAGES_MAX: usize = 8192;

/// Every swarm, peer and home that a service knows.
///
/// All times are durations since the same arbitrary start and must not run backwards.
pub struct Tracker {
    swarms: Swarms,
    homes: Homes,
}

/// What [`Tracker::expire`] let go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Bundles that are not known any more, in ascending order: the owner deletes what it keeps of them. Those that a
    /// new bundle displaced since the last call are among them.
    pub bundles: Vec<InfoHash>,
    /// How many peers were forgotten because they stopped announcing.
    pub peers: usize,
}

/// The tracker's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Swarms, with and without peers; as many as bundles.
    pub swarms: usize,
    /// Bundles, homes or not.
    pub bundles: usize,
    /// Entries of IPv4 peers that have everything. A host counts once for each swarm that it is in.
    pub v4_complete: usize,
    /// Entries of IPv4 peers that do not.
    pub v4_incomplete: usize,
    /// Entries of IPv6 peers that have everything.
    pub v6_complete: usize,
    /// Entries of IPv6 peers that do not.
    pub v6_incomplete: usize,
    /// Addresses that the flood limit remembers.
    pub flood_addresses: usize,
    /// Pieces that are leased.
    pub leased_pieces: usize,
    /// What happened to leases since the start.
    pub leases: LeaseCounts,
    /// What was asked of the lid since the start, if there is one.
    pub lid: LidCounts,
}

impl Tracker {
    /// A tracker without bundles. Whoever knows the seed can foresee its choices and crowd its tables: a service takes
    /// it from the system's randomness, a simulator from its own.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let homes = Homes::new(settings.home_idle, settings.bundles_max);
        Self { swarms: Swarms::new(settings, seed), homes }
    }

    /// Goes by another interval, other limits of announces and answers, and another lid from now on. Everything else
    /// stays as it was.
    pub fn reconfigure(&mut self, settings: &Settings) {
        self.swarms.reconfigure(settings);
    }

    /// Lists, renews or removes the peer that announces, and introduces others to it.
    ///
    /// A peer is known by its address and port, since nobody can forge the address: another name on the same ones
    /// replaces it. Announces that are refused change nothing.
    pub fn announce(&mut self, announce: &Announce, now: Duration) -> Result<Introduction, Refusal> {
        self.swarms.announce(announce, now)
    }

    /// Lists, renews or removes one peer in several swarms, as its agent asks for them in one request. An unknown swarm
    /// is refused by itself. Together they count as one announce of `address`, which is the peer's in all of them.
    pub fn announce_all(
        &mut self,
        address: SocketAddr,
        announces: &[Announce],
        now: Duration,
    ) -> Result<Vec<Result<Introduction, Refusal>>, Refusal> {
        self.swarms.announce_all(address, announces, now)
    }

    /// Enters a host that is being given a plan into all of its swarms, and introduces peers from each of them, in the
    /// order of the info hashes, at most `wanted`. It counts as one announce; a port of 0 enters nothing.
    ///
    /// An unknown swarm refuses the whole: a plan with it is out of date.
    pub fn join(
        &mut self,
        info_hashes: &[InfoHash],
        peer_id: PeerId,
        address: SocketAddr,
        wanted: usize,
        now: Duration,
    ) -> Result<Vec<Introduction>, Refusal> {
        self.swarms.join(info_hashes, peer_id, address, wanted, now)
    }

    /// Tells a host that is given a plan of those that have the same packages of this bundle, or were given a plan with them, what
    /// fewest want first: they take the first places among its peers, of which there are no more for that. It is such a host itself from now on, if it is
    /// listed.
    pub fn acquaint(
        &mut self,
        info_hash: &InfoHash,
        packages: &[Sha256Digest],
        address: SocketAddr,
        peers: &mut Vec<SocketAddr>,
        now: Duration,
    ) {
        let (len, is_callable) = (peers.len(), self.swarms.callable_by(info_hash, address, now));
        let first = self.homes.wanted_by(info_hash, packages, len.div_ceil(2), is_callable);
        peers.retain(|peer| !first.contains(peer));
        peers.splice(..0, first);
        peers.truncate(len);
        if let Some(address) = self.swarms.listed(info_hash, address) {
            self.homes.wants(address, packages);
        }
    }

    /// Hears that a peer has all that it wanted of these bundles: who wants the same is told of it from now on. Of more than
    /// hold [`SERVED_PACKAGES_MAX`] packages the others are passed over: many have those.
    pub fn are_served(&mut self, bundles: &BTreeSet<InfoHash>, address: SocketAddr) {
        let mut packages = 0;
        for info_hash in bundles {
            packages += self.homes.len_of(info_hash);
            if packages > SERVED_PACKAGES_MAX {
                return;
            }
            if let Some(address) = self.swarms.listed(info_hash, address) {
                self.homes.is_served(address, info_hash);
            }
        }
    }

    /// Hears what a peer says of leases, which also renews those that it holds, and tells it all that it holds now.
    ///
    /// `None` for who is not listed under this name and address: who cannot be reached cannot hand on what it fetches.
    pub fn lease(&mut self, asked: &LeaseQuestion<'_>, now: Duration) -> Option<Lease> {
        self.swarms.lease(asked, now)
    }

    /// Whether hosts of another site than this address's fetch a swarm's first copies from the origin: then what it is
    /// leased it brings into its own from theirs.
    #[must_use]
    pub fn is_second_hand(&self, info_hash: &InfoHash, address: SocketAddr) -> bool {
        self.swarms.is_second_hand(info_hash, address)
    }

    /// Hears how many more bytes of packages the origin has sent. What nobody was leased counts against the lid as well.
    pub fn origin_sent(&mut self, bytes: u64, now: Duration) {
        self.swarms.origin_sent(bytes, now);
    }

    /// Peers for a plan whose host did not say where it listens. It takes none of the address's announces: it
    /// changes nothing, and costs less than the plan that it is for.
    pub fn peers_of(
        &mut self,
        info_hash: InfoHash,
        asker: &Asker,
        wanted: usize,
        now: Duration,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        self.swarms.peers_of(info_hash, asker, wanted, now)
    }

    /// A swarm's numbers; `None` when it is not known. Peers that stopped announcing count until the sweep meets them.
    #[must_use]
    pub fn count(&self, info_hash: &InfoHash) -> Option<SwarmCount> {
        self.swarms.count(info_hash)
    }

    /// Whether this bundle, and so its swarm, is known.
    #[must_use]
    pub fn knows(&self, info_hash: &InfoHash) -> bool {
        self.homes.contains(info_hash)
    }

    /// The packages that were given this bundle as their home, some of which may have moved since. `None` when it is
    /// not known, and nothing for one that was only registered.
    #[must_use]
    pub fn members(&self, info_hash: &InfoHash) -> Option<Vec<Sha256Digest>> {
        self.homes.members(info_hash)
    }

    /// How many packages of a bundle have another home now, or none: who shares them there is to hear of it, and to ask
    /// for a plan of what it has. The number is another one after the next move.
    #[must_use]
    pub fn moved(&self, info_hash: &InfoHash) -> u32 {
        self.homes.moved(info_hash)
    }

    /// Gives every package a home, in ascending order of the info hashes.
    ///
    /// A package stays where it is while its home is live: while that has peers, or was planned or announced within
    /// `home_idle`. The others are grouped by class, in the order of their identities, and each group becomes a bundle
    /// that `bundler` forms. A bundle that is known already is revived and not made again. Where the packages have more
    /// live homes than suit one host, the smaller of these are merged, which moves packages that were not asked for as
    /// well: all that `bundler` says can move. What is known of their first copies and of who has them moves along, so that
    /// whoever asks next is introduced to hosts of the old home, which [`Self::moved`] tells to follow. A package without
    /// pieces, or with too many for any bundle, is in no share.
    ///
    /// Bundles beyond `bundles_max` are dropped first, but none that is in the result: a single call for more bundles
    /// than that exceeds it.
    pub fn assign(
        &mut self,
        packages: &[HomePackage],
        now: Duration,
        bundler: &mut impl Bundler,
    ) -> Vec<Share> {
        let (shares, moves) = self.homes.assign(&self.swarms, packages, now, bundler);
        self.forget_swarms_of_dropped();
        for share in shares.iter().filter(|share| share.formed) {
            self.swarms.register(share.info_hash);
        }
        self.swarms.carry_over(&moves, now);
        shares
    }

    /// The home of a package, live or dead.
    #[must_use]
    pub fn home_of(&self, identity: &Sha256Digest) -> Option<InfoHash> {
        self.homes.home_of(identity)
    }

    /// The home of a package, if it is one that some peer has all of: who cannot get the package elsewhere gets it there.
    #[must_use]
    pub fn seeded_home(&self, identity: &Sha256Digest) -> Option<InfoHash> {
        let home = self.homes.home_of(identity)?;
        self.count(&home).is_some_and(|count| count.complete > 0).then_some(home)
    }

    /// Notes that a bundle was planned, from what its owner remembers of an earlier [`Self::assign`]; false when it is
    /// not known any more. A dead home that is planned is alive again.
    pub fn touch(&mut self, info_hash: &InfoHash, now: Duration) -> bool {
        self.homes.touch(info_hash, now)
    }

    /// A number that changes whenever a package moves from one home to another or a bundle is dropped: what was
    /// remembered of an earlier [`Self::assign`] holds as long as it stays the same. A package's first home changes
    /// nothing that could have been remembered, and so not the number either.
    #[must_use]
    pub fn homes_generation(&self) -> u64 {
        self.homes.generation()
    }

    /// Adds a bundle that is nobody's home, such as a whole set as one torrent for any client, or notes that it was
    /// used again; whether it is new.
    pub fn register(&mut self, info_hash: InfoHash, now: Duration) -> bool {
        let is_new = self.homes.register(&self.swarms, info_hash, now);
        self.forget_swarms_of_dropped();
        self.swarms.register(info_hash);
        is_new
    }

    /// Puts a bundle back that was some packages' home before a restart, as if it had been planned now: its peers are
    /// about to announce. Bundles are restored in the order in which they were formed, since the last one wins a
    /// package that is in several.
    pub fn restore(&mut self, info_hash: InfoHash, packages: &[HomePackage], now: Duration) {
        self.homes.restore(&self.swarms, info_hash, packages, now);
        self.forget_swarms_of_dropped();
        self.swarms.register(info_hash);
    }

    /// Forgets peers that stopped announcing and bundles that nobody uses. To be called every second or so; the work of
    /// a call is bounded.
    ///
    /// Nothing waits for it: a peer is not handed out any more from the moment that its time is up.
    pub fn expire(&mut self, now: Duration) -> Expired {
        let peers = self.swarms.sweep(now);
        let bundles = self.homes.expire(&self.swarms, now);
        for info_hash in &bundles {
            self.swarms.remove(info_hash);
        }
        Expired { bundles, peers }
    }

    /// The tracker's size, for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let [v4_incomplete, v4_complete, v6_incomplete, v6_complete] = self.swarms.pool_lens();
        Stats {
            swarms: self.swarms.len(),
            bundles: self.homes.len(),
            v4_complete,
            v4_incomplete,
            v6_complete,
            v6_incomplete,
            flood_addresses: self.swarms.flood_addresses(),
            leased_pieces: self.swarms.leased(),
            leases: self.swarms.lease_counts,
            lid: self.swarms.lid_counts(),
        }
    }

    /// The swarms with the most peers, the largest first, at most so many: for a page that people look at.
    #[must_use]
    pub fn busiest_swarms(&self, swarms_max: usize) -> Vec<SwarmOverview> {
        self.swarms.busiest(swarms_max)
    }

    /// One swarm with its sites and pieces, for people as well; `None` when it is not known.
    #[must_use]
    pub fn view(&self, info_hash: &InfoHash) -> Option<SwarmView> {
        self.swarms.get(info_hash).map(|swarm| SwarmView::of(swarm, &self.swarms.settings.sites))
    }

    fn forget_swarms_of_dropped(&mut self) {
        for info_hash in self.homes.dropped() {
            self.swarms.remove(info_hash);
        }
    }
}

#[cfg(test)]
impl Tracker {
    /// Panics unless bundles and swarms are the same, and each side is right in itself.
    pub(crate) fn check_invariants(&self) {
        self.swarms.check_invariants();
        self.homes.check_invariants();
        assert_eq!(self.swarms.len(), self.homes.len());
        assert!(self.swarms.slots.iter().filter(|swarm| swarm.len() > 0).all(|it| self.knows(&it.info_hash)));
    }
}
