//! Hosts that ask the tracker for plans, and what they have from each other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen, Sha256Digest};
use pkgtorrent_tracker::{Bundler, HomePackage, Settings, Share, Tracker};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub(crate) const MINUTE: u64 = 60;

/// How long a host shares what it fetched.
pub(crate) const SEEDING: u64 = 15 * MINUTE;

/// How often a host that shares something announces.
const ANNOUNCE_INTERVAL: u64 = MINUTE;

/// Names in the repository, the most popular first.
pub(crate) const NAMES: usize = 2000;

/// A package: a name of the repository in one version, which is the day it was published.
pub(crate) type Package = (usize, u64);

/// A name by Zipf's law: the first is asked for twice as often as the second.
pub(crate) fn zipf(random: &mut Pcg64Mcg) -> usize {
    let unit = random.next_u64() as f64 / u64::MAX as f64;
    ((NAMES as f64).powf(unit) as usize).min(NAMES) - 1
}

pub(crate) fn address(host: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + host as u32), 6881))
}

pub(crate) fn peer_id(host: usize) -> PeerId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&host.to_le_bytes());
    PeerId(bytes)
}

fn home_package((name, version): Package) -> HomePackage {
    let mut random = Pcg64Mcg::seed_from_u64((name as u64) << 32 | version);
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    // One in twelve is larger than a mebibyte, and no other is larger than twelve pieces.
    let piece_len = if name % 12 == 5 { PieceLen::Medium } else { PieceLen::Small };
    HomePackage { identity: Sha256Digest(bytes), piece_len, pieces: 1 + random.next_u32() % 12 }
}

/// Info hashes follow from the content, as in the service; the repository keeps every version.
struct ByContent;

impl Bundler for ByContent {
    fn can_move(&mut self, _: &Sha256Digest, _: PieceLen) -> bool {
        true
    }

    fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
        let mut text = format!("{piece_len:?}");
        members.iter().for_each(|member| text.push_str(&member.to_string()));
        InfoHash::of(text.as_bytes())
    }
}

/// What a host shares in one bundle.
#[derive(Clone)]
struct Sharer {
    bundle: InfoHash,
    packages: Vec<HomePackage>,
    until: u64,
    /// How many packages of the bundle it has heard to have moved.
    heard: u32,
}

/// Who shares what with whom. Times are in seconds.
pub(crate) struct Sharing {
    pub(crate) tracker: Tracker,
    /// Until when some host shares a package in a bundle, and in any.
    here: HashMap<(InfoHash, Sha256Digest), u64>,
    anywhere: HashMap<Sha256Digest, u64>,
    sharers: HashMap<usize, Vec<Sharer>>,
    /// Who announces next, and when.
    announces: BTreeSet<(u64, usize)>,
    /// Pieces that had to come from the origin, and that would have if everybody met.
    fetched: u64,
    needed: u64,
}

impl Sharing {
    pub(crate) fn new(seed: u64) -> Self {
        // A peer counts as gone after two and a half intervals: so that a host that joined once is there as long as it
        // seeds, and its announces need only be made where they hear of something.
        let interval = Duration::from_secs(SEEDING * 2 / 5);
        let settings = Settings { flood: None, ..Settings::with_interval(interval) };
        Self {
            tracker: Tracker::new(settings, seed),
            here: HashMap::new(),
            anywhere: HashMap::new(),
            sharers: HashMap::new(),
            announces: BTreeSet::new(),
            fetched: 0,
            needed: 0,
        }
    }

    /// A host asks for packages, and joins the swarms of its plan. Also says who is introduced to it.
    pub(crate) fn join(
        &mut self,
        host: usize,
        wanted: &[Package],
        now: u64,
    ) -> (Vec<Share>, BTreeSet<usize>) {
        let wanted: Vec<HomePackage> = wanted.iter().copied().map(home_package).collect();
        self.enter(host, &wanted, now)
    }

    fn enter(&mut self, host: usize, wanted: &[HomePackage], now: u64) -> (Vec<Share>, BTreeSet<usize>) {
        let at = Duration::from_secs(now);
        let shares = self.tracker.assign(wanted, at, &mut ByContent);
        assert_eq!(shares.iter().map(|share| share.members.len()).sum::<usize>(), wanted.len());
        let bundles: Vec<InfoHash> = shares.iter().map(|share| share.info_hash).collect();
        let introduced = self.tracker.join(&bundles, peer_id(host), address(host), 25, at);
        let introduced = introduced.expect("its bundles are known");
        (shares, introduced.iter().flat_map(|it| &it.peers).map(host_at).collect())
    }

    /// A host gets packages and shares them for so long; gives the bundles of its plan.
    pub(crate) fn fetch(&mut self, host: usize, wanted: &[Package], now: u64, seeding: u64) -> Vec<InfoHash> {
        self.announce_until(now);
        let (shares, introduced) = self.join(host, wanted, now);
        let wanted: Vec<HomePackage> = wanted.iter().copied().map(home_package).collect();
        // Who is called for a bundle that it does not know asks the tracker at once.
        introduced.into_iter().for_each(|called| self.follow(called, now));
        for Share { info_hash, members, .. } in &shares {
            let members: Vec<HomePackage> = of(&wanted, members);
            for HomePackage { identity, pieces, .. } in &members {
                let here = self.here.get(&(*info_hash, *identity)).is_some_and(|until| *until > now);
                let anywhere = self.anywhere.entry(*identity).or_insert(0);
                self.fetched += if here { 0 } else { u64::from(*pieces) };
                self.needed += if *anywhere <= now { u64::from(*pieces) } else { 0 };
                *anywhere = (now + seeding).max(*anywhere);
            }
            self.share(host, *info_hash, members, now + seeding);
        }
        self.announces.insert((now + ANNOUNCE_INTERVAL, host));
        shares.into_iter().map(|share| share.info_hash).collect()
    }

    fn share(&mut self, host: usize, bundle: InfoHash, packages: Vec<HomePackage>, until: u64) {
        for package in &packages {
            let here = self.here.entry((bundle, package.identity)).or_insert(0);
            *here = until.max(*here);
        }
        let heard = self.tracker.moved(&bundle);
        self.sharers.entry(host).or_default().push(Sharer { bundle, packages, until, heard });
    }

    /// All announces up to now are made.
    fn announce_until(&mut self, now: u64) {
        while let Some(&(at, host)) = self.announces.first().filter(|(at, _)| *at <= now) {
            self.announces.pop_first();
            self.follow(host, at);
            if self.sharers.contains_key(&host) {
                self.announces.insert((at + ANNOUNCE_INTERVAL, host));
            }
        }
    }

    /// A host announces, and shares what has moved in its new home as well.
    fn follow(&mut self, host: usize, now: u64) {
        let Some(mut sharers) = self.sharers.remove(&host) else { return };
        sharers.retain(|sharer| sharer.until > now);
        let mut followed = Vec::new();
        for sharer in &mut sharers {
            let moved = self.tracker.moved(&sharer.bundle);
            if std::mem::replace(&mut sharer.heard, moved) != moved {
                followed.push(sharer.clone());
            }
        }
        if !sharers.is_empty() {
            self.sharers.insert(host, sharers);
        }
        for Sharer { bundle, packages, until, .. } in followed {
            for Share { info_hash, members, .. } in self.enter(host, &packages, now).0 {
                if info_hash != bundle {
                    self.share(host, info_hash, of(&packages, &members), until);
                }
            }
        }
    }

    /// First copies, beside those of a fleet in which everybody meets everybody.
    pub(crate) fn first_copies(&self) -> f64 {
        self.fetched as f64 / self.needed as f64
    }

    /// How many bundles somebody has something of.
    pub(crate) fn bundles(&self, now: u64) -> usize {
        let shared = self.here.iter().filter(|(_, until)| **until >= now).map(|((bundle, _), _)| bundle);
        shared.collect::<HashSet<_>>().len()
    }
}

fn host_at(address: &SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (u32::from(*v4.ip()) - 0x0a00_0000) as usize,
        SocketAddr::V6(_) => panic!("a host of another model"),
    }
}

fn of(packages: &[HomePackage], members: &[Sha256Digest]) -> Vec<HomePackage> {
    packages.iter().filter(|package| members.contains(&package.identity)).copied().collect()
}
