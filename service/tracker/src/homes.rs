//! In which bundle a package is shared.
//!
//! Hosts with different sets have packages in common, and meet only if those are in the same swarm. So a package has
//! one home: the bundle that was formed when it was first asked for, as long as anybody uses that. Packages without a
//! live home are put together into new bundles, by piece length and in the order of their identities, so that the same
//! packages give the same bundle on any service. A request that touches too many homes has some of them merged, by the
//! rule in [`merging`].

mod grouping;
mod merging;
mod moving;
mod wanting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::{InfoHash, PieceLen, Sha256Digest};

pub use self::grouping::BUNDLE_PACKAGES_MAX;
use self::grouping::grouped;
use self::merging::Extent;
pub(crate) use self::moving::Move;
use self::wanting::Wanting;
use crate::hashing::DigestMap;
use crate::swarms::Swarms;

/// When there are too many bundles, one in so many more than necessary goes, so that not every new bundle afterwards
/// looks through all of them.
const EVICTION_SLACK_DIVISOR: usize = 64;

/// A package that a plan needs a bundle for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomePackage {
    /// Which package.
    pub identity: Sha256Digest,
    /// The class that its size puts it in; a bundle holds packages of one class.
    pub piece_len: PieceLen,
    /// How many pieces of this length it has.
    pub pieces: u32,
}

/// A bundle in which some of a plan's packages are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The bundle.
    pub info_hash: InfoHash,
    /// Whether it was not known before this call.
    pub formed: bool,
    /// Those of the requested packages that live there, in ascending order.
    pub members: Vec<Sha256Digest>,
}

/// Who knows the packages' contents, and makes bundles of them.
pub trait Bundler {
    /// Whether a package that has its home in a bundle of this class can be put into another one. Who is gone from the
    /// repository cannot: only its peers have it still, and they are where it was.
    fn can_move(&mut self, identity: &Sha256Digest, piece_len: PieceLen) -> bool;

    /// Makes a bundle of packages that were asked for, or said to be able to move, in this order.
    fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash;
}

/// Where a package lives.
#[derive(Debug, Clone)]
struct Home {
    bundle: InfoHash,
    pieces: u32,
    /// Who was last given a plan with it.
    wanting: Wanting,
}

struct Bundle {
    /// The members with their pieces, in the order of their identities, which is that of the bundle's files. None of
    /// them, when it is nobody's home.
    members: Vec<(Sha256Digest, u32)>,
    /// The members' class; `None` when it is nobody's home.
    piece_len: Option<PieceLen>,
    /// What has its home here.
    residents: Extent,
    /// When it was last planned.
    planned_at: Duration,
    /// Bundles of the same age are told apart by the order in which they came.
    number: u64,
}

/// Bundles in the order in which they are to go.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct EvictionRank {
    use_class: UseClass,
    used_at: Duration,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UseClass {
    Dead,
    Idle,
    HasPeers,
}

/// All bundles and homes.
pub(crate) struct Homes {
    home_idle: Duration,
    bundles_max: usize,
    bundles: DigestMap<InfoHash, Bundle>,
    homes: DigestMap<Sha256Digest, Home>,
    generation: u64,
    numbers: u64,
    dropped: BTreeSet<InfoHash>,
}

impl Homes {
    pub(crate) fn new(home_idle: Duration, bundles_max: usize) -> Self {
        Self {
            home_idle,
            bundles_max,
            bundles: DigestMap::default(),
            homes: DigestMap::default(),
            generation: 0,
            numbers: 0,
            dropped: BTreeSet::new(),
        }
    }

    /// Changes whenever a package moves to another home, or a bundle is dropped.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many bundles are known.
    pub(crate) fn len(&self) -> usize {
        self.bundles.len()
    }

    pub(crate) fn contains(&self, info_hash: &InfoHash) -> bool {
        self.bundles.contains_key(info_hash)
    }

    /// The packages of a bundle that is or was a home.
    pub(crate) fn members(&self, info_hash: &InfoHash) -> Option<Vec<Sha256Digest>> {
        Some(self.bundles.get(info_hash)?.members.iter().map(|(identity, _)| *identity).collect())
    }

    /// The home of a package, live or dead.
    pub(crate) fn home_of(&self, identity: &Sha256Digest) -> Option<InfoHash> {
        self.homes.get(identity).map(|home| home.bundle)
    }

    /// What was dropped and not yet reported.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = &InfoHash> {
        self.dropped.iter()
    }

    /// Gives every package a home, see [`crate::Tracker::assign`]; also says what moved for it.
    pub(crate) fn assign(
        &mut self,
        swarms: &Swarms,
        packages: &[HomePackage],
        now: Duration,
        bundler: &mut impl Bundler,
    ) -> (Vec<Share>, Vec<Move>) {
        let (mut shares, mut moves) = (BTreeMap::new(), Vec::new());
        let mut homeless = Vec::new();
        for package in packages {
            match self.live_home(swarms, &package.identity, now) {
                Some(home) => {
                    self.touch(&home, now);
                    share(&mut shares, home, false).members.push(package.identity);
                }
                // What fits no bundle, or has nothing to share, is left to the caller.
                None if (1..=BUNDLE_PIECES_MAX).contains(&package.pieces) => homeless.push(*package),
                None => {}
            }
        }
        let wanted: BTreeSet<Sha256Digest> = packages.iter().map(|package| package.identity).collect();
        for piece_len in PieceLen::ALL {
            for merged in self.too_many(piece_len, &shares, &homeless) {
                shares.remove(&merged);
                let can_move = |identity: &Sha256Digest| {
                    wanted.contains(identity) || bundler.can_move(identity, piece_len)
                };
                homeless.extend(self.residents(&merged, piece_len, can_move));
            }
        }
        let groups = grouped(homeless);
        self.make_room(swarms, groups.len(), now, |info_hash| shares.contains_key(info_hash));
        for (piece_len, packages) in groups {
            let members: Vec<Sha256Digest> = packages.iter().map(|package| package.identity).collect();
            let info_hash = bundler.form(piece_len, &members);
            let (formed, left) = self.settle(info_hash, &packages, now);
            moves.extend(self.moves_to(info_hash, left));
            let members = members.into_iter().filter(|member| wanted.contains(member));
            share(&mut shares, info_hash, formed).members.extend(members);
        }
        let mut shares: Vec<Share> = shares.into_values().collect();
        for share in &mut shares {
            share.members.sort_unstable();
            share.members.dedup();
        }
        (shares, moves)
    }

    fn live_home(&self, swarms: &Swarms, identity: &Sha256Digest, now: Duration) -> Option<InfoHash> {
        let home = self.homes.get(identity)?.bundle;
        let bundle = self.bundles.get(&home)?;
        (self.use_class(swarms, &home, bundle, now) != UseClass::Dead).then_some(home)
    }

    /// The homes of one class that a request makes one, because it touches too many.
    fn too_many(
        &self,
        piece_len: PieceLen,
        shares: &BTreeMap<InfoHash, Share>,
        homeless: &[HomePackage],
    ) -> Vec<InfoHash> {
        let mut new = Extent::default();
        homeless
            .iter()
            .filter(|package| package.piece_len == piece_len)
            .for_each(|package| new.add(package.pieces));
        let (mut touched, mut packages) = (Vec::new(), new.packages);
        for share in shares.values() {
            if let Some(bundle) =
                self.bundles.get(&share.info_hash).filter(|it| it.piece_len == Some(piece_len))
            {
                touched.push((bundle.residents, share.info_hash));
                packages += share.members.len();
            }
        }
        let homes = touched.len() + usize::from(new.packages > 0);
        if homes > merging::homes_max(packages) { merging::to_merge(touched, new) } else { Vec::new() }
    }

    /// What has its home in a bundle and can leave it.
    fn residents(
        &self,
        info_hash: &InfoHash,
        piece_len: PieceLen,
        mut can_move: impl FnMut(&Sha256Digest) -> bool,
    ) -> Vec<HomePackage> {
        let members = self.bundles.get(info_hash).map_or(&[][..], |bundle| &bundle.members).iter();
        let resident = members.filter_map(|(identity, _)| {
            let home =
                self.homes.get(identity).filter(|home| home.bundle == *info_hash && can_move(identity))?;
            Some(HomePackage { identity: *identity, piece_len, pieces: home.pieces })
        });
        resident.collect()
    }

    fn use_class(&self, swarms: &Swarms, info_hash: &InfoHash, bundle: &Bundle, now: Duration) -> UseClass {
        if swarms.get(info_hash).is_some_and(|swarm| swarm.len() > 0) {
            return UseClass::HasPeers;
        }
        let age = now.saturating_sub(used_at(swarms, info_hash, bundle));
        if age < self.home_idle { UseClass::Idle } else { UseClass::Dead }
    }

    /// Makes a bundle the home of these packages, all of one class. Says whether it is a new one, and which of them had
    /// another home.
    fn settle(
        &mut self,
        info_hash: InfoHash,
        packages: &[HomePackage],
        now: Duration,
    ) -> (bool, Vec<(Sha256Digest, InfoHash)>) {
        let formed = self.insert(info_hash, now);
        let (mut arrived, mut left) = (Extent::default(), Vec::new());
        for package in packages {
            let wanting = self.wanting(&package.identity);
            let home = Home { bundle: info_hash, pieces: package.pieces, wanting };
            let former = self.homes.insert(package.identity, home);
            if let Some(former) = former {
                if former.bundle == info_hash {
                    continue;
                }
                self.generation += 1;
                if let Some(bundle) = self.bundles.get_mut(&former.bundle) {
                    bundle.residents.remove(former.pieces);
                    left.push((package.identity, former.bundle));
                }
            }
            arrived.add(package.pieces);
        }
        if let Some(bundle) = self.bundles.get_mut(&info_hash)
            && arrived.packages > 0
        {
            bundle.piece_len = packages.first().map(|package| package.piece_len);
            bundle.residents.packages += arrived.packages;
            bundle.residents.pieces += arrived.pieces;
            // A revived bundle has these members already, unless it was only registered.
            bundle.members.extend(packages.iter().map(|package| (package.identity, package.pieces)));
            bundle.members.sort_unstable();
            bundle.members.dedup();
        }
        (formed, left)
    }

    /// Adds a bundle, or notes the use of one that is there; whether it is new.
    fn insert(&mut self, info_hash: InfoHash, now: Duration) -> bool {
        if self.touch(&info_hash, now) {
            return false;
        }
        self.numbers += 1;
        let bundle = Bundle {
            members: Vec::new(),
            piece_len: None,
            residents: Extent::default(),
            planned_at: now,
            number: self.numbers,
        };
        self.bundles.insert(info_hash, bundle);
        // It is back before anybody was told that it went.
        self.dropped.remove(&info_hash);
        true
    }

    /// Notes that a bundle was planned; whether it is known.
    pub(crate) fn touch(&mut self, info_hash: &InfoHash, now: Duration) -> bool {
        let Some(bundle) = self.bundles.get_mut(info_hash) else {
            return false;
        };
        bundle.planned_at = bundle.planned_at.max(now);
        true
    }

    /// Adds a bundle that is nobody's home, or notes the use of one that is there; whether it is new.
    pub(crate) fn register(&mut self, swarms: &Swarms, info_hash: InfoHash, now: Duration) -> bool {
        let incoming = usize::from(!self.contains(&info_hash));
        self.make_room(swarms, incoming, now, |_| false);
        self.insert(info_hash, now)
    }

    /// Puts a home back that was known before a restart; see [`crate::Tracker::restore`].
    pub(crate) fn restore(
        &mut self,
        swarms: &Swarms,
        info_hash: InfoHash,
        packages: &[HomePackage],
        now: Duration,
    ) {
        self.register(swarms, info_hash, now);
        self.settle(info_hash, packages, now);
    }

    /// Drops the dead bundles that are nobody's home, and reports all that were dropped since the last call.
    pub(crate) fn expire(&mut self, swarms: &Swarms, now: Duration) -> Vec<InfoHash> {
        let is_over = |(info_hash, bundle): &(&InfoHash, &Bundle)| {
            bundle.residents.packages == 0 && self.use_class(swarms, info_hash, bundle, now) == UseClass::Dead
        };
        // The order of a map is no order, but what is dropped here is dropped in any order.
        let over: Vec<InfoHash> = self.bundles.iter().filter(is_over).map(|(it, _)| *it).collect();
        for info_hash in over {
            self.evict(info_hash);
        }
        std::mem::take(&mut self.dropped).into_iter().collect()
    }

    /// Evicts until so many more fit, except what the caller is using right now.
    fn make_room(
        &mut self,
        swarms: &Swarms,
        incoming: usize,
        now: Duration,
        is_in_use: impl Fn(&InfoHash) -> bool,
    ) {
        let excess = (self.bundles.len() + incoming).saturating_sub(self.bundles_max);
        if incoming == 0 || excess == 0 {
            return;
        }
        let rank = |info_hash: &InfoHash, bundle: &Bundle| EvictionRank {
            use_class: self.use_class(swarms, info_hash, bundle, now),
            used_at: used_at(swarms, info_hash, bundle),
            number: bundle.number,
        };
        let mut ranked: Vec<(EvictionRank, InfoHash)> = self
            .bundles
            .iter()
            .filter(|(info_hash, _)| !is_in_use(info_hash))
            .map(|(info_hash, bundle)| (rank(info_hash, bundle), *info_hash))
            .collect();
        ranked.sort_unstable();
        let slack = self.bundles_max / EVICTION_SLACK_DIVISOR;
        for (position, (rank, info_hash)) in ranked.into_iter().take(excess + slack).enumerate() {
            // Slack is a convenience: no bundle with peers goes for it.
            if position >= excess && rank.use_class == UseClass::HasPeers {
                break;
            }
            self.evict(info_hash);
        }
    }

    fn evict(&mut self, info_hash: InfoHash) {
        let Some(bundle) = self.bundles.remove(&info_hash) else {
            return;
        };
        for (member, _) in bundle.members {
            if self.homes.get(&member).is_some_and(|home| home.bundle == info_hash) {
                self.homes.remove(&member);
            }
        }
        self.generation += 1;
        self.dropped.insert(info_hash);
    }
}

fn used_at(swarms: &Swarms, info_hash: &InfoHash, bundle: &Bundle) -> Duration {
    let announced_at = swarms.get(info_hash).and_then(|swarm| swarm.announced_at);
    announced_at.map_or(bundle.planned_at, |announced_at| announced_at.max(bundle.planned_at))
}

fn share(shares: &mut BTreeMap<InfoHash, Share>, info_hash: InfoHash, formed: bool) -> &mut Share {
    shares.entry(info_hash).or_insert_with(|| Share { info_hash, formed, members: Vec::new() })
}

#[cfg(test)]
impl Homes {
    /// Panics unless every home is a known bundle that has the package, and the residents are counted right.
    pub(crate) fn check_invariants(&self) {
        let mut residents = BTreeMap::<InfoHash, Extent>::new();
        for (identity, home) in &self.homes {
            assert!(self.bundles[&home.bundle].members.iter().any(|(member, _)| member == identity));
            residents.entry(home.bundle).or_default().add(home.pieces);
        }
        for (info_hash, bundle) in &self.bundles {
            assert_eq!(bundle.residents, residents.get(info_hash).copied().unwrap_or_default());
            assert!(!self.dropped.contains(info_hash));
        }
    }
}

#[cfg(test)]
mod tests;
