//! Packages whose bytes are known: which file holds them, what its pieces hash to, and an open file to serve from.
//!
//! A listing only claims what a file is. Before a package enters a bundle or is served under its digest, its file has
//! been read once from start to end, and it still looks as it did then. Reading is done by a few threads of their own;
//! any number of askers share one reading.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::{FileName, PackageDigest, PieceLen, Sha256Digest};
use tokio::sync::oneshot;

use crate::blocks::{Hashed, hash_file};
use crate::cache::Cache;
use crate::catalog::{Catalog, Located, digest_key, take_digest};
use crate::fingerprint::{FINGERPRINT_LEN, Fingerprint, Look};
use crate::flights::{Flight, Flights};
use crate::metering;
use crate::root::Root;
use crate::state::{Record, Snapshot, State, Table};

/// Damaged files that are remembered, so that they are not read again for every request. Beyond it they are.
const DAMAGED_MAX: usize = 100_000;

/// What is kept ready of files that were read, in bytes: some 150,000 packages of usual sizes. Others are looked up in the
/// state, which for a plan of hundreds of packages is most of its time.
const READY_LEN_MAX: usize = 64 << 20;

/// What such an entry takes beside the package's name and its pieces' hashes.
const READY_ENTRY_LEN: usize = 400;

/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 3;

/// A file that was read: whose bytes it holds, and what it looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) identity: Sha256Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
    pub(crate) fingerprint: Fingerprint,
}

/// A package that can enter a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) identity: Sha256Digest,
    pub(crate) name: FileName,
    pub(crate) size: u64,
    pub(crate) piece_len: PieceLen,
    /// The SHA-1 of every piece.
    pub(crate) blocks: Arc<[u8]>,
}

/// Why a listed package cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("its bytes are not what is listed")]
    Damaged,
    #[error("it keeps changing while it is read")]
    Changing,
    #[error("its file name cannot be shared")]
    Name,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("its reading was abandoned")]
    Abandoned,
}

impl Unusable {
    /// Whether it may be over although nothing about the file will look different.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Damaged | Self::Name => false,
            Self::Changing | Self::Unreadable(_) | Self::Abandoned => true,
        }
    }
}

/// What [`Packages::prepare`] knows at once, or will know when a reading has landed.
pub(crate) enum Preparation {
    Ready(Package),
    Reading(Reading),
    Unknown,
}

/// A package that is being read; see [`Packages::finish`].
pub(crate) struct Reading {
    result: oneshot::Receiver<ReadingResult>,
    /// Where else it should be.
    elsewhere: Vec<(Located, PieceLen)>,
}

/// What a file is listed as belongs to it: two listings of one file do not share what comes of reading it.
type ReadingKey = (PathBuf, PackageDigest, PieceLen);
type ReadingResult = Result<Package, Unusable>;

/// Packages by the digest that they are listed by and the piece length that was asked for, and the catalog's generation in
/// which their files looked as they did when they were read.
type Ready = Cache<(PackageDigest, Option<PieceLen>), (u64, Package)>;

/// All packages below the root.
pub(crate) struct Packages {
    root: Arc<Root>,
    state: Arc<State>,
    catalog: ArcSwap<Catalog>,
    aliases: RwLock<Aliases>,
    ready: Ready,
    /// What files looked like that turned out not to be what they are listed as.
    damaged: Mutex<HashMap<(PathBuf, PackageDigest), Fingerprint>>,
    readings: Arc<Flights<ReadingKey, ReadingResult>>,
    queue: Arc<Queue>,
}

/// Digests that are no identities, and the identities behind them: small, since most repositories list SHA-256.
#[derive(Default)]
struct Aliases {
    identity_of: HashMap<PackageDigest, Sha256Digest>,
    aliases_of: HashMap<Sha256Digest, Vec<PackageDigest>>,
}

impl Aliases {
    fn add(&mut self, alias: PackageDigest, identity: Sha256Digest) {
        if self.identity_of.insert(alias, identity).is_none() {
            self.aliases_of.entry(identity).or_default().push(alias);
        }
    }
}

impl Packages {
    /// Starts `threads` readers. They end when the packages are dropped.
    pub(crate) fn start(root: Arc<Root>, state: Arc<State>, threads: usize) -> std::io::Result<Arc<Self>> {
        let mut aliases = Aliases::default();
        state.for_each(Table::Aliases, |key, value| {
            let (mut key, identity) = (key, <[u8; 32]>::try_from(value));
            if let (Some(alias), Ok(identity)) = (take_digest(&mut key), identity) {
                aliases.add(alias, Sha256Digest(identity));
            }
        });
        let packages = Arc::new(Self {
            root,
            state,
            catalog: ArcSwap::default(),
            aliases: RwLock::new(aliases),
            ready: Cache::new(READY_LEN_MAX),
            damaged: Mutex::default(),
            readings: Flights::new(),
            queue: Arc::default(),
        });
        for n in 0..threads {
            let (queue, packages) = (Arc::clone(&packages.queue), Arc::downgrade(&packages));
            std::thread::Builder::new()
                .name(format!("reader-{n}"))
                .spawn(move || run_reader(&queue, &packages))?;
        }
        Ok(packages)
    }

    /// The present catalog.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Puts a new catalog in the place of the present one.
    pub(crate) fn publish(&self, catalog: Arc<Catalog>) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        // What was mended or has gone is not damaged any more.
        damaged.retain(|(path, listed), fingerprint| {
            catalog.locate(listed).any(|it| it.path == *path && it.fingerprint == *fingerprint)
        });
        drop(damaged);
        self.catalog.store(catalog);
    }

    /// Files that turned out not to be what they are listed as.
    pub(crate) fn damaged(&self) -> usize {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Readings that are under way or wait.
    pub(crate) fn readings(&self) -> usize {
        self.readings.len()
    }

    /// Finds a package's bytes: from what is stored when its file was read before, else by having it read.
    /// Without a piece length it gets that of its own class.
    pub(crate) fn prepare(
        &self,
        catalog: &Catalog,
        stored: &Snapshot,
        digest: &PackageDigest,
        piece_len: Option<PieceLen>,
    ) -> Preparation {
        if let Some(package) = self.ready(catalog, digest, piece_len) {
            return Preparation::Ready(package);
        }
        let mut to_read = Vec::new();
        for located in catalog.locate(digest) {
            let located_piece_len = piece_len.unwrap_or(PieceLen::for_package(located.size));
            if let Some(package) = self.stored(stored, &located, located_piece_len) {
                self.keep_ready(catalog, digest, piece_len, &package);
                return Preparation::Ready(package);
            }
            if !self.is_damaged(&located) {
                to_read.push((located, located_piece_len));
            }
        }
        if to_read.is_empty() {
            return Preparation::Unknown;
        }
        let (located, piece_len) = to_read.remove(0);
        Preparation::Reading(Reading { result: self.read(located, piece_len), elsewhere: to_read })
    }

    /// Waits for a reading. A package that is not in the first place where it should be is looked for in the others;
    /// when it is in none, the reason is one that may pass if there is any such.
    pub(crate) async fn finish(&self, reading: Reading) -> Result<Package, Unusable> {
        let Reading { mut result, elsewhere } = reading;
        let mut elsewhere = elsewhere.into_iter();
        let mut passing = None;
        loop {
            let unusable = match result.await.unwrap_or(Err(Unusable::Abandoned)) {
                Ok(package) => return Ok(package),
                Err(unusable) => unusable,
            };
            let Some((located, piece_len)) = elsewhere.next() else {
                return Err(passing.unwrap_or(unusable));
            };
            passing = passing.or(Some(unusable).filter(Unusable::may_pass));
            result = self.read(located, piece_len);
        }
    }

    /// A package that was read before and has not changed since; one that is gone, or would have to be read, is none.
    pub(crate) fn known(
        &self,
        catalog: &Catalog,
        stored: &Snapshot,
        identity: Sha256Digest,
        piece_len: PieceLen,
    ) -> Option<Package> {
        self.digests(identity).iter().find_map(|digest| {
            let ready = self.ready(catalog, digest, Some(piece_len));
            ready.or_else(|| {
                let mut places = catalog.locate(digest);
                let package = places.find_map(|located| self.stored(stored, &located, piece_len))?;
                self.keep_ready(catalog, digest, Some(piece_len), &package);
                Some(package)
            })
        })
    }

    /// The identity behind a digest, as far as it is known.
    pub(crate) fn identity(&self, digest: &PackageDigest) -> Option<Sha256Digest> {
        let aliases = || self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        digest.identity().or_else(|| aliases().identity_of.get(digest).copied())
    }

    /// All digests by which a package may be listed.
    pub(crate) fn digests(&self, identity: Sha256Digest) -> Vec<PackageDigest> {
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        let others = aliases.aliases_of.get(&identity).into_iter().flatten();
        std::iter::once(identity.into()).chain(others.copied()).collect()
    }

    /// Opens the file of a package for serving, having it read first when it was not, or looks different.
    pub(crate) async fn open(&self, identity: Sha256Digest) -> Option<(File, Look, PathBuf)> {
        let (catalog, digests) = (self.catalog(), self.digests(identity));
        let mut to_read = Vec::new();
        for located in digests.iter().flat_map(|digest| catalog.locate(digest)) {
            match self.open_verified(&located.path, identity) {
                Some((file, look)) => return Some((file, look, located.path)),
                None => to_read.push(located),
            }
        }
        for located in to_read {
            // Only the very file that is opened, as it was when it was read, is what was asked for: one that was
            // replaced by a copy of itself meanwhile is read again.
            for _ in 0..READ_ATTEMPTS {
                let Ok((_, Look { fingerprint, .. })) = self.root.open_file(&located.path) else { break };
                let now = Located { fingerprint, ..located.clone() };
                if fingerprint.size() != now.size || self.is_damaged(&now) {
                    break;
                }
                let piece_len = PieceLen::for_package(now.size);
                let Ok(Ok(_)) = self.read(now, piece_len).await else { break };
                if let Some((file, look)) = self.open_verified(&located.path, identity) {
                    return Some((file, look, located.path));
                }
            }
        }
        None
    }

    /// Opens a file that was read, looks as it did then, and holds this package.
    fn open_verified(&self, path: &Path, identity: Sha256Digest) -> Option<(File, Look)> {
        let (file, look) = self.root.open_file(path).ok()?;
        let stored = self.state.snapshot(&[Table::Files]);
        (stored_identity(&stored, path, &look.fingerprint)? == identity).then_some((file, look))
    }

    /// The root that packages lie below.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// What is stored of files and their pieces, for [`Self::prepare`] and [`stored_blocks`].
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state.snapshot(&[Table::Files, Table::Blocks])
    }

    fn stored(&self, stored: &Snapshot, located: &Located, piece_len: PieceLen) -> Option<Package> {
        let identity = stored_identity(stored, &located.path, &located.fingerprint)?;
        if !self.is_identity_of(&located.listed, identity) {
            return None;
        }
        let blocks = stored_blocks(stored, &identity, piece_len)?;
        // A record that was damaged on the disk fits no bundle.
        if blocks.len() as u64 != piece_len.pieces(located.size) * BLOCK_HASH_LEN as u64 {
            return None;
        }
        let name = file_name(&located.path)?;
        Some(Package { identity, name, size: located.size, piece_len, blocks: blocks.into() })
    }

    /// A package that was looked up since the catalog was made.
    fn ready(
        &self,
        catalog: &Catalog,
        digest: &PackageDigest,
        piece_len: Option<PieceLen>,
    ) -> Option<Package> {
        let (generation, package) = self.ready.get(&(*digest, piece_len))?;
        (generation == catalog.generation()).then_some(package)
    }

    fn keep_ready(
        &self,
        catalog: &Catalog,
        digest: &PackageDigest,
        piece_len: Option<PieceLen>,
        package: &Package,
    ) {
        let len = READY_ENTRY_LEN + package.name.as_str().len() + package.blocks.len();
        self.ready.put((*digest, piece_len), (catalog.generation(), package.clone()), len);
    }

    /// Forgets what is kept ready: records that it is from were dropped.
    pub(crate) fn forget_ready(&self) {
        self.ready.clear();
    }

    fn is_identity_of(&self, listed: &PackageDigest, identity: Sha256Digest) -> bool {
        self.identity(listed) == Some(identity)
    }

    fn is_damaged(&self, located: &Located) -> bool {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.get(&(located.path.clone(), located.listed)) == Some(&located.fingerprint)
    }

    /// Has a file read, or joins those who wait for the same.
    fn read(&self, located: Located, piece_len: PieceLen) -> oneshot::Receiver<ReadingResult> {
        let (result, flight) = self.readings.join((located.path.clone(), located.listed, piece_len));
        if let Some(flight) = flight {
            self.queue.push(Job { located, piece_len, flight });
        }
        result
    }

    /// Reads a file, and lands its flight once what was found is stored.
    fn run(&self, job: Job) {
        let Job { located, piece_len, flight } = job;
        // Who asked for this may have looked just before another reading landed.
        if let Some(package) = self.stored(&self.snapshot(), &located, piece_len) {
            return flight.land(Ok(package));
        }
        if self.is_damaged(&located) {
            return flight.land(Err(Unusable::Damaged));
        }
        match self.read_verified(&located, piece_len) {
            Ok((package, verified, listed)) => {
                if listed.identity().is_none() {
                    let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
                    aliases.add(listed, verified.identity);
                }
                let records = records(&verified, &listed, piece_len, &package.blocks);
                self.state.save_then(records, move || flight.land(Ok(package)));
            }
            Err(unusable) => {
                tracing::error!("{}: not shared: {unusable}", located.path.display());
                metering::PACKAGES_UNUSABLE.add(1);
                flight.land(Err(unusable));
            }
        }
    }

    fn read_verified(
        &self,
        located: &Located,
        piece_len: PieceLen,
    ) -> Result<(Package, Verified, PackageDigest), Unusable> {
        let name = file_name(&located.path).ok_or(Unusable::Name)?;
        let (hashed, fingerprint) = self.read_at_rest(located, piece_len)?;
        metering::PACKAGES_HASHED.add(1);
        metering::BYTES_HASHED.add(hashed.size);
        if hashed.listed != located.listed || hashed.size != located.size {
            metering::PACKAGES_CORRUPT.add(1);
            let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
            if damaged.len() >= DAMAGED_MAX {
                damaged.clear();
            }
            damaged.insert((located.path.clone(), located.listed), fingerprint);
            return Err(Unusable::Damaged);
        }
        let Hashed { identity, listed, blocks, size } = hashed;
        let verified = Verified { identity, size, path: located.path.clone(), fingerprint };
        Ok((Package { identity, name, size, piece_len, blocks: blocks.into() }, verified, listed))
    }

    /// Reads a file that looks the same before and after.
    fn read_at_rest(
        &self,
        located: &Located,
        piece_len: PieceLen,
    ) -> Result<(Hashed, Fingerprint), Unusable> {
        let unreadable = |e: std::io::Error| Unusable::Unreadable(e.to_string());
        for _ in 0..READ_ATTEMPTS {
            let (file, Look { fingerprint: mut before, .. }) =
                self.root.open_file(&located.path).map_err(unreadable)?;
            if let Some(unsettled) = before.unsettled_for(SystemTime::now()) {
                std::thread::sleep(unsettled);
                before = Fingerprint::of(&file.metadata().map_err(unreadable)?);
            }
            let hashed = hash_file(&file, located.listed.algorithm(), piece_len).map_err(unreadable)?;
            let after = Fingerprint::of(&file.metadata().map_err(unreadable)?);
            if before == after && hashed.size == after.size() {
                return Ok((hashed, after));
            }
        }
        Err(Unusable::Changing)
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Job {
    located: Located,
    piece_len: PieceLen,
    flight: Flight<ReadingKey, ReadingResult>,
}

/// Files to be read. It never holds more than one entry for a listed file and a piece length.
#[derive(Default)]
struct Queue {
    waiting: Mutex<(VecDeque<Job>, bool)>,
    changed: Condvar,
}

impl Queue {
    fn push(&self, job: Job) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(job);
        self.changed.notify_one();
    }

    /// Lets the readers end; those who still wait are told that nothing will come.
    fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1 = true;
        let abandoned = std::mem::take(&mut waiting.0);
        drop(waiting);
        drop(abandoned);
        self.changed.notify_all();
    }

    /// The next job; none at the end.
    fn pop(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.1 {
                return None;
            }
            if let Some(job) = waiting.0.pop_front() {
                return Some(job);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run_reader(queue: &Queue, packages: &Weak<Packages>) {
    while let Some(job) = queue.pop() {
        let Some(packages) = packages.upgrade() else {
            return;
        };
        // Who waits is told when the job is dropped. A file that makes us panic must not cost the others their reader.
        if catch_unwind(AssertUnwindSafe(|| packages.run(job))).is_err() {
            tracing::error!("reading a package panicked; it is abandoned");
        }
    }
}

fn file_name(path: &Path) -> Option<FileName> {
    FileName::new(path.file_name()?.to_str()?).ok()
}

fn blocks_key(identity: &Sha256Digest, piece_len: PieceLen) -> Vec<u8> {
    let mut key = identity.0.to_vec();
    key.extend_from_slice(&piece_len.bytes().to_be_bytes());
    key
}

/// The stored SHA-1 of every piece of a package.
pub(crate) fn stored_blocks(
    stored: &Snapshot,
    identity: &Sha256Digest,
    piece_len: PieceLen,
) -> Option<Vec<u8>> {
    stored.get(Table::Blocks, &blocks_key(identity, piece_len))
}

/// Whose bytes a file holds, when it was read before and looks as it did then.
pub(crate) fn stored_identity(stored: &Snapshot, path: &Path, now: &Fingerprint) -> Option<Sha256Digest> {
    let value = stored.get(Table::Files, path.as_os_str().as_bytes())?;
    let (fingerprint, identity) = value.split_first_chunk::<FINGERPRINT_LEN>()?;
    let identity = Sha256Digest(identity.try_into().ok()?);
    (Fingerprint::from_bytes(fingerprint) == *now).then_some(identity)
}

/// What is stored of a file that was read.
pub(crate) fn records(
    verified: &Verified,
    listed: &PackageDigest,
    piece_len: PieceLen,
    blocks: &[u8],
) -> Vec<Record> {
    let mut file = verified.fingerprint.to_bytes().to_vec();
    file.extend_from_slice(&verified.identity.0);
    let mut records = vec![
        Record {
            table: Table::Blocks,
            key: blocks_key(&verified.identity, piece_len),
            value: Some(blocks.to_vec()),
        },
        Record { table: Table::Files, key: verified.path.as_os_str().as_bytes().to_vec(), value: Some(file) },
    ];
    if listed.identity().is_none() {
        records.push(Record {
            table: Table::Aliases,
            key: digest_key(listed),
            value: Some(verified.identity.0.to_vec()),
        });
    }
    records
}
