//! A package that is being downloaded: written piece by piece, hashed as it is written where that is in order, read back
//! where it is not, and renamed into the store when its whole digest matched.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::{Algorithm, PieceLen, Sha256Digest};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::digesting::{Beginning, Digests, digests_of, piece_matches, read_on};
use super::directories::{Area, Directories};
use crate::files;

/// A handle to a package's file in `partial/`. Clones are the same file; every method may be called on any thread and
/// blocks.
#[derive(Debug, Clone)]
pub struct Partial {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    identity: Sha256Digest,
    size: u64,
    is_new: bool,
    is_reserved: bool,
    directories: Arc<Directories>,
    progress: Mutex<Progress>,
    // Not part of the progress, which nobody is to wait for while bytes are hashed.
    beginning: Mutex<Beginning>,
}

#[derive(Debug, Default)]
struct Progress {
    phase: Phase,
    // Writes that were begun, and those that are not over: a digest counts only if none happened meanwhile.
    begun: u64,
    under_way: u32,
    // What was written while another thread was hashing.
    unhashed: Vec<(u64, usize)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Pieces come in.
    #[default]
    Open,
    /// The whole digest matched, and nothing was written since.
    Matched,
    /// It is in the store.
    Finished,
    /// The store has given it up. The file's name may be another download's by now.
    Abandoned,
}

impl Partial {
    pub(super) fn new(
        file: File,
        identity: Sha256Digest,
        size: u64,
        (is_new, is_reserved): (bool, bool),
        directories: Arc<Directories>,
    ) -> Self {
        let (progress, beginning) = (Mutex::default(), Mutex::default());
        let shared = Shared { file, identity, size, is_new, is_reserved, directories, progress, beginning };
        Self { shared: Arc::new(shared) }
    }

    /// The package.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.shared.identity
    }

    /// Whether this is a clone of the other.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// Whether there is nothing in it from an earlier download.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.shared.is_new
    }

    /// The file, to read from.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.shared.file
    }

    /// The pieces that are there and right, counted from the package's first. `block_hashes` are this package's.
    pub fn verified_pieces(&self, piece_len: PieceLen, block_hashes: &[u8]) -> io::Result<Vec<u32>> {
        if block_hashes.len() as u64 != piece_len.pieces(self.size()) * BLOCK_HASH_LEN as u64 {
            return Err(self.error(&io::Error::new(
                io::ErrorKind::InvalidInput,
                "the number of piece hashes does not fit its size",
            )));
        }
        let verify = || {
            let mut verified = Vec::new();
            let mut data_start = 0;
            for (piece, hash) in (0_u32..).zip(block_hashes.chunks_exact(BLOCK_HASH_LEN)) {
                let (start, len) = self.extent(piece_len, piece)?;
                if data_start < start + len as u64 {
                    data_start = data_start.max(self.next_data(start)?);
                }
                // What was never written is not read: a large package that has just begun is almost all of it.
                if data_start < start + len as u64
                    && piece_matches(piece_len, &self.read_extent(start, len)?, hash)
                {
                    verified.push(piece);
                }
            }
            Ok(verified)
        };
        verify().map_err(|error: io::Error| self.error(&error))
    }

    /// Writes one piece, which the caller has verified, without its padding.
    pub fn write_piece(&self, piece_len: PieceLen, piece: u32, bytes: &[u8]) -> io::Result<()> {
        let write = || {
            let (start, len) = self.extent(piece_len, piece)?;
            if bytes.len() != len {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a piece of another length"));
            }
            self.begin_writing()?;
            let written = self.shared.file.write_all_at(bytes, start);
            match written {
                Ok(()) => self.hash(start, bytes),
                // Nobody knows what is there now.
                Err(_) => *self.beginning() = Beginning::default(),
            }
            // Only now: a digest that was asked for meanwhile may have missed these bytes.
            self.progress().under_way -= 1;
            written
        };
        write().map_err(|error| self.error(&error))
    }

    /// Takes what was written into the digest, unless another thread is at it, who is not waited for.
    fn hash(&self, start: u64, bytes: &[u8]) {
        let Ok(mut beginning) = self.shared.beginning.try_lock() else {
            self.progress().unhashed.push((start, bytes.len()));
            return;
        };
        self.note_unhashed(&mut beginning);
        beginning.extend(&self.shared.file, start, bytes);
    }

    fn note_unhashed(&self, beginning: &mut Beginning) {
        for (start, len) in std::mem::take(&mut self.progress().unhashed) {
            beginning.note(start, len);
        }
    }

    /// Reads one piece, without its padding, as it is on disk.
    pub fn read_piece(&self, piece_len: PieceLen, piece: u32) -> io::Result<Vec<u8>> {
        self.extent(piece_len, piece)
            .and_then(|(start, len)| self.read_extent(start, len))
            .map_err(|error| self.error(&error))
    }

    /// The file's digests; what was not written in order is read for its SHA-256, and all of it for another one. When the
    /// SHA-256 is the package's identity, [`Self::finish`] may follow.
    pub fn digests(&self, aliases: &[Algorithm]) -> io::Result<Digests> {
        let (begun, under_way) = {
            let progress = self.progress();
            (progress.begun, progress.under_way)
        };
        let hashed = if aliases.is_empty() {
            let beginning = {
                let mut beginning = self.beginning();
                self.note_unhashed(&mut beginning);
                beginning.clone()
            };
            let whole = read_on(&self.shared.file, beginning, |_| ());
            whole.map(|(identity, len)| (Digests { identity, aliases: Vec::new() }, len))
        } else {
            digests_of(&self.shared.file, aliases)
        };
        let (digests, len) = hashed.map_err(|error| self.error(&error))?;
        let mut progress = self.progress();
        let is_quiet = under_way == 0 && progress.begun == begun;
        if progress.phase == Phase::Open
            && is_quiet
            && len == self.size()
            && digests.identity == self.identity()
        {
            progress.phase = Phase::Matched;
        }
        Ok(digests)
    }

    /// Renames the file into the store. Refused unless its digest matched and nothing was written since; busy if something
    /// was, so that the digest is to be computed once more.
    ///
    /// Nothing is synced to disk: what a power cut leaves of a package does not get past whoever places it, who reads it
    /// once more, and waiting for the disk would make every download slower.
    pub fn finish(&self) -> io::Result<()> {
        let name = self.identity().to_string();
        // Held while renaming, so that the store does not give the name to another download in between.
        let mut progress = self.progress();
        if progress.phase != Phase::Matched {
            let (kind, reason) = match progress.phase {
                Phase::Abandoned => (io::ErrorKind::InvalidInput, "it was given up"),
                Phase::Finished => (io::ErrorKind::InvalidInput, "it is in the store already"),
                Phase::Open | Phase::Matched => {
                    (io::ErrorKind::ResourceBusy, "its digest was not found to match")
                }
            };
            return Err(self.error(&io::Error::new(kind, reason)));
        }
        self.shared
            .directories
            .rename((Area::Partials, &name), (Area::Packages, &name))
            .map_err(|error| self.error(&error))?;
        progress.phase = Phase::Finished;
        Ok(())
    }

    /// The store gives the download up. Says whether it had been finished before.
    pub(super) fn abandon(&self) -> bool {
        let mut progress = self.progress();
        if progress.phase == Phase::Finished {
            return true;
        }
        progress.phase = Phase::Abandoned;
        false
    }

    pub(super) fn is_finished(&self) -> bool {
        self.progress().phase == Phase::Finished
    }

    /// Whether there is anything in it that a later download could use.
    pub(super) fn is_worth_keeping(&self) -> bool {
        !self.shared.is_new || self.progress().begun > 0
    }

    /// Bytes that the file will still take from the file system.
    pub(super) fn unreserved(&self) -> u64 {
        if self.shared.is_reserved {
            return 0;
        }
        let taken = self.shared.file.metadata().map_or(0, |status| status.blocks() * 512);
        self.size().saturating_sub(taken)
    }

    fn begin_writing(&self) -> io::Result<()> {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Open | Phase::Matched => {
                progress.phase = Phase::Open;
                progress.begun += 1;
                progress.under_way += 1;
                Ok(())
            }
            Phase::Finished | Phase::Abandoned => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "its download is over"))
            }
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beginning(&self) -> MutexGuard<'_, Beginning> {
        self.shared.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a piece starts and how long it is, without padding.
    fn extent(&self, piece_len: PieceLen, piece: u32) -> io::Result<(u64, usize)> {
        let piece_len = u64::from(piece_len.bytes());
        let start = u64::from(piece) * piece_len;
        if start >= self.size() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a piece behind its end"));
        }
        // At most a piece's length, which is a u32.
        Ok((start, piece_len.min(self.size() - start) as usize))
    }

    fn read_extent(&self, start: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.shared.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    /// Where data begins at or after `start`; the largest number when there is none.
    fn next_data(&self, start: u64) -> io::Result<u64> {
        match rustix::fs::seek(&self.shared.file, SeekFrom::Data(start)) {
            Ok(offset) => Ok(offset),
            Err(Errno::NXIO) => Ok(u64::MAX),
            // The file system does not know: everything may be data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(start),
            Err(errno) => Err(errno.into()),
        }
    }

    fn path(&self) -> PathBuf {
        self.shared.directories.path(Area::Partials, &self.identity().to_string())
    }

    fn error(&self, error: &io::Error) -> io::Error {
        files::at(&self.path(), error)
    }
}
