use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use pkgtorrent_agent::place::{self, PlaceError, Placed};
use pkgtorrent_protocol::{Algorithm, PackageDigest};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;

/// A package as the agent passes it.
pub(crate) struct Package {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: PackageDigest,
}

impl Package {
    pub(crate) fn new(seed: u64, size: u64) -> Self {
        let mut state = seed | 1;
        let content: Vec<u8> = (0..size)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let digest = PackageDigest::new(Algorithm::Sha256, &Sha256::digest(&content)).expect("a digest");
        Self { content, digest }
    }

    pub(crate) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Writes it into a directory, as into a store.
    pub(crate) fn write_to(&self, directory: &Path) -> PathBuf {
        let path = directory.join("package");
        File::create(&path).and_then(|mut file| file.write_all(&self.content)).expect("written");
        path
    }

    /// Places what is at `source`.
    pub(crate) fn place(&self, source: &Path, dest: &Path) -> Result<Placed, PlaceError> {
        place::place(&File::open(source).expect("a source"), dest, &self.digest, self.size())
    }

    pub(crate) fn assert_at(&self, dest: &Path) {
        assert!(std::fs::read(dest).expect("placed") == self.content, "{}", dest.display());
        assert!(place::already_there(dest, &self.digest, self.size()));
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not tested: this needs root");
    }
    is_root
}

/// A file system of its own, unmounted when dropped.
pub(crate) struct Disk {
    directory: TempDir,
}

impl Disk {
    /// `None` when this is not root, who alone may mount.
    pub(crate) fn tmpfs(size: u64) -> Option<Self> {
        Self::mount(|path| {
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"])
                .arg(path)
                .status()
        })
    }

    /// A file system whose files can share blocks.
    pub(crate) fn xfs() -> Option<Self> {
        Self::mount(|path| {
            // The image lies under the mount, which keeps it.
            let image = path.join("image");
            // The least that mkfs.xfs makes.
            File::create(&image)?.set_len(300 * MIB)?;
            run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image));
            Command::new("mount").args(["-t", "xfs", "-o", "loop"]).arg(&image).arg(path).status()
        })
    }

    /// Another view of a directory, which cannot be written through it.
    pub(crate) fn read_only(directory: &Path) -> Option<Self> {
        let disk = Self::mount(|path| Command::new("mount").arg("--bind").arg(directory).arg(path).status())?;
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk.path()));
        Some(disk)
    }

    fn mount(mount: impl FnOnce(&Path) -> std::io::Result<std::process::ExitStatus>) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let status = mount(directory.path()).expect("mount starts");
        assert!(status.success(), "mount: {status}");
        Some(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("measured");
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open.
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

pub(crate) fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
