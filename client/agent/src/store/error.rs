//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

use crate::files::StateDirError;

/// Why the store does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its directories cannot be had.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system has no room, even if everything left that may leave.
    #[error(
        "no room in {}: {needed} bytes are needed, {free} are free, {kept} must stay free and {evictable} could be freed",
        path.display()
    )]
    NoSpace {
        /// The state directory.
        path: PathBuf,
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free, for the package manager and as configured.
        kept: u64,
        /// Bytes of packages that nobody is using.
        evictable: u64,
    },
    /// The file system said that it is full, although it seemed to have room: a quota, or somebody was faster.
    #[error("no room in {}: {needed} bytes could not be reserved: {source}", path.display())]
    Full {
        /// The state directory.
        path: PathBuf,
        /// Bytes that would be written.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The store may not become so large, even if everything left that may leave.
    #[error("no room in {}: {needed} bytes are needed, the store has {bytes} in use and may have {max}", path.display())]
    OverLimit {
        /// The state directory.
        path: PathBuf,
        /// Bytes that would be written.
        needed: u64,
        /// Bytes of packages that are in use.
        bytes: u64,
        /// The most bytes that the store may have.
        max: u64,
    },
    /// A package is being downloaded with another size.
    #[error("{identity} is being downloaded with {size} bytes already")]
    OtherSize {
        /// The package.
        identity: Sha256Digest,
        /// Its size as the running download has it.
        size: u64,
    },
    /// There is nothing to keep of an empty file.
    #[error("a package of no bytes")]
    Empty,
    /// What is to be added is a directory, a pipe or a device.
    #[error("not a plain file")]
    NotAFile,
    /// What is to be added cannot be read.
    #[error("the file cannot be read: {0}")]
    Source(io::Error),
    /// What is to be added was written to while it was copied.
    #[error("the file changed while it was copied")]
    Changed,
    /// What is to be added is not what it was said to be.
    #[error("the file does not match {0}")]
    Mismatch(PackageDigest),
}
