//! A small file system of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process;

const MOUNT_LIMIT: Duration = Duration::from_secs(30);

/// A file system in memory. It is unmounted when dropped, which what uses it should be before.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// A file system of so many bytes. Only root may mount one.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test runs as root: only root may mount");
        let disk = Self { directory: tempfile::tempdir().expect("a directory") };
        let options = format!("size={bytes},mode=755");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], disk.path());
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How many bytes are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("a file system");
        found.f_bavail * found.f_frsize
    }

    /// Takes all of it but so many bytes.
    pub fn fill_but(&self, left: u64) -> PathBuf {
        let ballast = self.path().join("ballast");
        fs::write(&ballast, vec![1; self.free().saturating_sub(left) as usize]).expect("ballast is written");
        ballast
    }

    /// Nothing can be written from now on.
    pub fn make_read_only(&self) {
        mount(&["-o", "remount,ro"], self.path());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what a failed test has left running may have files open. No panic on the way out of another one.
        let status = Command::new("umount").arg("-l").arg(self.path()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

fn mount(arguments: &[&str], path: &Path) {
    process::run(Command::new("mount").args(arguments).arg(path), MOUNT_LIMIT);
}
