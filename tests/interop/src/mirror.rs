//! A mirror whose packages have the sizes and names that clients get wrong.

use std::fs;
use std::path::{Path, PathBuf};

use pkgtorrent_protocol::metainfo::{BundleInfo, Metainfo};
use pkgtorrent_protocol::{InfoHash, PackageDigest, SetDigest};
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

/// A home bundle with the web seed switched off: only peers have its bytes.
#[derive(Debug)]
pub struct Home {
    /// Its `.torrent`, which names the tracker and no web seed.
    pub torrent: PathBuf,
    /// The swarm.
    pub info_hash: InfoHash,
    /// What is in it.
    pub bundle: BundleInfo,
    /// The packages in it.
    pub packages: Vec<Package>,
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
        let (_, metainfo, bundle) = self.torrent();
        let (path, metainfo) = self.write_without_web_seeds("peers-only.torrent", metainfo);
        (path, metainfo, bundle)
    }

    /// The home bundles of all packages.
    #[must_use]
    pub fn homes(&self) -> Vec<Home> {
        let set = self.know_set();
        let plan = ask::get_set(self.service.addr(), set).expect("the service knows the set");
        let homes: Vec<Home> = plan.bundles.iter().map(|planned| self.home(planned.info_hash)).collect();
        assert!(homes.len() > 1, "the packages are of more than one class");
        homes
    }

    fn home(&self, info_hash: InfoHash) -> Home {
        let bytes = ask::bundle_torrent(self.service.addr(), info_hash);
        let (metainfo, bundle) = Metainfo::parse(&bytes).expect("a .torrent of a bundle");
        let name = format!("{info_hash}.torrent");
        let (torrent, metainfo) = self.write_without_web_seeds(&name, metainfo);
        assert_eq!(metainfo.info_hash(), info_hash);
        let is_in = |package: &&Package| bundle.packages().iter().any(|it| it.identity == package.identity);
        let packages: Vec<Package> = self.packages.iter().filter(is_in).cloned().collect();
        assert_eq!(packages.len(), bundle.packages().len(), "the bundle holds only packages of the mirror");
        Home { torrent, info_hash, bundle, packages }
    }

    fn write_without_web_seeds(&self, name: &str, mut metainfo: Metainfo) -> (PathBuf, Metainfo) {
        assert!(!metainfo.web_seeds.is_empty(), "the service names its web seed");
        metainfo.web_seeds.clear();
        let bytes = metainfo.encode().expect("a .torrent encodes");
        (self.write(name, &bytes), metainfo)
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
