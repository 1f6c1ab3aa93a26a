//! A file that somebody brings is copied, the copy is hashed, and only what was hashed is kept.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkgtorrent_protocol::socket::Need;
use pkgtorrent_protocol::{Algorithm, PackageDigest, Sha256Digest};
use rustix::io::Errno;

use super::digesting::{READ_LEN, digests_of};
use super::directories::{Area, Unfinished};
use super::room::Disk;
use super::{Store, StoreError};

/// How much is copied by one call, so that it ends soon when the agent does.
const COPY_LEN: u64 = 16 << 20;

/// Bytes that files being added take: by the store's own limit, and those that are still to come from the file system.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) bytes: AtomicU64,
    pub(super) unreserved: AtomicU64,
}

/// One file's part of the [`Claims`], until it is dropped.
#[derive(Debug)]
struct Claim {
    claims: Arc<Claims>,
    bytes: u64,
    unreserved: u64,
}

impl Claim {
    fn new(claims: &Arc<Claims>, bytes: u64, unreserved: u64) -> Self {
        claims.bytes.fetch_add(bytes, Ordering::Relaxed);
        claims.unreserved.fetch_add(unreserved, Ordering::Relaxed);
        Self { claims: Arc::clone(claims), bytes, unreserved }
    }

    /// The file system counts these bytes itself from now on.
    fn is_reserved(&mut self) {
        self.claims.unreserved.fetch_sub(self.unreserved, Ordering::Relaxed);
        self.unreserved = 0;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.is_reserved();
        self.claims.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file that is to be copied into the store. There is room for it.
#[derive(Debug)]
pub struct Adding {
    source: File,
    copy: Unfinished,
    size: u64,
    expected: Option<PackageDigest>,
    disk: Arc<Disk>,
    // What must stay free when the room for a copy was not asked for, because it was to share the source's blocks.
    kept: u64,
    claim: Claim,
}

/// What was copied: it is in the store's directory and waits for [`Store::enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its identity.
    pub identity: Sha256Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest by another algorithm that the caller named.
    pub aliases: Vec<PackageDigest>,
}

impl Store {
    /// Makes room for a copy of `source`, an open file of the caller's, of which it may have said the digest.
    pub fn begin_adding(
        &mut self,
        source: OwnedFd,
        expected: Option<PackageDigest>,
        needs: &[Need],
    ) -> Result<Adding, StoreError> {
        let source = File::from(source);
        let status = source.metadata().map_err(StoreError::Source)?;
        if !status.is_file() {
            return Err(StoreError::NotAFile);
        }
        let size = status.len();
        if size == 0 {
            return Err(StoreError::Empty);
        }
        let shares = self.disk.can_share && status.dev() == self.disk.device;
        let disk_bytes = if shares { 0 } else { size };
        let kept = self.make_room(size, disk_bytes, needs)?;
        let copy = self.directories.create_unfinished(Area::Partials)?;
        let claim = Claim::new(&self.claims, size, disk_bytes);
        Ok(Adding { source, copy, size, expected, disk: Arc::clone(&self.disk), kept, claim })
    }
}

impl Adding {
    /// Copies and hashes: blocks for as long as that takes. Nothing is left of a file that is refused.
    pub fn take_in(mut self) -> Result<Added, StoreError> {
        self.fill()?;
        let alias = self.expected.map(|digest| digest.algorithm()).filter(|a| *a != Algorithm::Sha256);
        let (digests, len) = digests_of(&self.copy.file, alias.as_slice())
            .map_err(|source| self.copy.error("read", source))?;
        if len != self.size {
            return Err(StoreError::Changed);
        }
        if let Some(expected) = self.expected
            && expected.identity() != Some(digests.identity)
            && !digests.aliases.contains(&expected)
        {
            return Err(StoreError::Mismatch(expected));
        }
        let Self { copy, size, .. } = self;
        copy.finish(Area::Packages, &digests.identity.to_string())?;
        Ok(Added { identity: digests.identity, size, aliases: digests.aliases })
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        if rustix::fs::ioctl_ficlone(&self.copy.file, &self.source).is_ok() {
            return Ok(());
        }
        if self.claim.unreserved == 0 {
            // It was to cost nothing, and now it does.
            let free = self.disk.measure()?.free;
            if free < self.size.saturating_add(self.kept) {
                let path = self.copy.directories.root();
                return Err(StoreError::NoSpace {
                    path,
                    needed: self.size,
                    free,
                    kept: self.kept,
                    evictable: 0,
                });
            }
        }
        match self.disk.reserve(&self.copy.file, self.size) {
            Ok(true) => self.claim.is_reserved(),
            Ok(false) => {}
            Err(source) => return Err(self.copy.error("reserve the room for", source)),
        }
        let copied = self.copy_shortcut();
        self.copy_rest(copied)?;
        let more = self.source.read_at(&mut [0], self.size).map_err(StoreError::Source)?;
        if more > 0 { Err(StoreError::Changed) } else { Ok(()) }
    }

    /// Copies within the kernel as far as it can, and says how far that is: whatever the reason is that it goes no
    /// further, reading and writing finds out whether it matters.
    fn copy_shortcut(&self) -> u64 {
        let mut copied = 0;
        while copied < self.size {
            let (mut from, mut to) = (copied, copied);
            // At most COPY_LEN, which fits any machine's usize.
            let len = (self.size - copied).min(COPY_LEN) as usize;
            match rustix::fs::copy_file_range(
                &self.source,
                Some(&mut from),
                &self.copy.file,
                Some(&mut to),
                len,
            ) {
                Ok(0) => break,
                Ok(len) => copied += len as u64,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        copied
    }

    fn copy_rest(&self, mut copied: u64) -> Result<(), StoreError> {
        let mut buffer = vec![0; READ_LEN];
        while copied < self.size {
            let len = (self.size - copied).min(READ_LEN as u64) as usize;
            let len = match self.source.read_at(&mut buffer[..len], copied) {
                Ok(0) => return Err(StoreError::Changed),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(StoreError::Source(error)),
            };
            let written = self.copy.file.write_all_at(&buffer[..len], copied);
            written.map_err(|source| self.copy.error("write", source))?;
            copied += len as u64;
        }
        Ok(())
    }
}
