//! Packages that really are what the metadata says: one root with three repositories, each for other figures.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_test_support::Compression;
use pkgtorrent_test_support::metadata::{self, Listed};
use sha2::{Digest, Sha256};

use super::{Random, made_once};

/// The directory's name says by which recipe it was made: whoever changes the recipe changes the number.
const NAME: &str = "packages-1";

/// The repositories, all below the one root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repository {
    /// What a transaction of 60 packages is made of, of all three classes of size; 1.5 GiB in all, so that building
    /// takes about a second on two cores.
    Mixed,
    /// 2,000 packages of a repository's usual sizes, for many different sets of known packages.
    Many,
    /// Files of 512 MiB, one for each of four connections.
    Large,
}

impl Repository {
    const ALL: [Self; 3] = [Self::Mixed, Self::Many, Self::Large];

    fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Many => "many",
            Self::Large => "large",
        }
    }

    fn sizes(self) -> Vec<u64> {
        let mut random = Random::new(self as u64);
        let mut draw = |count: usize, median: f64, sigma: f64| -> Vec<f64> {
            (0..count).map(|_| random.log_normal(median, sigma)).collect()
        };
        let whole = |sizes: Vec<f64>| -> Vec<u64> { sizes.into_iter().map(|size| size as u64 + 1).collect() };
        match self {
            Self::Mixed => {
                let shares = draw(60, 1.0, 1.2);
                let scale = 1.5 * f64::from(1 << 30) / shares.iter().sum::<f64>();
                whole(shares.into_iter().map(|share| share * scale).collect())
            }
            Self::Many => whole(draw(2000, 100e3, 1.2)),
            Self::Large => vec![512 << 20; 4],
        }
    }
}

/// One package on disk.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// Its digest.
    pub(crate) digest: Sha256Digest,
    /// Its length.
    pub(crate) size: u64,
    /// Its path below the root, with slashes, which is also its path on the mirror.
    pub(crate) path: String,
}

impl Package {
    /// Its file's name.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// How a set names it.
    pub(crate) fn package_digest(&self) -> PackageDigest {
        self.digest.into()
    }
}

/// The root directory and what is in it.
#[derive(Debug)]
pub(crate) struct Packages {
    /// What the service is pointed at.
    pub(crate) root: PathBuf,
    packages: Vec<Package>,
}

impl Packages {
    /// The packages below `data`, made when they are not there.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let directory = made_once(data, NAME, make)?;
        let path = directory.join("manifest");
        let manifest = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let packages = manifest.lines().map(|line| {
            let mut fields = line.split(' ');
            let mut field = || fields.next().context("the manifest has a short line");
            Ok(Package { digest: field()?.parse()?, size: field()?.parse()?, path: field()?.into() })
        });
        Ok(Self { packages: packages.collect::<anyhow::Result<_>>()?, root: directory.join("root") })
    }

    /// One repository's packages.
    pub(crate) fn of(&self, repository: Repository) -> Vec<Package> {
        let prefix = format!("{}/", repository.name());
        let matching = self.packages.iter().filter(|package| package.path.starts_with(&prefix));
        matching.cloned().collect()
    }

    /// Reads the files of `packages` once, so that both sides of a comparison find them in the page cache.
    pub(crate) fn warm(&self, packages: &[Package]) -> anyhow::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        for package in packages {
            let path = self.root.join(&package.path);
            let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            while file.read(&mut buffer).with_context(|| format!("reading {}", path.display()))? > 0 {}
        }
        Ok(())
    }
}

fn make(directory: &Path) -> anyhow::Result<()> {
    let root = directory.join("root");
    let mut manifest = String::new();
    for repository in Repository::ALL {
        let below = root.join(repository.name());
        fs::create_dir_all(below.join("Packages"))?;
        let mut listed = Vec::new();
        for (number, size) in repository.sizes().into_iter().enumerate() {
            let location = format!("Packages/{}-{number:04}-1.0-1.x86_64.rpm", repository.name());
            let seed = (repository as u64) << 32 | number as u64;
            let digest = random_file(&below.join(&location), size, seed)?;
            listed.push(Listed::new(digest.into(), size, &location));
            manifest.push_str(&format!("{digest} {size} {}/{location}\n", repository.name()));
        }
        metadata::write(&below, &listed, Compression::Zstd);
    }
    fs::write(directory.join("manifest"), manifest).context("writing the manifest")
}

fn random_file(path: &Path, size: u64, seed: u64) -> anyhow::Result<Sha256Digest> {
    let mut file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut random = Random::new(seed);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let chunk = left.min(buffer.len() as u64) as usize;
        random.fill(&mut buffer[..chunk]);
        hash.update(&buffer[..chunk]);
        file.write_all(&buffer[..chunk]).with_context(|| format!("writing {}", path.display()))?;
        left -= chunk as u64;
    }
    Ok(Sha256Digest(hash.finalize().into()))
}
