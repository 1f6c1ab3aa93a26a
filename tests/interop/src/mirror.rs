//! A mirror whose packages have the sizes and names that clients get wrong.

use std::fs;
use std::path::{Path, PathBuf};

use pkgtorrent_protocol::metainfo::{BundleInfo, Metainfo};
use pkgtorrent_protocol::{PackageDigest, SetDigest};
use pkgtorrent_test_support::{Launch, Package, Repository, Rpm, Service, ask};
use tempfile::TempDir;

/// The service before two repositories, and what lies in them.
#[derive(Debug)]
pub struct Mirror {
    /// The service.
    pub service: Service,
    /// Everything in the repositories.
    pub packages: Vec<Package>,
    // Dropped after the service, whose files are below it.
    directory: TempDir,
}

impl Mirror {
    /// Starts a mirror with real packages, and with files that are too small to be packages but that metadata lists.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the mirror");
        let root = directory.path().join("root");
        let real = Repository::create(root.join("real"));
        let mut packages = vec![
            real.add(&Rpm::new("exactly-a-piece").size(32 << 10)),
            real.add(&Rpm::new("libstdc++").version("13.0~rc1^git20240101").arch("x86_64").size(100_000)),
            real.add_in(
                "Packages/ü",
                &Rpm::new("unicode").payload_len(50_000).named("ünïcode-日本-1.0-1.noarch.rpm"),
            ),
            real.add(&Rpm::new("medium").size(1_500_000)),
            real.add(&Rpm::new("medium-whole").size(2 << 20)),
        ];
        real.index();
        let listed = Repository::create(root.join("listed"));
        let blobs = vec![
            listed.add_blob("one+byte~1^2.rpm", 1, 1),
            listed.add_blob("two %41 bytes & more.rpm", 2, 2),
        ];
        listed.list(&blobs);
        packages.extend(blobs);
        let service = Launch::new(&root, &directory.path().join("state"))
            // All peers of these tests are on the loopback.
            .config("peer_networks = [\"127.0.0.0/8\"]\n")
            .start();
        Self { service, packages, directory }
    }

    /// An empty directory of this name for one client's download.
    #[must_use]
    pub fn directory_for(&self, client: &str) -> PathBuf {
        let directory = self.directory.path().join(client);
        fs::create_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        directory
    }

    /// Asks for the set of all packages, so that the service knows it, and returns its digest.
    pub fn know_set(&self) -> SetDigest {
        let digests: Vec<PackageDigest> =
            self.packages.iter().map(|package| package.identity.into()).collect();
        let plan = ask::post_set(self.service.addr(), &digests);
        assert_eq!(plan.unknown, []);
        assert_eq!(plan.set, ask::set_digest(&digests));
        plan.set
    }

    /// The set's `.torrent` as a file, and what it says.
    #[must_use]
    pub fn torrent(&self) -> (PathBuf, Metainfo, BundleInfo) {
        let bytes = ask::set_torrent(self.service.addr(), self.know_set());
        let (metainfo, bundle) = Metainfo::parse(&bytes).expect("a .torrent of a bundle");
        (self.write("set.torrent", &bytes), metainfo, bundle)
    }

    /// The set's `.torrent` without its web seeds: only peers have the bytes.
    #[must_use]
    pub fn torrent_without_web_seeds(&self) -> (PathBuf, Metainfo, BundleInfo) {
        let (_, mut metainfo, bundle) = self.torrent();
        assert!(!metainfo.web_seeds.is_empty(), "the service names its web seed");
        metainfo.web_seeds.clear();
        let bytes = metainfo.encode().expect("a .torrent encodes");
        (self.write("peers-only.torrent", &bytes), metainfo, bundle)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// Where the mirror and its clients keep their files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How many bytes the service has given out of packages, as web seed and as mirror.
    #[must_use]
    pub fn served_bytes(&self) -> f64 {
        self.service.metric("pkgtorrent_webseed_bytes_total")
            + self.service.metric("pkgtorrent_mirror_bytes_total")
    }

    /// The size of all packages together.
    #[must_use]
    pub fn package_bytes(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}
