//! Repositories of real packages, indexed by the real createrepo_c.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_protocol::{Algorithm, PackageDigest, Sha256Digest};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

pub use crate::metadata::Compression;
use crate::metadata::{self, Listed};
use crate::package::Rpm;
use crate::process;

/// How long createrepo_c may take for a test's repository.
const CREATEREPO_LIMIT: Duration = Duration::from_secs(60);

/// A file of a repository as it was when it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// Its identity.
    pub identity: Sha256Digest,
    bytes: Vec<u8>,
}

impl Package {
    /// Writes a file as `path`, in one step for whoever watches, and remembers it.
    #[must_use]
    pub fn write(path: &Path, bytes: Vec<u8>) -> Self {
        let directory = path.parent().expect("a package lies in a directory");
        fs::create_dir_all(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        let mut file = tempfile::NamedTempFile::new_in(directory).expect("a new file beside the packages");
        std::io::Write::write_all(&mut file, &bytes).expect("a package is written");
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o644)).expect("a package is readable");
        file.persist(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let identity = Sha256Digest(Sha256::digest(&bytes).into());
        Self { path: path.to_owned(), size: bytes.len() as u64, identity, bytes }
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.expect("a package's file name is UTF-8")
    }

    /// Its bytes, whatever has become of the file since.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its digest by an algorithm that metadata may use.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> PackageDigest {
        let raw = match algorithm {
            Algorithm::Sha1 => Sha1::digest(&self.bytes).to_vec(),
            Algorithm::Sha224 => Sha224::digest(&self.bytes).to_vec(),
            Algorithm::Sha256 => self.identity.0.to_vec(),
            Algorithm::Sha384 => Sha384::digest(&self.bytes).to_vec(),
            Algorithm::Sha512 => Sha512::digest(&self.bytes).to_vec(),
        };
        PackageDigest::new(algorithm, &raw).expect("a digest has its algorithm's length")
    }

    /// Its path below a bundle's directory, as clients lay it out on disk.
    #[must_use]
    pub fn bundle_path(&self) -> PathBuf {
        Path::new(&self.identity.to_string()).join(self.file_name())
    }
}

/// A directory with packages and, once it was indexed, `repodata/`.
#[derive(Debug, Clone)]
pub struct Repository {
    directory: PathBuf,
}

impl Repository {
    /// An empty repository.
    #[must_use]
    pub fn create(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        Self { directory }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Builds a package at the top of the repository, in place of one with the same name.
    pub fn add(&self, rpm: &Rpm) -> Package {
        self.add_in("", rpm)
    }

    /// Builds a package in a directory of the repository.
    pub fn add_in(&self, directory: &str, rpm: &Rpm) -> Package {
        Package::write(&self.directory.join(directory).join(rpm.file_name()), rpm.build())
    }

    /// Adds a file of random bytes, which createrepo_c would not take for a package: see [`Self::list`].
    pub fn add_blob(&self, name: &str, size: usize, seed: u64) -> Package {
        let mut bytes = vec![0; size];
        Pcg64Mcg::seed_from_u64(seed).fill_bytes(&mut bytes);
        Package::write(&self.directory.join(name), bytes)
    }

    /// Removes a package's file; the metadata lists it until the next [`Self::index`].
    pub fn remove(&self, package: &Package) {
        fs::remove_file(&package.path).unwrap_or_else(|e| panic!("{}: {e}", package.path.display()));
    }

    /// Runs createrepo_c as most mirrors do.
    pub fn index(&self) {
        self.index_with(&[]);
    }

    /// Runs createrepo_c with more arguments, for example `--checksum sha512`.
    pub fn index_with(&self, arguments: &[&str]) {
        let mut command = Command::new(process::installed("createrepo_c"));
        command.args(["--quiet", "--general-compress-type", "gz"]).args(arguments).arg(&self.directory);
        process::run(&mut command, CREATEREPO_LIMIT);
    }

    /// Runs createrepo_c and compresses the primary list in this way.
    pub fn index_compressed(&self, compression: Compression) {
        self.index();
        metadata::recompress(&self.directory, compression);
    }

    /// Writes metadata that lists just these files by SHA-256, without createrepo_c: the files need not be packages.
    pub fn list(&self, packages: &[Package]) {
        let listed: Vec<Listed> = packages
            .iter()
            .map(|package| {
                let href = package.path.strip_prefix(&self.directory).expect("a package of this repository");
                let href = href.to_str().expect("a package's path is UTF-8");
                Listed::new(package.identity.into(), package.size, href)
            })
            .collect();
        metadata::write(&self.directory, &listed, Compression::Gzip);
    }
}
