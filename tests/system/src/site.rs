//! A small mirror behind the real service, for tests of what goes over HTTP.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_protocol::metainfo::BUNDLE_NAME;
use pkgtorrent_test_support::{Launch, Package, Repository, Service, ask};
use tempfile::TempDir;

/// Names that URLs, proxies and path joins get wrong.
pub const ODD_NAMES: [&str; 5] = [
    "libstdc++-1.0~rc1^git-1.x86_64.rpm",
    "two words %41 & more.rpm",
    "ünïcode-日本.rpm",
    "question?mark#and%2Fslash.rpm",
    "100%.rpm",
];

/// How many sites there are apart from others.
static SITES: AtomicU32 = AtomicU32::new(1);

/// The service with a repository of files whose metadata lists them by SHA-256.
#[derive(Debug)]
pub struct Site {
    /// The service.
    pub service: Service,
    /// The repository at `/repo`.
    pub repository: Repository,
    /// What lies in it, in the order in which it was named.
    pub packages: Vec<Package>,
    // Dropped after the service, whose files are below it.
    directory: TempDir,
}

impl Site {
    /// A mirror of files with these names and sizes, and the service with this configuration on 127.0.0.1.
    #[must_use]
    pub fn start(files: &[(&str, usize)], config: &str) -> Self {
        Self::start_with(files, |launch| launch.config(config))
    }

    /// As [`Self::start`], with more to say about how the service starts.
    #[must_use]
    pub fn start_with(files: &[(&str, usize)], adapt: impl FnOnce(Launch) -> Launch) -> Self {
        Self::start_seeded(files, 0, adapt)
    }

    /// As [`Self::start`], with packages that no other site has: a host of another test that was told of a host, whose port
    /// one of this test has taken over, would otherwise be a peer here.
    #[must_use]
    pub fn start_apart(files: &[(&str, usize)], config: &str) -> Self {
        let seed = u64::from(SITES.fetch_add(1, Ordering::Relaxed)) << 32;
        Self::start_seeded(files, seed, |launch| launch.config(config))
    }

    fn start_seeded(files: &[(&str, usize)], seed: u64, adapt: impl FnOnce(Launch) -> Launch) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the mirror");
        let repository = Repository::create(directory.path().join("root/repo"));
        let packages: Vec<Package> = files
            .iter()
            .enumerate()
            .map(|(index, &(name, size))| repository.add_blob(name, size, seed + index as u64))
            .collect();
        repository.list(&packages);
        let launch = Launch::new(&directory.path().join("root"), &directory.path().join("state"));
        Self { service: adapt(launch).start(), repository, packages, directory }
    }

    /// The directory that the service serves.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A place for other things of the test, beside the root.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The digests of all packages.
    #[must_use]
    pub fn digests(&self) -> Vec<PackageDigest> {
        self.packages.iter().map(|package| package.identity.into()).collect()
    }

    /// Asks for the set of all packages, so that they are known and shared.
    pub fn plan(&self) -> pkgtorrent_protocol::plan::Plan {
        let plan = ask::post_set(self.service.addr(), &self.digests());
        assert_eq!(plan.unknown, []);
        plan
    }
}

/// The path of a package on the web seed.
#[must_use]
pub fn web_seed_path(package: &Package) -> String {
    let name = escaped(package.file_name());
    format!("{}webseed/{BUNDLE_NAME}/{}/{name}", ask::PREFIX, package.identity)
}

/// A text as a part of a URL's path, with everything escaped that may be.
#[must_use]
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
