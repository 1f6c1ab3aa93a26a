//! From the first byte of a download to the package in the index.

use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use pkgtorrent_protocol::socket::Need;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use rustix::fs::OFlags;

use super::directories::Area;
use super::{Kept, Partial, Store, StoreError, aliases, room};

impl Store {
    /// Makes room for a package, reserves its blocks and gives its file, which an earlier download may have begun.
    ///
    /// A download that is running already is joined.
    pub fn begin(
        &mut self,
        identity: Sha256Digest,
        size: u64,
        needs: &[Need],
    ) -> Result<Partial, StoreError> {
        if size == 0 {
            return Err(StoreError::Empty);
        }
        if let Some(running) = self.downloading.get(&identity) {
            let other = running.size();
            return if other == size {
                Ok(running.clone())
            } else {
                Err(StoreError::OtherSize { identity, size: other })
            };
        }
        // Taken out, so that making room for the rest of it does not remove it.
        let kept = self.kept.remove(&identity);
        let reopened = self.reopen(&identity, size)?;
        match self.allocate(identity, size, needs, reopened.as_ref()) {
            Ok(partial) => {
                self.downloading.insert(identity, partial.clone());
                Ok(partial)
            }
            Err(error) => {
                if let (Some(kept), Some(_)) = (kept, reopened) {
                    self.kept.insert(identity, kept);
                }
                Err(error)
            }
        }
    }

    /// Makes room and takes it.
    fn allocate(
        &mut self,
        identity: Sha256Digest,
        size: u64,
        needs: &[Need],
        reopened: Option<&(File, u64)>,
    ) -> Result<Partial, StoreError> {
        let taken = reopened.map_or(0, |(_, taken)| *taken);
        self.make_room(size, size.saturating_sub(taken), needs)?;
        let mut reserved = self.reserve(&identity, size, reopened);
        // It may be full although it seemed not to be: of files, by a quota, or because others write too. Then as much
        // leaves once more.
        if reserved.as_ref().is_err_and(room::is_full) && self.evictable() > 0 {
            self.evict(size)?;
            reserved = self.reserve(&identity, size, reopened);
        }
        match reserved {
            Ok((file, is_reserved)) => {
                let flags = (reopened.is_none(), is_reserved);
                Ok(Partial::new(file, identity, size, flags, Arc::clone(&self.directories)))
            }
            Err(source) if room::is_full(&source) => {
                Err(StoreError::Full { path: self.directories.root(), needed: size, source })
            }
            Err(source) => Err(self.partial_error("reserve the room for", &identity, source)),
        }
    }

    /// Makes the file, if it is not there, and reserves its blocks: `false` when only its length could be set.
    fn reserve(
        &mut self,
        identity: &Sha256Digest,
        size: u64,
        reopened: Option<&(File, u64)>,
    ) -> io::Result<(File, bool)> {
        if let Some((file, _)) = reopened {
            return Ok((file.try_clone()?, self.disk.reserve(file, size)?));
        }
        let file = self.directories.create(Area::Partials, &identity.to_string())?;
        match self.disk.reserve(&file, size) {
            Ok(is_reserved) => Ok((file, is_reserved)),
            Err(error) => {
                self.remove_partial(identity);
                Err(error)
            }
        }
    }

    /// Enters a package in the index whose file was renamed into the store: that of a [`Partial`] or of an
    /// [`super::Adding`]. `known_by` are its digests by other algorithms.
    pub fn enter(
        &mut self,
        identity: Sha256Digest,
        size: u64,
        known_by: &[PackageDigest],
    ) -> Result<(), StoreError> {
        let name = identity.to_string();
        let error = |source| self.directories.error("enter", Area::Packages, &name, source);
        let opened = self.directories.open_file(Area::Packages, &name, OFlags::RDONLY).map_err(error)?;
        let Some((file, _)) = opened.filter(|(_, status)| status.size() == size) else {
            return Err(error(io::Error::new(io::ErrorKind::NotFound, "there is no such file of that size")));
        };
        self.index.insert(identity, size, SystemTime::UNIX_EPOCH);
        self.note_wanted(&identity, &file);
        if let Entry::Occupied(running) = self.downloading.entry(identity)
            && running.get().is_finished()
        {
            running.remove();
        }
        if self.kept.remove(&identity).is_some() {
            self.remove_partial(&identity);
        }
        for alias in known_by.iter().filter(|alias| alias.identity().is_none()) {
            // The package is no worse without: it is only not found by this digest after a restart.
            if self.index.add_alias(*alias, identity)
                && let Err(error) = aliases::write(&self.directories, alias, &identity)
            {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    /// Nobody downloads a package any more. What is there of it is kept for a resume, or removed.
    pub fn abandon(&mut self, identity: &Sha256Digest, keep: bool) {
        let Some(partial) = self.downloading.remove(identity) else { return };
        if partial.abandon() {
            // It was finished in the last moment: a package is a package.
            if let Err(error) = self.enter(*identity, partial.size(), &[]) {
                tracing::warn!("{error}");
            }
        } else if keep && partial.is_worth_keeping() {
            self.kept.insert(*identity, Kept { size: partial.size(), since: SystemTime::now() });
        } else {
            self.remove_partial(identity);
        }
    }

    /// Opens what is there of a package of this size, with how much of the file system it takes. Anything else of that
    /// name is removed.
    fn reopen(&self, identity: &Sha256Digest, size: u64) -> Result<Option<(File, u64)>, StoreError> {
        let name = identity.to_string();
        let opened = self
            .directories
            .open_file(Area::Partials, &name, OFlags::RDWR)
            .map_err(|error| self.partial_error("open", identity, error))?;
        if let Some((file, status)) = opened
            && status.size() == size
        {
            return Ok(Some((file, status.blocks() * 512)));
        }
        self.directories.unlink(Area::Partials, &name)?;
        Ok(None)
    }

    fn remove_partial(&mut self, identity: &Sha256Digest) {
        self.has_freed = true;
        if let Err(error) = self.directories.unlink(Area::Partials, &identity.to_string()) {
            tracing::warn!("{error}");
        }
    }

    fn partial_error(&self, action: &'static str, identity: &Sha256Digest, source: io::Error) -> StoreError {
        self.directories.error(action, Area::Partials, &identity.to_string(), source)
    }
}
