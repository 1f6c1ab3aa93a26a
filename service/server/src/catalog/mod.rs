//! Which packages there are below the root, and where.
//!
//! A catalog is a finished snapshot: whoever looks something up keeps the one it started with, and a new one takes its
//! place in one step. It holds what repositories list and what their files look like; whether a file's bytes are what
//! is listed is found out when they are first read.

mod listing;
mod loose;
mod primary;
mod repomd;
mod scan;
mod watch;

pub(crate) use scan::Scanner;
pub(crate) use watch::watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkgtorrent_protocol::PackageDigest;

use crate::fingerprint::Fingerprint;
pub(crate) use listing::{ListedPackage, digest_key, take_digest};

/// One repository: its listing, and what its files look like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Its directory below the root; empty for the root itself.
    directory: PathBuf,
    /// The metadata that it was read from; none for a directory of packages without.
    metadata: Option<Metadata>,
    /// What it lists, sorted by digest.
    listed: Arc<[ListedPackage]>,
    /// What the listed files look like, in the same order; none where there is no such file of the listed size.
    files: Vec<Option<Fingerprint>>,
}

/// Which version of a repository's metadata was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Metadata {
    /// `repomd.xml` as it lay there.
    repomd: Fingerprint,
    /// The digest of the primary metadata that it names.
    primary: PackageDigest,
}

/// A package and the file that should be it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Located {
    /// The digest as its repository lists it.
    pub(crate) listed: PackageDigest,
    /// Its size as listed, which is the file's.
    pub(crate) size: u64,
    /// The file, below the root.
    pub(crate) path: PathBuf,
    /// The file as the last scan saw it.
    pub(crate) fingerprint: Fingerprint,
}

/// All repositories at one moment.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    repositories: Vec<Arc<Repository>>,
    /// Every package with a file, as (repository, index in its listing), sorted by digest.
    order: Vec<(u32, u32)>,
    /// The bytes of all of these.
    bytes: u64,
    /// Differs from every other snapshot's.
    generation: u64,
}

impl Catalog {
    fn new(repositories: Vec<Arc<Repository>>, generation: u64) -> Self {
        let mut order = Vec::with_capacity(repositories.iter().map(|r| r.files.len()).sum());
        for (r, repository) in repositories.iter().enumerate() {
            for (i, file) in repository.files.iter().enumerate() {
                if let (Some(_), Ok(r), Ok(i)) = (file, u32::try_from(r), u32::try_from(i)) {
                    order.push((r, i));
                }
            }
        }
        let mut catalog = Self { repositories, order: Vec::new(), bytes: 0, generation };
        order.sort_by_key(|&entry| catalog.listed(entry).map(|listed| listed.digest));
        order.shrink_to_fit();
        let listed = order.iter().filter_map(|&entry| catalog.listed(entry));
        catalog.bytes = listed.map(|listed| listed.size).sum();
        catalog.order = order;
        catalog
    }

    fn listed(&self, (repository, index): (u32, u32)) -> Option<&ListedPackage> {
        self.repositories.get(repository as usize)?.listed.get(index as usize)
    }

    /// Every place where a package should be.
    pub(crate) fn locate(&self, digest: &PackageDigest) -> impl Iterator<Item = Located> + '_ {
        let digest = *digest;
        let start = self.order.partition_point(|&e| self.listed(e).is_some_and(|l| l.digest < digest));
        self.order[start..]
            .iter()
            .take_while(move |&&entry| self.listed(entry).is_some_and(|listed| listed.digest == digest))
            .filter_map(|&(repository, index)| self.repositories[repository as usize].located(index as usize))
    }

    /// How many packages have a file.
    pub(crate) fn packages(&self) -> usize {
        self.order.len()
    }

    /// How many listed packages have none.
    pub(crate) fn missing(&self) -> usize {
        self.repositories.iter().map(|r| r.files.len()).sum::<usize>() - self.order.len()
    }

    /// The bytes of all packages.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every package whose path contains this text, or whose digest begins with it. The text is in lower case.
    pub(crate) fn search(&self, text: &str) -> Vec<Located> {
        let located = |&(r, i): &(u32, u32)| {
            let repository = &self.repositories[r as usize];
            let listed = repository.listed.get(i as usize)?;
            let is_wanted = repository.has_in_path(listed, text) || begins_with(&listed.digest, text);
            is_wanted.then(|| repository.located(i as usize))?
        };
        self.order.iter().filter_map(located).collect()
    }

    /// The repositories' directories, none for the packages outside of any, and how many packages each lists.
    pub(crate) fn repositories(&self) -> impl Iterator<Item = (Option<&Path>, usize)> {
        self.repositories.iter().map(|r| (r.metadata.map(|_| r.directory.as_path()), r.listed.len()))
    }

    /// The digests of all primary metadata that is in use.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = PackageDigest> + '_ {
        self.repositories.iter().filter_map(|r| r.metadata).map(|metadata| metadata.primary)
    }

    /// The paths of all packages below the root.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let located = |&(r, i): &(u32, u32)| self.repositories[r as usize].located(i as usize);
        self.order.iter().filter_map(located).map(|located| located.path)
    }

    /// A number that differs from every other snapshot's.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// Whether a digest begins so, with its algorithm or without.
fn begins_with(digest: &PackageDigest, text: &str) -> bool {
    let has_only_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.split_once(':') {
        Some((algorithm, hex)) => algorithm == digest.algorithm().name() && begins_with(digest, hex),
        None => {
            has_only_hex(text)
                && digest.to_string().split(':').nth(1).is_some_and(|hex| hex.starts_with(text))
        }
    }
}

impl Repository {
    fn has_in_path(&self, listed: &ListedPackage, text: &str) -> bool {
        let path = format!("/{}", self.directory.join(&*listed.path).display());
        path.to_ascii_lowercase().contains(text)
    }

    fn located(&self, index: usize) -> Option<Located> {
        let listed = self.listed.get(index)?;
        let fingerprint = (*self.files.get(index)?)?;
        Some(Located {
            listed: listed.digest,
            size: listed.size,
            path: self.directory.join(&*listed.path),
            fingerprint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::Sha256Digest;

    fn digest(n: u8) -> PackageDigest {
        Sha256Digest([n; 32]).into()
    }

    fn repository(directory: &str, packages: &[(u8, bool)]) -> Arc<Repository> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let fingerprint = Fingerprint::of(&file.path().metadata().expect("metadata"));
        let listed = packages.iter().map(|&(n, _)| ListedPackage {
            digest: digest(n),
            size: 5,
            path: format!("{n}.rpm").into(),
        });
        Arc::new(Repository {
            directory: directory.into(),
            metadata: None,
            listed: listed.collect(),
            files: packages.iter().map(|&(_, there)| there.then_some(fingerprint)).collect(),
        })
    }

    #[test]
    fn a_package_is_found_in_every_place_that_has_its_file() {
        let catalog = Catalog::new(
            vec![
                repository("a", &[(1, true), (2, true)]),
                repository("b", &[(2, true), (3, false), (4, true)]),
            ],
            1,
        );
        let paths = |n| catalog.locate(&digest(n)).map(|l| l.path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths(1), ["a/1.rpm"]);
        assert_eq!(paths(2), ["a/2.rpm", "b/2.rpm"]);
        assert_eq!(paths(3), [""; 0]);
        assert_eq!(paths(9), [""; 0]);
        assert_eq!((catalog.packages(), catalog.missing(), catalog.bytes()), (4, 1, 20));
    }

    #[test]
    fn packages_are_found_by_path_and_digest() {
        let catalog = Catalog::new(
            vec![repository("Fedora", &[(1, true), (2, false)]), repository("b", &[(0x1f, true)])],
            1,
        );
        let paths =
            |text| catalog.search(text).iter().map(|l| l.path.display().to_string()).collect::<Vec<_>>();
        let (first, other) = ("Fedora/1.rpm", "b/31.rpm");
        for (text, found) in [
            ("", vec![first, other]),
            ("/fedora/", vec![first]),
            ("31.rpm", vec![other]),
            ("1f1f", vec![other]),
            ("sha256:0101", vec![first]),
            ("sha1:0101", vec![]),
            ("2.rpm", vec![]),
            ("0202", vec![]),
        ] {
            assert_eq!(paths(text), found, "{text}");
        }
    }
}
