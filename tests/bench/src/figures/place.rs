//! How long placing takes, beside copying the file and reading it once for its SHA-256.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use pkgtorrent_agent::place::place;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_test_support::process::installed;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::bench::{Bench, in_turns, run, timed};
use crate::data::Random;
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// The size of the package.
const SIZE: u64 = 1_000_000_000;

/// Room for two of it and what the file system itself needs.
const IMAGE_SIZE: u64 = 3_000_000_000;

/// How much slower than what it is compared with.
const TARGET: f64 = 1.2;

/// Measures the figure where the data lies, and on a file system whose files can share blocks.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let place = tempfile::tempdir_in(&bench.data).context("a directory for packages")?;
    measure_in(bench, board, place.path(), "copy")?;
    drop(place);
    if !rustix::process::geteuid().is_root() {
        eprintln!("  not measured: only root may mount a file system whose files share blocks");
        return Ok(());
    }
    let disk = Disk::mount(&bench.data)?;
    measure_in(bench, board, disk.path(), "reflink")
}

/// A package in a directory.
struct Package {
    directory: PathBuf,
    path: PathBuf,
    digest: PackageDigest,
}

impl Package {
    fn make(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("package");
        let mut file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let (mut random, mut hash, mut buffer) = (Random::new(9), Sha256::new(), vec![0; 1 << 20]);
        let mut left = SIZE;
        while left > 0 {
            let chunk = &mut buffer[..left.min(1 << 20) as usize];
            random.fill(chunk);
            hash.update(&*chunk);
            std::io::Write::write_all(&mut file, chunk).context("writing a package")?;
            left -= chunk.len() as u64;
        }
        let digest = Sha256Digest(hash.finalize().into()).into();
        Ok(Self { directory: directory.into(), path, digest })
    }

    /// Places it, and says whether blocks are shared.
    fn place(&self) -> anyhow::Result<(Duration, bool)> {
        let dest = self.fresh("placed")?;
        let file = File::open(&self.path).context("opening a package")?;
        let (time, placed) = timed(|| place(&file, &dest, &self.digest, SIZE));
        Ok((time, placed.context("placing")?.shares_blocks))
    }

    /// Copies it as the file system does best, and reads the copy.
    fn copy_and_hash(&self, is_shared: bool) -> anyhow::Result<(Duration, Duration)> {
        let dest = self.fresh("copied")?;
        let mut copy = Command::new(installed("cp"));
        copy.arg(if is_shared { "--reflink=always" } else { "--reflink=auto" }).arg(&self.path).arg(&dest);
        let mut hash = Command::new(installed("openssl"));
        hash.args(["dgst", "-sha256"]).arg(&dest).stdout(Stdio::null());
        let (copying, copied) = timed(|| run(&mut copy, "cp"));
        copied?;
        let (hashing, hashed) = timed(|| run(&mut hash, "openssl dgst"));
        hashed?;
        Ok((copying, hashing))
    }

    /// A path where nothing is. What earlier rounds wrote is on the disk, so that no round waits for another's bytes.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        for old in ["placed", "copied"] {
            match fs::remove_file(self.directory.join(old)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context("removing an earlier copy");
                }
                _ => {}
            }
        }
        let directory = File::open(&self.directory).context("opening a directory")?;
        rustix::fs::syncfs(directory.as_fd()).context("syncing")?;
        Ok(self.directory.join(name))
    }
}

fn measure_in(bench: &Bench, board: &mut Scoreboard, directory: &Path, how: &str) -> anyhow::Result<()> {
    let is_shared = how == "reflink";
    let package = Package::make(directory)?;
    let pairs = in_turns(bench.rounds, || package.place(), || package.copy_and_hash(is_shared))?;
    let shared = pairs.iter().filter(|((_, shares_blocks), _)| *shares_blocks).count();
    ensure!(
        if is_shared { shared == pairs.len() } else { shared == 0 },
        "blocks are shared in {shared} of {} rounds",
        pairs.len()
    );
    let seconds: Vec<(f64, f64, f64)> = pairs
        .iter()
        .map(|((ours, _), (copying, hashing))| {
            (ours.as_secs_f64(), copying.as_secs_f64(), hashing.as_secs_f64())
        })
        .collect();
    let sample = |unit, value: fn(&(f64, f64, f64)) -> f64| Sample::new(unit, seconds.iter().map(value));
    let ratio = sample(Unit::Ratio, |(ours, copying, hashing)| ours / (copying + hashing));
    board.add("place", format!("1 GB, {how}: beside cp and openssl"), &ratio, Target::Under(TARGET));
    board.add("place", format!("1 GB, {how}"), &sample(Unit::Seconds, |round| round.0), Target::None);
    let copying = sample(Unit::Seconds, |round| round.1);
    board.add("place", format!("1 GB, {how}: cp alone"), &copying, Target::None);
    let hashing = sample(Unit::Seconds, |round| round.2);
    board.add("place", format!("1 GB, {how}: openssl sha256 alone"), &hashing, Target::None);
    Ok(())
}

/// A file system whose files can share blocks, unmounted when dropped.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn mount(data: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir_in(data).context("a directory for a file system")?;
        // It lies under the mount, which keeps it.
        let image = directory.path().join("image");
        File::create(&image).and_then(|file| file.set_len(IMAGE_SIZE)).context("making an image")?;
        run(Command::new(installed("mkfs.xfs")).args(["-q", "-m", "reflink=1"]).arg(&image), "mkfs.xfs")?;
        let mut mount = Command::new(installed("mount"));
        mount.args(["-t", "xfs", "-o", "loop"]).arg(&image).arg(directory.path());
        run(&mut mount, "mounting an xfs image")?;
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: after an error a file may still be open.
        let mut unmount = Command::new(installed("umount"));
        unmount.arg("-l").arg(self.path());
        if let Err(error) = run(&mut unmount, "umount") {
            eprintln!("  {} stays mounted: {error:#}", self.path().display());
        }
    }
}
