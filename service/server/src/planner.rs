//! From a set of digests to a plan: which bundles hold its packages, and which files to take from each.
//!
//! A set that was planned before costs a lookup, as long as neither catalog nor homes have changed. Any number of equal
//! questions at once cost one planning; so do equal questions for a set's torrent, and for an info dictionary.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pkgtorrent_protocol::announce::PieceRange;
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use pkgtorrent_protocol::{InfoHash, PackageDigest, PackageSet, PieceLen, SetDigest, Sha256Digest};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::bundle::{Bundle, BundledFile};
use crate::cache::Cache;
use crate::catalog::{Catalog, digest_key, take_digest};
use crate::flights::Flights;
use crate::metering;
use crate::packages::{Package, Packages, Preparation, Unusable};
use crate::registry::{Busy, RegistryHandle, Share};
use crate::state::{Record, State, Table};

/// Packages in all remembered plans together: each takes about a hundred bytes.
const PLANNED_PACKAGES_MAX: usize = 500_000;

/// Packages in all sets that are being planned together, each of which takes some hundred bytes while it waits to be
/// read. Sets beyond it are answered with "try again", which sends their hosts to the mirror.
const PLANNING_PACKAGES_MAX: usize = 1_000_000;

/// Info dictionaries that are kept ready, in bytes. Others are put together again from stored block lists.
const INFOS_LEN_MAX: usize = 32 << 20;

/// Packages in all remembered torrents of sets together: each takes about a hundred bytes.
const SET_TORRENT_PACKAGES_MAX: usize = 500_000;

/// Pieces above which a set's torrent takes the next longer piece length, if any of its packages has one: the
/// `.torrent` itself is then some hundred kilobytes.
const SET_TORRENT_PIECES_MAX: u64 = BUNDLE_PIECES_MAX as u64 / 4;

/// What all remembered sets may take on the disk: some 60,000 of sixty packages. Anybody can make up sets; beyond this,
/// new ones have to be POSTed again once their plan has left memory, until old ones are forgotten.
const SETS_LEN_MAX: usize = 128 << 20;

/// A set in use is noted as such once in so long.
const SET_REFRESHED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// So many packages are looked up where they are asked for: one takes less than a microsecond where it is ready, some ten
/// where it has to be read from the state. More are left to another thread.
const LOOKUPS_AT_ONCE_MAX: usize = 512;

/// How long a package that could not be read counts as unknown although its file looks the same: the reason may have
/// been ours, such as too many open files. Until then nobody waits for it again, and no log fills with it.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What is the same for every host that wants a set.
#[derive(Debug)]
pub(crate) struct SetPlan {
    pub(crate) bundles: Vec<PlannedBundle>,
    pub(crate) unknown: Vec<PackageDigest>,
    pub(crate) homes_generation: u64,
    catalog_generation: u64,
    /// When it is to be made anew, because packages are missing for a reason that may pass, or only peers have them.
    retry_at: Option<Instant>,
}

impl SetPlan {
    fn holds(&self, catalog: &Catalog) -> bool {
        self.catalog_generation == catalog.generation() && self.retry_at.is_none_or(|at| Instant::now() < at)
    }
}

/// The packages of a set in its order, none where one is unknown or cannot be used.
struct Prepared {
    packages: Vec<Option<Package>>,
    /// Whether some are missing for a reason that may pass.
    may_change: bool,
}

/// One bundle of a plan.
#[derive(Debug)]
pub(crate) struct PlannedBundle {
    pub(crate) bundle: Arc<Bundle>,
    /// The packages of the set that live there.
    pub(crate) members: Vec<Sha256Digest>,
    /// Pairs of an index in the sorted set and one in the info dictionary's files.
    pub(crate) files: Vec<(u32, u32)>,
    /// The pieces of these files that the origin has, as few ranges as there are.
    pub(crate) pieces: Vec<PieceRange>,
}

/// Why there is no plan or torrent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("the service is overloaded")]
    Busy,
    #[error("planning was abandoned")]
    Abandoned,
    #[error("{} of the set's packages are not known here, the first is {}", .0.len(), .0[0])]
    Unknown(Vec<PackageDigest>),
    #[error("the set does not fit one torrent: {0}")]
    NoTorrent(String),
}

impl From<Busy> for PlanError {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

type Planned = Result<Arc<SetPlan>, PlanError>;
type Info = Result<Option<Bytes>, PlanError>;

/// Plans sets.
pub(crate) struct Planner {
    packages: Arc<Packages>,
    registry: RegistryHandle,
    state: Arc<State>,
    plans: Cache<SetDigest, (Arc<PackageSet>, Arc<SetPlan>)>,
    planning: Arc<Flights<SetDigest, Planned>>,
    /// A permit for each package of a set that is being planned, or made into a torrent.
    under_way: Semaphore,
    infos: Cache<InfoHash, Bytes>,
    torrents: Cache<(SetDigest, u64), Arc<Bundle>>,
    making_torrents: Arc<Flights<SetDigest, Result<Arc<Bundle>, PlanError>>>,
    making_infos: Arc<Flights<InfoHash, Info>>,
    /// What the remembered sets take, about.
    sets_len: AtomicUsize,
}

impl Planner {
    pub(crate) fn new(packages: Arc<Packages>, registry: RegistryHandle, state: Arc<State>) -> Arc<Self> {
        let planner = Arc::new(Self {
            packages,
            registry,
            state,
            plans: Cache::new(PLANNED_PACKAGES_MAX),
            planning: Flights::new(),
            under_way: Semaphore::new(PLANNING_PACKAGES_MAX),
            infos: Cache::new(INFOS_LEN_MAX),
            torrents: Cache::new(SET_TORRENT_PACKAGES_MAX),
            making_torrents: Flights::new(),
            making_infos: Flights::new(),
            sets_len: AtomicUsize::new(0),
        });
        planner.measure_sets();
        planner
    }

    /// Finds out anew what the remembered sets take, after some were forgotten.
    pub(crate) fn measure_sets(&self) {
        let mut len = 0;
        self.state.for_each(Table::Sets, |key, value| len += key.len() + value.len());
        self.sets_len.store(len, Ordering::Relaxed);
    }

    /// A set that was asked for before.
    pub(crate) fn known_set(&self, digest: SetDigest) -> Option<Arc<PackageSet>> {
        if let Some((set, _)) = self.plans.get(&digest) {
            return Some(set);
        }
        let value = self.state.get(Table::Sets, &digest.0.0)?;
        let (_, mut bytes) = set_planned_at(&value)?;
        let mut packages = Vec::new();
        while !bytes.is_empty() && packages.len() < SET_PACKAGES_MAX {
            packages.push(take_digest(&mut bytes)?);
        }
        PackageSet::new(packages).ok().filter(|set| set.digest() == digest).map(Arc::new)
    }

    /// The plan of a set. `outdated` is one that turned out not to hold any more.
    pub(crate) async fn plan(
        self: &Arc<Self>,
        digest: SetDigest,
        set: Arc<PackageSet>,
        outdated: Option<&Arc<SetPlan>>,
    ) -> Planned {
        if let Some((_, plan)) = self.plans.get(&digest) {
            let is_outdated = outdated.is_some_and(|outdated| Arc::ptr_eq(outdated, &plan));
            if !is_outdated && plan.holds(&self.packages.catalog()) {
                return Ok(plan);
            }
        }
        let (result, flight) = self.planning.join(digest);
        if let Some(flight) = flight {
            let planner = Arc::clone(self);
            // A task of its own: the first to ask may go away, the others still want the plan.
            tokio::spawn(async move {
                let planned = match planner.admit(&set) {
                    Ok(_permit) => planner.make_plan(digest, set).await,
                    Err(busy) => Err(busy.into()),
                };
                flight.land(planned);
            });
        }
        result.await.unwrap_or(Err(PlanError::Abandoned))
    }

    /// Leave to plan a set, which ends when what this returns is dropped.
    fn admit(&self, set: &PackageSet) -> Result<SemaphorePermit<'_>, Busy> {
        let wanted = u32::try_from(set.packages().len()).unwrap_or(u32::MAX);
        self.under_way.try_acquire_many(wanted).map_err(|_| Busy)
    }

    async fn make_plan(self: &Arc<Self>, digest: SetDigest, set: Arc<PackageSet>) -> Planned {
        let catalog = self.packages.catalog();
        let Prepared { packages: found, may_change } = self.prepare(&set, &catalog, None).await?;
        let identities = self.identities(&set, &found);
        let by_identity: HashMap<Sha256Digest, Package> =
            found.into_iter().flatten().map(|package| (package.identity, package)).collect();
        let gone: HashSet<Sha256Digest> =
            identities.iter().flatten().filter(|it| !by_identity.contains_key(*it)).copied().collect();
        let (planner, at, gone_too) = (Arc::clone(self), Arc::clone(&catalog), gone.clone());
        let (mut shares, are_peers_needed, homes_generation) = self
            .registry
            .run(move |registry| {
                let stored = OnceCell::new();
                let find = |identity, piece_len| {
                    let stored = stored.get_or_init(|| planner.packages.snapshot());
                    planner.packages.known(&at, stored, identity, piece_len)
                };
                let mut shares = registry.assign(by_identity, find);
                let are_peers_needed = registry.add_seeded(&mut shares, &gone_too);
                (shares, are_peers_needed, registry.tracker.homes_generation())
            })
            .await?;
        let mut formed = false;
        for share in &mut shares {
            if let Some(info) = share.info.take() {
                self.keep_info(share.bundle.info_hash, info);
                formed = true;
            }
        }
        let plan = lay_out(&set, &identities, &gone, shares, homes_generation, catalog.generation());
        // Peers on whom a package hangs may leave.
        let retry_at = (may_change || are_peers_needed).then(|| Instant::now() + RETRY_AFTER);
        let plan = Arc::new(SetPlan { retry_at, ..plan });
        self.remember(digest, &set);
        if formed {
            // Hosts will wait for each other where they are told to: that must outlive us.
            self.state.settled().await;
        }
        self.plans.put(digest, (Arc::clone(&set), Arc::clone(&plan)), set.packages().len());
        metering::SETS_PLANNED.add(1);
        let (packages, bundles, unknown) = (set.packages().len(), plan.bundles.len(), plan.unknown.len());
        tracing::debug!("set {digest}: planned {packages} packages in {bundles} bundles, {unknown} unknown");
        Ok(plan)
    }

    /// Which packages these digests name, whether they were found or not.
    fn identities(&self, set: &PackageSet, found: &[Option<Package>]) -> Vec<Option<Sha256Digest>> {
        let identity = |(digest, package): (&PackageDigest, &Option<Package>)| match package {
            Some(package) => Some(package.identity),
            None => self.packages.identity(digest),
        };
        set.packages().iter().zip(found).map(identity).collect()
    }

    /// Stores a set, or that it is still in use.
    fn remember(&self, digest: SetDigest, set: &PackageSet) {
        let now = SystemTime::now();
        let stored = self.state.get(Table::Sets, &digest.0.0);
        let planned_at = stored.as_deref().and_then(set_planned_at).map(|(planned_at, _)| planned_at);
        let is_fresh = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < SET_REFRESHED_AFTER);
        if planned_at.is_some_and(is_fresh) {
            return;
        }
        let mut value = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_le_bytes().to_vec();
        value.extend(set.packages().iter().flat_map(digest_key));
        if planned_at.is_none() && !self.has_room_for_set(value.len()) {
            return;
        }
        let record = Record { table: Table::Sets, key: digest.0.0.to_vec(), value: Some(value) };
        self.state.save_later(vec![record]);
    }

    /// Takes room for a set of this stored length, if there is any.
    fn has_room_for_set(&self, len: usize) -> bool {
        let taken = |before: usize| before.checked_add(len).filter(|&after| after <= SETS_LEN_MAX);
        let room = self.sets_len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        if room.is_err() {
            metering::SETS_NOT_REMEMBERED.add(1);
        }
        room.is_ok()
    }

    /// Finds the set's packages, and has those read that were not.
    async fn prepare(
        self: &Arc<Self>,
        set: &Arc<PackageSet>,
        catalog: &Arc<Catalog>,
        piece_len: Option<PieceLen>,
    ) -> Result<Prepared, PlanError> {
        let (planner, for_lookups, catalog) = (Arc::clone(self), Arc::clone(set), Arc::clone(catalog));
        let look_up = move || {
            let stored = planner.packages.snapshot();
            let prepare = |digest| planner.packages.prepare(&catalog, &stored, digest, piece_len);
            for_lookups.packages().iter().map(prepare).collect::<Vec<_>>()
        };
        // Thousands of lookups would hold up the other connections of this worker.
        let preparations = if set.packages().len() <= LOOKUPS_AT_ONCE_MAX {
            look_up()
        } else {
            tokio::task::spawn_blocking(look_up).await.map_err(|_| PlanError::Abandoned)?
        };
        let mut prepared = Prepared { packages: Vec::with_capacity(preparations.len()), may_change: false };
        for preparation in preparations {
            prepared.packages.push(match preparation {
                Preparation::Ready(package) => Some(package),
                Preparation::Reading(reading) => {
                    let read = self.packages.finish(reading).await;
                    prepared.may_change |= read.as_ref().is_err_and(Unusable::may_pass);
                    read.ok()
                }
                Preparation::Unknown => None,
            });
        }
        Ok(prepared)
    }

    /// A whole set as one torrent, for any client.
    pub(crate) async fn set_torrent(
        self: &Arc<Self>,
        digest: SetDigest,
        set: Arc<PackageSet>,
    ) -> Result<Arc<Bundle>, PlanError> {
        let generation = self.packages.catalog().generation();
        if let Some(bundle) = self.torrents.get(&(digest, generation)) {
            // It may be so long since anybody used it that its swarm is gone.
            let revived = Arc::clone(&bundle);
            self.registry.run(|registry| registry.register(revived)).await?;
            return Ok(bundle);
        }
        let (result, flight) = self.making_torrents.join(digest);
        if let Some(flight) = flight {
            let planner = Arc::clone(self);
            tokio::spawn(async move {
                let made = match planner.admit(&set) {
                    Ok(_permit) => planner.make_set_torrent(&set).await,
                    Err(busy) => Err(busy.into()),
                };
                if let Ok(bundle) = &made {
                    planner.torrents.put((digest, generation), Arc::clone(bundle), bundle.packages.len());
                }
                flight.land(made);
            });
        }
        result.await.unwrap_or(Err(PlanError::Abandoned))
    }

    async fn make_set_torrent(self: &Arc<Self>, set: &Arc<PackageSet>) -> Result<Arc<Bundle>, PlanError> {
        let catalog = self.packages.catalog();
        let found = whole(set, self.prepare(set, &catalog, None).await?.packages)?;
        let piece_len = torrent_piece_len(&found);
        let mut members = if found.iter().all(|package| package.piece_len == piece_len) {
            found
        } else {
            whole(set, self.prepare(set, &catalog, Some(piece_len)).await?.packages)?
        };
        members.sort_unstable_by_key(|package| package.identity);
        members.dedup_by_key(|package| package.identity);
        let members: Vec<&Package> = members.iter().collect();
        let (bundle, info) = Bundle::form(piece_len, &members, false, 0)
            .map_err(|error| PlanError::NoTorrent(error.to_string()))?;
        self.keep_info(bundle.info_hash, info);
        let bundle = Arc::new(bundle);
        let registered = Arc::clone(&bundle);
        self.registry.run(|registry| registry.register(registered)).await?;
        Ok(bundle)
    }

    /// The info dictionary of a bundle.
    pub(crate) async fn info(self: &Arc<Self>, info_hash: InfoHash) -> Info {
        if let Some(info) = self.infos.get(&info_hash) {
            return Ok(Some(info));
        }
        let (result, flight) = self.making_infos.join(info_hash);
        if let Some(flight) = flight {
            let planner = Arc::clone(self);
            tokio::spawn(async move { flight.land(planner.make_info(info_hash).await) });
        }
        result.await.unwrap_or(Err(PlanError::Abandoned))
    }

    async fn make_info(self: &Arc<Self>, info_hash: InfoHash) -> Info {
        let Some(bundle) = self.registry.run(move |registry| registry.bundle(&info_hash)).await? else {
            return Ok(None);
        };
        let planner = Arc::clone(self);
        let info = tokio::task::spawn_blocking(move || bundle.info(&planner.packages)).await;
        let Some(info) = info.map_err(|_| PlanError::Abandoned)? else {
            tracing::error!("bundle {info_hash}: its block lists are lost");
            return Ok(None);
        };
        Ok(Some(self.keep_info(info_hash, info)))
    }

    fn keep_info(&self, info_hash: InfoHash, info: Vec<u8>) -> Bytes {
        let info = Bytes::from(info);
        self.infos.put(info_hash, info.clone(), info.len());
        info
    }
}

/// When a stored set was last planned, as far as that was noted, and its packages' stored digests.
pub(crate) fn set_planned_at(value: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (seconds, packages) = value.split_first_chunk::<8>()?;
    Some((UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_le_bytes(*seconds)))?, packages))
}

/// All packages of a set, or the names of those that are missing.
fn whole(set: &PackageSet, found: Vec<Option<Package>>) -> Result<Vec<Package>, PlanError> {
    let missing: Vec<PackageDigest> =
        set.packages().iter().zip(&found).filter(|(_, package)| package.is_none()).map(|(d, _)| *d).collect();
    if missing.is_empty() {
        Ok(found.into_iter().flatten().collect())
    } else {
        Err(PlanError::Unknown(missing))
    }
}

/// The piece length of a torrent with packages of several classes: the shortest that any of them has, so that foreign
/// clients are sent little padding, unless that makes too many pieces.
fn torrent_piece_len(packages: &[Package]) -> PieceLen {
    let has = |class: &PieceLen| packages.iter().any(|package| package.piece_len == *class);
    let pieces = |class: PieceLen| packages.iter().map(|package| class.pieces(package.size)).sum::<u64>();
    let classes: Vec<PieceLen> = PieceLen::ALL.into_iter().filter(has).collect();
    let fits = classes.iter().copied().find(|&class| pieces(class) <= SET_TORRENT_PIECES_MAX);
    fits.or(classes.last().copied()).unwrap_or(PieceLen::Small)
}

fn lay_out(
    set: &PackageSet,
    identities: &[Option<Sha256Digest>],
    gone: &HashSet<Sha256Digest>,
    shares: Vec<Share>,
    homes_generation: u64,
    catalog_generation: u64,
) -> SetPlan {
    // Where each package lives: the bundle's place in the plan, and the file's in the bundle.
    let mut homes: HashMap<Sha256Digest, (usize, BundledFile)> = HashMap::new();
    for (at, share) in shares.iter().enumerate() {
        let files: HashMap<Sha256Digest, BundledFile> = share.bundle.files().collect();
        for member in &share.members {
            homes.extend(files.get(member).map(|&file| (*member, (at, file))));
        }
    }
    let mut bundles: Vec<PlannedBundle> = shares
        .into_iter()
        .map(|s| PlannedBundle { bundle: s.bundle, members: s.members, files: vec![], pieces: vec![] })
        .collect();
    let mut unknown = Vec::new();
    for (index, (digest, identity)) in (0..).zip(set.packages().iter().zip(identities)) {
        match identity.as_ref().and_then(|identity| Some((identity, homes.get(identity)?))) {
            Some((identity, &(at, bundled))) => {
                bundles[at].files.push((index, bundled.file));
                if !gone.contains(identity) {
                    bundles[at].pieces.push(bundled.pieces);
                }
            }
            None => unknown.push(*digest),
        }
    }
    for bundle in &mut bundles {
        join_neighbours(&mut bundle.pieces);
    }
    SetPlan { bundles, unknown, homes_generation, catalog_generation, retry_at: None }
}

/// Makes neighbouring packages' pieces one range. Two digests of one package have the same.
fn join_neighbours(ranges: &mut Vec<PieceRange>) {
    ranges.sort_unstable();
    ranges.dedup();
    ranges.dedup_by(|next, range| {
        let joins = range.0 + range.1 == next.0;
        if joins {
            range.1 += next.1;
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::FileName;

    fn package(n: u8, size: u64) -> Package {
        let name = FileName::new("p.rpm").expect("a name");
        let piece_len = PieceLen::for_package(size);
        Package { identity: Sha256Digest([n; 32]), name, size, piece_len, blocks: Arc::new([]) }
    }

    fn planner(root: &std::path::Path, state: &std::path::Path) -> Arc<Planner> {
        let root = Arc::new(crate::root::Root::open(root).expect("opens"));
        let state = Arc::new(State::open(state).expect("opens"));
        let packages = Packages::start(root, Arc::clone(&state), 1).expect("starts");
        let registry = RegistryHandle::start(
            pkgtorrent_tracker::Settings::default(),
            1,
            Arc::clone(&state),
            Arc::new(crate::metering::Sent::new()),
        );
        Planner::new(packages, registry.expect("starts"), state)
    }

    #[tokio::test]
    async fn more_than_can_be_planned_at_once_is_told_to_try_again() {
        let (root, state) = (tempfile::tempdir().expect("a root"), tempfile::tempdir().expect("a state"));
        let planner = planner(root.path(), state.path());
        let set = Arc::new(PackageSet::new(vec![Sha256Digest([1; 32]).into()]).expect("a set"));
        let others = planner.under_way.try_acquire_many(PLANNING_PACKAGES_MAX as u32).expect("all permits");
        let refused = planner.plan(set.digest(), Arc::clone(&set), None).await;
        assert!(matches!(refused, Err(PlanError::Busy)), "{refused:?}");
        let refused = planner.set_torrent(set.digest(), Arc::clone(&set)).await;
        assert_eq!(refused, Err(PlanError::Busy));
        drop(others);
        let planned = planner.plan(set.digest(), Arc::clone(&set), None).await.expect("a plan");
        assert_eq!(planned.unknown, set.packages());
    }

    #[test]
    fn made_up_sets_do_not_fill_the_disk() {
        let (root, state) = (tempfile::tempdir().expect("a root"), tempfile::tempdir().expect("a state"));
        let planner = planner(root.path(), state.path());
        let state = Arc::clone(&planner.state);
        let set = |n: u8| PackageSet::new(vec![Sha256Digest([n; 32]).into()]).expect("a set");
        let remember = |n: u8| {
            planner.remember(set(n).digest(), &set(n));
            state.flush();
            state.get(Table::Sets, &set(n).digest().0.0).is_some()
        };
        assert!(remember(1));
        planner.sets_len.store(SETS_LEN_MAX, Ordering::Relaxed);
        assert!(!remember(2));
        planner.measure_sets();
        assert!(remember(2), "what is really there takes little");
    }

    #[test]
    fn a_mixed_torrent_takes_the_shortest_pieces_that_fit() {
        let mib = 1 << 20;
        assert_eq!(torrent_piece_len(&[package(1, 5), package(2, 9)]), PieceLen::Small);
        assert_eq!(torrent_piece_len(&[package(1, 5), package(2, 5 * mib)]), PieceLen::Small);
        assert_eq!(torrent_piece_len(&[package(1, 5 * mib), package(2, 99 * mib)]), PieceLen::Medium);
        assert_eq!(torrent_piece_len(&[package(1, 5), package(2, 900 * mib)]), PieceLen::Large);
    }
}
