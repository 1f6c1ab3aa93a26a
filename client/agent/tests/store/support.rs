//! A store to test with, packages for it, and file systems that can be filled.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pkgtorrent_agent::files::StateDir;
use pkgtorrent_agent::settings::StoreLimits;
use pkgtorrent_agent::store::{Partial, Store, StoreError};
use pkgtorrent_protocol::socket::Need;
use pkgtorrent_protocol::{PieceLen, Sha256Digest};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// The piece length of every test's packages.
pub(crate) const PIECE: PieceLen = PieceLen::Small;

/// A package of bytes that no compression or deduplication makes smaller.
pub(crate) struct Package {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Sha256Digest,
}

impl Package {
    pub(crate) fn new(seed: u8, size: u64) -> Self {
        let mut bytes = Vec::new();
        let mut block = Sha256::digest([seed]);
        while (bytes.len() as u64) < size {
            bytes.extend_from_slice(&block);
            block = Sha256::digest(block);
        }
        bytes.truncate(size as usize);
        let identity = Sha256Digest(Sha256::digest(&bytes).into());
        Self { bytes, identity }
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The SHA-1 of every piece with its padding.
    pub(crate) fn block_hashes(&self) -> Vec<u8> {
        let piece = |bytes: &[u8]| {
            let mut padded = bytes.to_vec();
            padded.resize(PIECE.bytes() as usize, 0);
            Sha1::digest(&padded).to_vec()
        };
        self.bytes.chunks(PIECE.bytes() as usize).flat_map(piece).collect()
    }

    /// Writes these of its pieces.
    pub(crate) fn write(&self, partial: &Partial, pieces: impl IntoIterator<Item = u32>) {
        let all: Vec<&[u8]> = self.bytes.chunks(PIECE.bytes() as usize).collect();
        for piece in pieces {
            partial.write_piece(PIECE, piece, all[piece as usize]).expect("written");
        }
    }

    pub(crate) fn pieces(&self) -> std::ops::Range<u32> {
        0..PIECE.pieces(self.size()) as u32
    }

    /// Downloads it into the store.
    pub(crate) fn put(&self, store: &mut Store) -> Result<(), StoreError> {
        self.put_with(store, &[])
    }

    pub(crate) fn put_with(&self, store: &mut Store, needs: &[Need]) -> Result<(), StoreError> {
        let partial = store.begin(self.identity, self.size(), needs)?;
        self.write(&partial, self.pieces());
        assert_eq!(partial.digests(&[]).expect("digests").identity, self.identity);
        partial.finish().expect("finished");
        store.enter(self.identity, self.size(), &[])
    }

    /// Whether the store has it and gives its very bytes.
    pub(crate) fn is_in(&self, store: &mut Store) -> bool {
        if store.find(&self.identity.into()).is_none() {
            return false;
        }
        let mut file = store.open_package(&self.identity).expect("opens").expect("is there");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        assert!(bytes == self.bytes, "other bytes than were put in");
        true
    }
}

/// Limits that nothing in a test comes near.
pub(crate) fn unlimited() -> StoreLimits {
    StoreLimits { max_bytes: u64::MAX, free_space_min: Some(0) }
}

pub(crate) fn at_most(max_bytes: u64) -> StoreLimits {
    StoreLimits { max_bytes, ..unlimited() }
}

/// A store in a directory of its own, which may be opened again.
pub(crate) struct Lab {
    _directory: Option<TempDir>,
    pub(crate) path: PathBuf,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        Self { _directory: Some(directory), path }
    }

    pub(crate) fn on(disk: &Disk) -> Self {
        Self { _directory: None, path: disk.path().join("state") }
    }

    pub(crate) fn open(&self, limits: StoreLimits) -> Store {
        self.try_open(limits).expect("a store")
    }

    pub(crate) fn try_open(&self, limits: StoreLimits) -> Result<Store, StoreError> {
        Store::open(Arc::new(StateDir::open(&self.path, None)?), limits)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names in one of the directories, sorted.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.join(directory)).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not tested: this needs root");
    }
    is_root
}

/// A process that is being started has all of this one's open files for a moment, also those of other tests, and a file
/// that is open somewhere keeps its blocks. So processes are started, and blocks are counted, by one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file system of its own, unmounted when dropped.
pub(crate) struct Disk {
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Disk {
    /// `None` when this is not root, who alone may mount.
    pub(crate) fn tmpfs(size: u64) -> Option<Self> {
        Self::tmpfs_of_files(size, 1000)
    }

    /// One that also limits how many files there are.
    pub(crate) fn tmpfs_of_files(size: u64, files: u32) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let disk = Self { _alone: alone(), directory: tempfile::tempdir().expect("a directory") };
        let options = format!("size={size},nr_inodes={files},mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(disk.path()));
        Some(disk)
    }

    /// A file system whose files can share blocks.
    pub(crate) fn xfs() -> Option<Self> {
        // The least that mkfs.xfs makes.
        Self::image(300 * MIB, Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]))
    }

    /// Another one, with its own ways of counting what is free. `None` also where there is none.
    pub(crate) fn btrfs() -> Option<Self> {
        let supported = std::fs::read_to_string("/proc/filesystems").expect("a list").contains("btrfs");
        if !supported || Command::new("mkfs.btrfs").arg("--version").output().is_err() {
            eprintln!("not tested: there is no btrfs on this machine");
            return None;
        }
        Self::image(900 * MIB, Command::new("mkfs.btrfs").args(["-q", "-f"]))
    }

    /// A file system that cannot reserve blocks.
    pub(crate) fn ext2(size: u64) -> Option<Self> {
        Self::image(size, Command::new("mkfs.ext2").args(["-q", "-F", "-m", "0"]))
    }

    /// A file system in a file that this command makes it in.
    fn image(size: u64, make: &mut Command) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let disk = Self { _alone: alone(), directory: tempfile::tempdir().expect("a directory") };
        // It lies under the mount and is kept by it.
        let image = disk.path().join("image");
        File::create(&image).and_then(|file| file.set_len(size)).expect("an image");
        run(make.arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        Some(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("measured");
        found.f_bavail * found.f_frsize
    }

    pub(crate) fn device(&self) -> u64 {
        std::fs::metadata(self.path()).expect("metadata").dev()
    }

    pub(crate) fn remount_read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open.
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
