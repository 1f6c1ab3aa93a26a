//! The store: whole packages by digest, and those that are on their way.
//!
//! *Participants*: the engine, the one owner of a [`Store`]; its threads, which write and hash through [`Partial`] and
//! [`Adding`]; `fetch`, which is handed packages as open files.
//!
//! *Goals*:
//! - What is in `store/` was whole: a file comes there only by being renamed after its digest matched. Half a download
//!   in `partial/` is believed piece by piece, each of which is hashed again.
//! - Nothing is written that has no room. The space of a package is reserved before its first byte; what the package
//!   manager needs and a floor of free space stay; the least recently wanted packages leave first, and none that is
//!   pinned.
//! - A foreign file in our directories is ignored and said once; a damaged one of ours is removed.
//!
//! *Non-goals*: a defence against the agent's own user, who can write everything here; whoever places a package checks
//! it. Durability: after a power cut a package may be damaged. It then fails that check and is downloaded again.
//!
//! A package's modification time says when it was last wanted, so that the order survives a restart without a file of
//! its own.

mod adding;
mod aliases;
mod digesting;
mod directories;
mod downloading;
mod error;
mod evicting;
mod index;
mod partial;
mod peeking;
mod room;
mod scanning;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use rustix::fs::OFlags;

pub use adding::{Added, Adding};
pub use digesting::{Checking, Digests, piece_matches};
pub use error::StoreError;
pub use partial::Partial;
pub use peeking::peek;

use crate::files::StateDir;
use crate::settings::StoreLimits;
use adding::Claims;
use directories::{Area, Directories};
use index::Index;
use room::Disk;
pub(crate) use room::floor;

/// The agent's packages. Plain, blocking code with one owner; what takes long is in the handles that it gives out.
#[derive(Debug)]
pub struct Store {
    directories: Arc<Directories>,
    limits: StoreLimits,
    disk: Arc<Disk>,
    index: Index,
    downloading: HashMap<Sha256Digest, Partial>,
    // What earlier downloads left to be resumed.
    kept: HashMap<Sha256Digest, Kept>,
    claims: Arc<Claims>,
    // Whether files were removed whose blocks may not count as free yet.
    has_freed: bool,
}

/// Half a package that nobody is downloading.
#[derive(Debug, Clone, Copy)]
struct Kept {
    size: u64,
    since: SystemTime,
}

/// How much a store has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Whole packages.
    pub packages: u64,
    /// Bytes of whole packages and of those on their way.
    pub bytes: u64,
    /// The most bytes that there may be.
    pub bytes_max: u64,
}

impl Store {
    /// Opens the store in a state directory, of which the caller has the lock.
    pub fn open(directory: Arc<StateDir>, limits: StoreLimits) -> Result<Self, StoreError> {
        let directories = Arc::new(Directories::open(directory)?);
        let (index, kept) = scanning::scan(&directories)?;
        let disk = Arc::new(Disk::new(Arc::clone(&directories))?);
        let (downloading, claims) = (HashMap::new(), Arc::default());
        let mut store =
            Self { directories, limits, disk, index, downloading, kept, claims, has_freed: false };
        store.tidy(&[]);
        Ok(store)
    }

    /// Keeps to other limits from now on. What is too much leaves with [`Store::tidy`].
    pub fn set_limits(&mut self, limits: StoreLimits) {
        self.limits = limits;
    }

    /// The package of this digest, if it is here.
    #[must_use]
    pub fn find(&self, digest: &PackageDigest) -> Option<Sha256Digest> {
        self.index.find(digest)
    }

    /// The size of a package that is here.
    #[must_use]
    pub fn size(&self, identity: &Sha256Digest) -> Option<u64> {
        self.index.size(identity)
    }

    /// Opens a package, for reading only, and notes that it was wanted. `None` when it has vanished from the directory
    /// or has another size now: then it is forgotten.
    pub fn open_package(&mut self, identity: &Sha256Digest) -> Result<Option<File>, StoreError> {
        let Some(file) = self.open_quietly(identity)? else { return Ok(None) };
        self.note_wanted(identity, &file);
        Ok(Some(file))
    }

    /// Opens a package to be read again, which does not mean that anybody wants it.
    pub fn checking(&mut self, identity: &Sha256Digest) -> io::Result<Checking> {
        match self.open_quietly(identity) {
            Ok(Some(file)) => Ok(Checking { file, identity: *identity }),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, "it has vanished from the store")),
            Err(StoreError::Io { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// A package must not be evicted until [`Self::unpin`] was called as often as this. It need not be here yet.
    pub fn pin(&mut self, identity: &Sha256Digest) {
        self.index.pin(*identity);
    }

    /// Takes one [`Self::pin`] back.
    pub fn unpin(&mut self, identity: &Sha256Digest) {
        self.index.unpin(identity);
    }

    /// Removes a package, pinned or not.
    pub fn remove(&mut self, identity: &Sha256Digest) {
        if let Err(error) = self.drop_package(identity) {
            tracing::warn!("{error}");
            // It stays on disk, and must not be found again.
            self.index.remove(identity);
        }
    }

    /// How much is here.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals { packages: self.index.len(), bytes: self.bytes(), bytes_max: self.limits.max_bytes }
    }

    /// Every package with its size and when it was last wanted, that longest ago first.
    #[must_use]
    pub fn list(&self) -> Vec<(Sha256Digest, u64, SystemTime)> {
        self.index.list()
    }

    /// Bytes that count for `max_bytes`.
    fn bytes(&self) -> u64 {
        let downloading: u64 = self.downloading.values().map(Partial::size).sum();
        let kept: u64 = self.kept.values().map(|kept| kept.size).sum();
        self.index.bytes() + downloading + kept + self.claims.bytes.load(Ordering::Relaxed)
    }

    fn open_quietly(&mut self, identity: &Sha256Digest) -> Result<Option<File>, StoreError> {
        let Some(size) = self.index.size(identity) else { return Ok(None) };
        let name = identity.to_string();
        let opened = self
            .directories
            .open_file(Area::Packages, &name, OFlags::RDONLY)
            .map_err(|source| self.directories.error("open", Area::Packages, &name, source))?;
        if let Some((file, status)) = opened
            && status.size() == size
        {
            return Ok(Some(file));
        }
        tracing::warn!(
            "{} is not as it was: forgotten",
            self.directories.path(Area::Packages, &name).display()
        );
        self.remove(identity);
        Ok(None)
    }

    fn note_wanted(&mut self, identity: &Sha256Digest, file: &File) {
        let wanted = self.index.next_wanted();
        self.index.touch(identity, wanted);
        // Only the order after a restart depends on it.
        if let Err(error) = directories::set_modified(file, wanted) {
            tracing::debug!("cannot note that {identity} was wanted: {error}");
        }
    }

    fn drop_package(&mut self, identity: &Sha256Digest) -> Result<(), StoreError> {
        self.directories.unlink(Area::Packages, &identity.to_string())?;
        self.has_freed = true;
        for alias in self.index.remove(identity) {
            // A dangling alias is harmless, and removed when the store is opened.
            if let Err(error) = self.directories.unlink(Area::Aliases, &aliases::file_name(&alias)) {
                tracing::debug!("{error}");
            }
        }
        Ok(())
    }
}
