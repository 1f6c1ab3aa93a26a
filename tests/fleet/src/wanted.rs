//! The packages that a crowd wants.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use pkgtorrent_protocol::control::FetchPackage;
use pkgtorrent_protocol::metainfo::{BUNDLE_NAME, BundleInfo, PADDING_DIRECTORY};
use pkgtorrent_protocol::{PackageDigest, PackageSet, SetDigest, Sha256Digest};
use sha2::{Digest, Sha256};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPackage {
    /// Its file's path below the mirror's root.
    pub path: PathBuf,
    /// The name of its file.
    pub file_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub identity: Sha256Digest,
}

impl WantedPackage {
    /// Where clients put it that lay a bundle out on disk.
    #[must_use]
    pub fn bundle_path(&self) -> PathBuf {
        Path::new(BUNDLE_NAME).join(self.identity.to_string()).join(&self.file_name)
    }
}

/// Packages of one repository, which lies below a mirror's root.
#[derive(Debug, Clone)]
pub struct Wanted {
    root: PathBuf,
    packages: Vec<WantedPackage>,
}

impl Wanted {
    /// All `.rpm` files in `root/repository`, in the order of their names. Reading them also brings them into the page
    /// cache.
    pub fn open(root: &Path, repository: &str) -> anyhow::Result<Self> {
        let directory = root.join(repository);
        let mut packages = Vec::new();
        for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
            let entry = entry?;
            let file_name = entry.file_name().into_string().ok().context("a file name that is no UTF-8")?;
            if !file_name.ends_with(".rpm") {
                continue;
            }
            let bytes = read(&entry.path())?;
            packages.push(WantedPackage {
                path: Path::new(repository).join(&file_name),
                file_name,
                size: bytes.len() as u64,
                identity: Sha256Digest(Sha256::digest(&bytes).into()),
            });
        }
        ensure!(!packages.is_empty(), "{} has no packages", directory.display());
        packages.sort_by(|a, b| a.file_name.cmp(&b.file_name));
        Ok(Self { root: root.to_owned(), packages })
    }

    /// Some of them, by their places in the order of their names.
    #[must_use]
    pub fn some(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let packages = places.into_iter().map(|place| self.packages[place].clone()).collect();
        Self { root: self.root.clone(), packages }
    }

    /// What a service calls them.
    pub(crate) fn set(&self) -> anyhow::Result<SetDigest> {
        Ok(PackageSet::new(self.digests()).context("a set")?.digest())
    }

    /// What a service or a mirror is pointed at.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The packages.
    #[must_use]
    pub fn packages(&self) -> &[WantedPackage] {
        &self.packages
    }

    /// Their sizes together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }

    /// How a set names them.
    #[must_use]
    pub fn digests(&self) -> Vec<PackageDigest> {
        self.packages.iter().map(|package| package.identity.into()).collect()
    }

    /// What a package manager asks for that has its cache in `cache`.
    pub(crate) fn request(&self, cache: &Path) -> Vec<FetchPackage> {
        let wants = self.packages.iter().map(|package| FetchPackage {
            name: package.file_name.clone(),
            url: format!("http://mirror.invalid/{}", package.file_name),
            digest: package.identity.into(),
            size: package.size,
            dest: cache.join(&package.file_name).to_string_lossy().into_owned(),
        });
        wants.collect()
    }

    /// Fails unless every package's bytes are in its file below `directory`.
    pub(crate) fn check(
        &self,
        directory: &Path,
        file: impl Fn(&WantedPackage) -> PathBuf,
    ) -> anyhow::Result<()> {
        for package in &self.packages {
            let path = directory.join(file(package));
            let digest = Sha256Digest(Sha256::digest(read(&path)?).into());
            ensure!(digest == package.identity, "{} has other bytes than the mirror's", path.display());
        }
        Ok(())
    }

    /// Lays a bundle out below `directory` as a client would that has downloaded it, padding included, so that it can
    /// be seeded.
    pub(crate) fn lay_out(&self, directory: &Path, bundle: &BundleInfo) -> anyhow::Result<()> {
        for package in &self.packages {
            write(&directory.join(package.bundle_path()), &read(&self.root.join(&package.path))?)?;
        }
        let padding = directory.join(BUNDLE_NAME).join(PADDING_DIRECTORY);
        for extent in bundle.layout().extents().iter().filter(|extent| extent.padding > 0) {
            // The name is `<length>_<index of the file before it>`.
            let name = format!("{}_{}", extent.padding, extent.file);
            write(&padding.join(name), &vec![0; extent.padding as usize])?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("a file in no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_test_support::{Repository, Rpm};

    #[test]
    fn a_file_with_other_bytes_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repository"));
        let package = repository.add(&Rpm::new("one"));
        let wanted = Wanted::open(&directory.path().join("root"), "repository").expect("a package");
        assert_eq!((wanted.bytes(), wanted.digests()), (package.size, vec![package.identity.into()]));
        let file = |package: &WantedPackage| package.path.clone();
        wanted.check(wanted.root(), file).expect("the mirror has its own bytes");
        let mut bytes = package.bytes().to_vec();
        bytes[0] ^= 1;
        fs::write(&package.path, bytes).expect("a file is spoilt");
        assert!(wanted.check(wanted.root(), file).is_err());
    }
}
