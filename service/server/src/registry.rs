//! The one owner of tracker and bundles: a thread that runs one errand after the other.
//!
//! Handlers send errands and wait for what they bring back. Nothing in here is locked, and nothing in here waits.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::LeaseWish;
use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen, Sha256Digest};
use pkgtorrent_tracker::{Asker, Bundler, HomePackage, Lease, LeaseQuestion, Refusal, Settings, Tracker};
use tokio::sync::{mpsc, oneshot};

use crate::bundle::Bundle;
use crate::metering::{self, Sent};
use crate::packages::Package;
use crate::planner::PlannedBundle;
use crate::state::{Record, State, Table};

/// Errands that may wait. One takes microseconds: behind this many, the service is better told to try later.
const ERRANDS_MAX: usize = 16_384;

/// How often peers and bundles that went silent are looked for.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Tracker and bundles, as errands see them.
pub(crate) struct Registry {
    pub(crate) tracker: Tracker,
    /// What the tracker goes by, for one that starts anew.
    settings: Settings,
    bundles: HashMap<InfoHash, Arc<Bundle>>,
    state: Arc<State>,
    web_seed: Arc<Sent>,
    /// How much of it the tracker knows of.
    sent: u64,
    started: Instant,
    last_formed: u64,
}

/// The registry cannot take an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service is overloaded")]
pub(crate) struct Busy;

type Errand = Box<dyn FnOnce(&mut Registry) + Send>;

/// Where handlers leave their errands.
#[derive(Clone)]
pub(crate) struct RegistryHandle {
    errands: mpsc::Sender<Errand>,
}

/// Some packages of a set, and the bundle in which they live.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) members: Vec<Sha256Digest>,
    /// The info dictionary, when the bundle was formed just now.
    pub(crate) info: Option<Vec<u8>>,
}

/// Who asks for a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanAsker {
    /// The connection's address with the port it listens on; 0 when it did not say.
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: Option<PeerId>,
    /// How many peers of each bundle it is to be told of.
    pub(crate) wanted: usize,
}

/// What a host is told with one bundle of a plan, so that its first byte needs no announce.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduced {
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) complete: u32,
    pub(crate) incomplete: u32,
    pub(crate) lease: Lease,
    pub(crate) second_hand: bool,
}

impl RegistryHandle {
    /// Starts the owner, with the bundles of earlier runs. It ends when the last handle is gone.
    pub(crate) fn start(
        settings: Settings,
        seed: u64,
        state: Arc<State>,
        web_seed: Arc<Sent>,
    ) -> std::io::Result<Self> {
        let (errands, mut waiting) = mpsc::channel::<Errand>(ERRANDS_MAX);
        let restored =
            move |settings| Registry::restored(settings, seed, Arc::clone(&state), Arc::clone(&web_seed));
        let mut registry = restored(settings);
        std::thread::Builder::new().name("registry".into()).spawn(move || {
            let mut swept = Instant::now();
            while let Some(errand) = waiting.blocking_recv() {
                let begun = Instant::now();
                let done = catch_unwind(AssertUnwindSafe(|| {
                    errand(&mut registry);
                    if begun.duration_since(swept) >= SWEEP_INTERVAL {
                        registry.sweep();
                        swept = begun;
                    }
                }));
                metering::ERRAND_TIMES.took(begun.elapsed());
                if done.is_err() {
                    // What it left half done is worth nothing, and all of it comes back: bundles from the state, peers
                    // with their next announces. Without a registry every answer would be an error until a restart.
                    tracing::error!("the registry panicked; it starts anew");
                    registry = restored(registry.settings.clone());
                }
            }
        })?;
        Ok(Self { errands })
    }

    /// Runs an errand and brings back what it returns.
    pub(crate) async fn run<T, F>(&self, errand: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce(&mut Registry) -> T + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let errand: Errand = Box::new(move |registry| {
            // Whoever asked may have gone away.
            let _ = reply.send(errand(registry));
        });
        if self.errands.try_send(errand).is_err() {
            metering::ERRANDS_REFUSED.add(1);
            return Err(Busy);
        }
        result.await.map_err(|_| Busy)
    }

    /// How many errands wait.
    pub(crate) fn waiting(&self) -> usize {
        self.errands.max_capacity() - self.errands.capacity()
    }
}

impl Registry {
    /// A registry with the bundles that are stored.
    fn restored(settings: Settings, seed: u64, state: Arc<State>, web_seed: Arc<Sent>) -> Self {
        let (tracker, sent) = (Tracker::new(settings.clone(), seed), web_seed.get());
        let (bundles, started) = (HashMap::new(), Instant::now());
        let mut registry =
            Self { tracker, settings, bundles, state, web_seed, sent, started, last_formed: 0 };
        registry.restore();
        registry
    }

    /// Goes by other settings.
    pub(crate) fn reconfigure(&mut self, settings: Settings) {
        self.tracker.reconfigure(&settings);
        self.settings = settings;
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn bundle(&self, info_hash: &InfoHash) -> Option<Arc<Bundle>> {
        self.bundles.get(info_hash).cloned()
    }

    /// Gives every package a home; bundles are formed for those that have none, or are better off in another one with
    /// some that `find` knows.
    pub(crate) fn assign(
        &mut self,
        packages: HashMap<Sha256Digest, Package>,
        find: impl Fn(Sha256Digest, PieceLen) -> Option<Package>,
    ) -> Vec<Share> {
        let wanted: Vec<HomePackage> = packages.values().map(home_package).collect();
        let (now, formed) = (self.now(), self.last_formed + 1);
        let mut forming = Forming { packages, find, formed, bundles: HashMap::new() };
        let shares = self.tracker.assign(&wanted, now, &mut forming);
        self.last_formed = formed;
        let mut planned = Vec::new();
        for share in shares {
            let mut info = None;
            if let Some((bundle, bytes)) = forming.bundles.remove(&share.info_hash) {
                info = Some(bytes);
                self.keep(Arc::new(bundle));
            }
            if let Some(bundle) = self.bundle(&share.info_hash) {
                planned.push(Share { bundle, members: share.members, info });
            }
        }
        planned
    }

    /// Adds to the shares what is gone from the repository while peers have it; whether there is any of that.
    pub(crate) fn add_seeded(&self, shares: &mut Vec<Share>, gone: &HashSet<Sha256Digest>) -> bool {
        let mut is_any = false;
        for identity in gone {
            let Some(home) = self.tracker.seeded_home(identity).and_then(|home| self.bundle(&home)) else {
                continue;
            };
            is_any = true;
            match shares.iter_mut().find(|share| share.bundle.info_hash == home.info_hash) {
                Some(share) => share.members.push(*identity),
                None => shares.push(Share { bundle: home, members: vec![*identity], info: None }),
            }
        }
        is_any
    }

    /// Adds a bundle that is nobody's home, or notes that it is used again: it may have been dropped meanwhile.
    pub(crate) fn register(&mut self, bundle: Arc<Bundle>) {
        let now = self.now();
        let info_hash = bundle.info_hash;
        self.tracker.register(info_hash, now);
        // Packages that all live in one bundle already make the same torrent: it stays their home.
        if !self.bundles.contains_key(&info_hash) {
            self.keep(bundle);
        }
    }

    /// Introduces an asker to the swarms of a plan, and leases pieces to it if it joins them; `None` when the plan is out
    /// of date.
    pub(crate) fn introduce(
        &mut self,
        bundles: &[PlannedBundle],
        homes_generation: u64,
        asker: &PlanAsker,
    ) -> Result<Option<Vec<Introduced>>, Refusal> {
        let now = self.now();
        let info_hashes: Vec<InfoHash> = bundles.iter().map(|planned| planned.bundle.info_hash).collect();
        if self.tracker.homes_generation() != homes_generation
            || !info_hashes.iter().all(|bundle| self.tracker.touch(bundle, now))
        {
            return Ok(None);
        }
        let joining = asker.peer_id.filter(|_| asker.address.port() != 0);
        let peers = match joining {
            Some(peer_id) => self
                .tracker
                .join(&info_hashes, peer_id, asker.address, asker.wanted, now)?
                .into_iter()
                .map(|i| i.peers)
                .collect(),
            None => {
                let looking = Asker { address: asker.address, peer_id: asker.peer_id, complete: false };
                info_hashes
                    .iter()
                    .map(|&bundle| self.tracker.peers_of(bundle, &looking, asker.wanted, now))
                    .collect::<Result<Vec<_>, _>>()?
            }
        };
        let introduced = bundles.iter().zip(peers).map(|(planned, mut peers)| {
            let info_hash = planned.bundle.info_hash;
            self.tracker.acquaint(&info_hash, &planned.members, asker.address, &mut peers, now);
            let count = self.tracker.count(&info_hash).unwrap_or_default();
            let lease = joining.and_then(|peer_id| {
                let wish = LeaseWish { lacks: planned.pieces.clone(), wants: true, ..LeaseWish::default() };
                self.lease(info_hash, peer_id, asker.address, &wish)
            });
            Introduced {
                peers,
                complete: count.complete,
                incomplete: count.incomplete,
                lease: lease.unwrap_or_default(),
                second_hand: self.tracker.is_second_hand(&info_hash, asker.address),
            }
        });
        Ok(Some(introduced.collect()))
    }

    /// What a host is leased in one swarm, after it has said this; `None` if it is not listed there.
    pub(crate) fn lease(
        &mut self,
        info_hash: InfoHash,
        peer_id: PeerId,
        address: SocketAddr,
        wish: &LeaseWish,
    ) -> Option<Lease> {
        let bundle = self.bundles.get(&info_hash)?;
        let (pieces, piece_len) = (bundle.pieces, bundle.piece_len);
        let now = self.now();
        let sent = self.web_seed.get();
        self.tracker.origin_sent(sent - std::mem::replace(&mut self.sent, sent), now);
        self.tracker.lease(&LeaseQuestion { info_hash, peer_id, address, pieces, piece_len, wish }, now)
    }

    /// Every package that is in a bundle.
    pub(crate) fn bundled(&self) -> HashSet<Sha256Digest> {
        let packages = self.bundles.values().flat_map(|bundle| &bundle.packages);
        packages.map(|package| package.identity).collect()
    }

    /// How many bundles there are.
    pub(crate) fn bundles(&self) -> usize {
        self.bundles.len()
    }

    fn keep(&mut self, bundle: Arc<Bundle>) {
        metering::BUNDLES_BUILT.add(1);
        let record = Record {
            table: Table::Bundles,
            key: bundle.info_hash.0.to_vec(),
            value: Some(bundle.to_bytes()),
        };
        self.state.save_later(vec![record]);
        self.bundles.insert(bundle.info_hash, bundle);
    }

    fn restore(&mut self) {
        let mut bundles = Vec::new();
        self.state.for_each(Table::Bundles, |key, value| {
            let info_hash = <[u8; 20]>::try_from(key).map(InfoHash);
            bundles.extend(info_hash.ok().and_then(|hash| Bundle::from_bytes(hash, value)));
        });
        // The one formed last is its packages' home.
        bundles.sort_unstable_by_key(|bundle| (bundle.formed, bundle.info_hash));
        for bundle in bundles {
            let now = self.now();
            if bundle.is_home {
                let members = bundle.packages.iter();
                let members: Vec<HomePackage> = members
                    .map(|package| home_member(package.identity, bundle.piece_len, package.size))
                    .collect();
                self.tracker.restore(bundle.info_hash, &members, now);
            } else {
                self.tracker.register(bundle.info_hash, now);
            }
            self.last_formed = self.last_formed.max(bundle.formed);
            self.bundles.insert(bundle.info_hash, Arc::new(bundle));
        }
    }

    fn sweep(&mut self) {
        let expired = self.tracker.expire(self.now());
        let mut records = Vec::new();
        for info_hash in expired.bundles {
            self.bundles.remove(&info_hash);
            records.push(Record { table: Table::Bundles, key: info_hash.0.to_vec(), value: None });
        }
        if !records.is_empty() {
            self.state.save_later(records);
        }
        self.report();
    }

    fn report(&self) {
        let stats = self.tracker.stats();
        metering::BUNDLES.set(self.bundles.len() as f64);
        metering::PEERS_COMPLETE.set((stats.v4_complete + stats.v6_complete) as f64);
        metering::PEERS_INCOMPLETE.set((stats.v4_incomplete + stats.v6_incomplete) as f64);
        metering::LEASED_PIECES.set(stats.leased_pieces as f64);
        metering::LEASES_GRANTED.set(stats.leases.granted);
        metering::LEASES_STOLEN.set(stats.leases.stolen);
        metering::LEASES_STARVED.set(stats.leases.starved);
        metering::LEASES_EXPIRED.set(stats.leases.expired);
        metering::LID_ASKED.set(stats.lid.asked);
        metering::LID_GRANTED.set(stats.lid.granted);
        metering::LID_HELD_BACK.set(stats.lid.asked - stats.lid.granted);
        metering::LID_UNASKED.set(stats.lid.unasked);
    }
}

/// Forms the bundles of one plan.
struct Forming<F> {
    packages: HashMap<Sha256Digest, Package>,
    find: F,
    formed: u64,
    /// What was formed, with its info dictionaries.
    bundles: HashMap<InfoHash, (Bundle, Vec<u8>)>,
}

impl<F: Fn(Sha256Digest, PieceLen) -> Option<Package>> Bundler for Forming<F> {
    fn can_move(&mut self, identity: &Sha256Digest, piece_len: PieceLen) -> bool {
        let found = (self.find)(*identity, piece_len);
        let can_move = found.is_some();
        self.packages.extend(found.map(|package| (*identity, package)));
        can_move
    }

    fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
        let members: Vec<&Package> = members.iter().filter_map(|id| self.packages.get(id)).collect();
        // The tracker's groups keep within the limits of a bundle, and an info dictionary of the most packages
        // with the longest names is a tenth of what is allowed.
        let (bundle, info) = Bundle::form(piece_len, &members, true, self.formed)
            .expect("a group of packages within the tracker's limits is a bundle");
        let info_hash = bundle.info_hash;
        self.bundles.insert(info_hash, (bundle, info));
        info_hash
    }
}

fn home_package(package: &Package) -> HomePackage {
    home_member(package.identity, package.piece_len, package.size)
}

fn home_member(identity: Sha256Digest, piece_len: PieceLen, size: u64) -> HomePackage {
    // A package with more pieces than a number can count is in no share, as one with too many for a bundle is.
    HomePackage { identity, piece_len, pieces: u32::try_from(piece_len.pieces(size)).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::{FileName, PieceLen};

    fn bundle() -> Arc<Bundle> {
        let package = Package {
            identity: Sha256Digest([1; 32]),
            name: FileName::new("p.rpm").expect("a name"),
            size: 5,
            piece_len: PieceLen::Small,
            blocks: vec![0; 20].into(),
        };
        Arc::new(Bundle::form(PieceLen::Small, &[&package], false, 0).expect("forms").0)
    }

    #[tokio::test]
    async fn a_panic_costs_one_errand_and_no_bundle() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = Arc::new(State::open(directory.path()).expect("opens"));
        let registry =
            RegistryHandle::start(Settings::default(), 1, Arc::clone(&state), Arc::new(Sent::new()))
                .expect("starts");
        let (made, info_hash) = (bundle(), bundle().info_hash);
        registry.run(move |registry| registry.register(made)).await.expect("registered");
        state.flush();
        let panicked: Result<(), Busy> = registry.run(|_| panic!("a mistake")).await;
        assert_eq!(panicked, Err(Busy));
        let known =
            registry.run(move |r| r.bundle(&info_hash).is_some() && r.tracker.knows(&info_hash)).await;
        assert_eq!(known, Ok(true));
    }

    #[test]
    fn a_bundle_that_was_dropped_is_back_when_it_is_used_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = Arc::new(State::open(directory.path()).expect("opens"));
        let settings = Settings { home_idle: Duration::ZERO, ..Settings::default() };
        let mut registry = Registry::restored(settings, 1, state, Arc::new(Sent::new()));
        let bundle = bundle();
        registry.register(Arc::clone(&bundle));
        registry.sweep();
        assert!(registry.bundle(&bundle.info_hash).is_none());
        registry.register(Arc::clone(&bundle));
        assert!(registry.bundle(&bundle.info_hash).is_some() && registry.tracker.knows(&bundle.info_hash));
    }
}
