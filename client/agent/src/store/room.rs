//! How much room there is on the store's file system, and how much of it must stay free.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkgtorrent_protocol::socket::Need;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::StoreError;
use super::directories::{Area, Directories};
use crate::files;

/// What stays free unless the settings say otherwise: this part of the file system, but not more than
/// [`FLOOR_MAX`]. Programs that share a file system begin to fail long before the last block is taken.
const FLOOR_PERCENT: u64 = 5;

/// Five per cent of a large disk is more than anything else needs.
const FLOOR_MAX: u64 = 1 << 30;

/// `statfs`'s number for btrfs. Its subvolumes have device numbers of their own but one pool of blocks, and what it says
/// is free lacks what was taken since it last wrote out its metadata, which it does every half a minute.
const BTRFS_MAGIC: u32 = 0x9123_683e;

/// One block of any file system, so that sharing is tried on a block and not on bytes kept beside the inode.
const PROBE_LEN: usize = 64 << 10;

/// The file system that the store is on.
#[derive(Debug)]
pub(super) struct Disk {
    directories: Arc<Directories>,
    pub(super) device: u64,
    is_btrfs: bool,
    // Bytes that btrfs has given since it was last made to count them.
    uncounted: AtomicU64,
    /// Whether files can share their blocks.
    pub(super) can_share: bool,
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) free: u64,
    pub(super) total: u64,
}

impl Disk {
    pub(super) fn new(directories: Arc<Directories>) -> Result<Self, StoreError> {
        let error = |source| directories.error("examine", Area::Partials, "", source);
        let partials = directories.fd(Area::Partials).try_clone_to_owned().map_err(error)?;
        let device = files::metadata(&partials).map_err(error)?.dev();
        let kind = rustix::fs::fstatfs(&partials).map_err(|errno| error(errno.into()))?.f_type;
        let can_share = can_share(&directories)?;
        // The number's type differs between architectures, its 32 bits do not.
        let is_btrfs = kind as u32 == BTRFS_MAGIC;
        Ok(Self { device, is_btrfs, uncounted: AtomicU64::new(0), can_share, directories })
    }

    pub(super) fn measure(&self) -> Result<Measure, StoreError> {
        let found = rustix::fs::fstatvfs(self.directories.fd(Area::Partials))
            .map_err(|errno| self.directories.error("measure", Area::Partials, "", errno))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let free = bytes(found.f_bavail).saturating_sub(self.uncounted.load(Ordering::Relaxed));
        Ok(Measure { free, total: bytes(found.f_blocks) })
    }

    /// Reserves a file's blocks; `false` when the file system cannot, and the file only has its length.
    pub(super) fn reserve(&self, file: &File, size: u64) -> io::Result<bool> {
        let is_reserved = reserve(file, size)?;
        if self.is_btrfs {
            self.uncounted.fetch_add(size, Ordering::Relaxed);
        }
        Ok(is_reserved)
    }

    /// Whether some of what was measured is only assumed to be taken, until [`Self::sync`].
    pub(super) fn has_uncounted(&self) -> bool {
        self.uncounted.load(Ordering::Relaxed) > 0
    }

    /// The part of these needs that is for the file system that the store is on.
    pub(super) fn needed(&self, needs: &[Need]) -> u64 {
        let costs = |need: &&Need| {
            if need.device == self.device {
                !(need.copies && self.can_share)
            } else {
                // Only file systems without a block device of their own have this major number. Rather too much is
                // kept free than too little.
                self.is_btrfs && rustix::fs::major(need.device) == 0
            }
        };
        needs.iter().filter(costs).fold(0, |sum, need| sum.saturating_add(need.bytes))
    }

    /// Has the file system write out what it has.
    pub(super) fn sync(&self) {
        // Before, so that what is reserved meanwhile on another thread is not forgotten.
        self.uncounted.store(0, Ordering::Relaxed);
        // What this is for is measured afterwards, whatever it says.
        let _ = rustix::fs::syncfs(self.directories.fd(Area::Partials));
    }
}

/// What must stay free of a file system of this size.
pub(crate) fn floor(configured: Option<u64>, total: u64) -> u64 {
    configured.unwrap_or_else(|| (total / 100 * FLOOR_PERCENT).min(FLOOR_MAX))
}

fn reserve(file: &File, size: u64) -> io::Result<bool> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                file.set_len(size)?;
                return Ok(false);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether this error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Tries whether one file can share another's blocks. When there is no room to try, it counts as no.
fn can_share(directories: &Arc<Directories>) -> Result<bool, StoreError> {
    let tried = || {
        let from = directories.create_unfinished(Area::Partials)?;
        let to = directories.create_unfinished(Area::Partials)?;
        (&from.file).write_all(&[1; PROBE_LEN]).map_err(|source| from.error("write", source))?;
        Ok(rustix::fs::ioctl_ficlone(&to.file, &from.file).is_ok())
    };
    match tried() {
        Err(StoreError::Io { source, .. }) if is_full(&source) => Ok(false),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_five_per_cent_but_at_most_a_gibibyte() {
        assert_eq!(floor(None, 1_000_000), 50_000);
        assert_eq!(floor(None, 1 << 40), 1 << 30);
        assert_eq!(floor(Some(7), 1 << 40), 7);
    }
}
