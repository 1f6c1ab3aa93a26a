//! Hosts that ask the tracker for plans, and what they have from each other.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen, Sha256Digest};
use pkgtorrent_tracker::{Bundler, HomePackage, Settings, Share, Tracker};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub(crate) const MINUTE: u64 = 60;

/// How long a host shares what it fetched.
pub(crate) const SEEDING: u64 = 15 * MINUTE;

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

/// Who shares what with whom. Times are in seconds.
pub(crate) struct Sharing {
    pub(crate) tracker: Tracker,
    /// Until when some host shares a package in a bundle, and in any.
    here: HashMap<(InfoHash, Sha256Digest), u64>,
    anywhere: HashMap<Sha256Digest, u64>,
    /// Pieces that had to come from the origin, and that would have if everybody met.
    fetched: u64,
    needed: u64,
}

impl Sharing {
    pub(crate) fn new(seed: u64) -> Self {
        // A peer counts as gone after two and a half intervals: so that a host that joined once is there as long as it
        // seeds, without an announce a minute.
        let interval = Duration::from_secs(SEEDING * 2 / 5);
        let settings = Settings { flood: None, ..Settings::with_interval(interval) };
        Self {
            tracker: Tracker::new(settings, seed),
            here: HashMap::new(),
            anywhere: HashMap::new(),
            fetched: 0,
            needed: 0,
        }
    }

    /// A host asks for packages, and joins the swarms of its plan.
    pub(crate) fn join(&mut self, host: usize, wanted: &[Package], now: u64) -> Vec<Share> {
        let at = Duration::from_secs(now);
        let wanted: Vec<HomePackage> = wanted.iter().copied().map(home_package).collect();
        let shares = self.tracker.assign(&wanted, at, &mut ByContent);
        assert_eq!(shares.iter().map(|share| share.members.len()).sum::<usize>(), wanted.len());
        let bundles: Vec<InfoHash> = shares.iter().map(|share| share.info_hash).collect();
        self.tracker.join(&bundles, peer_id(host), address(host), 25, at).expect("its bundles are known");
        shares
    }

    /// A host gets packages and shares them for so long; gives the bundles of its plan.
    pub(crate) fn fetch(&mut self, host: usize, wanted: &[Package], now: u64, seeding: u64) -> Vec<InfoHash> {
        let shares = self.join(host, wanted, now);
        let packages = wanted.iter().copied().map(home_package);
        let pieces: HashMap<Sha256Digest, u32> = packages.map(|it| (it.identity, it.pieces)).collect();
        for Share { info_hash, members, .. } in &shares {
            for member in members {
                let here = self.here.entry((*info_hash, *member)).or_insert(0);
                let anywhere = self.anywhere.entry(*member).or_insert(0);
                let pieces = u64::from(pieces[member]);
                self.fetched += if *here <= now { pieces } else { 0 };
                self.needed += if *anywhere <= now { pieces } else { 0 };
                *here = (now + seeding).max(*here);
                *anywhere = (now + seeding).max(*anywhere);
            }
        }
        shares.into_iter().map(|share| share.info_hash).collect()
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
