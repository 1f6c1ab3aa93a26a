//! What the system tests share: the questions that they all ask, and hosts that ask them all at once.

pub mod fake_peer;
pub mod load;
pub mod nginx;
pub mod site;
pub mod watched;
pub mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_test_support::http::{self, Connection, Request, Response};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Launch, Package, Service, ask};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How long a change below the root may take to be seen. It takes a second; the slow rescan comes after five minutes,
/// so this leaves much time to a busy machine and still tells the two apart.
pub const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// A root and a state directory beside each other.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty root.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let lab = Self { directory };
        std::fs::create_dir(lab.root()).expect("a root");
        lab
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A path below the root.
    #[must_use]
    pub fn path(&self, below_root: &str) -> PathBuf {
        self.root().join(below_root)
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A service for this root, not yet started.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch::new(&self.root(), &self.state())
    }

    /// The service for this root.
    #[must_use]
    pub fn start(&self) -> Service {
        self.launch().start()
    }
}

/// The packages' SHA-256 digests.
#[must_use]
pub fn digests<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<PackageDigest> {
    packages.into_iter().map(|package| package.identity.into()).collect()
}

/// Which of these digests the service does not know.
#[must_use]
pub fn unknown(service: SocketAddr, digests: &[PackageDigest]) -> Vec<PackageDigest> {
    ask::post_set(service, digests).unknown
}

/// Whether the service has a plan for this package.
#[must_use]
pub fn is_known(service: SocketAddr, digest: impl Into<PackageDigest>) -> bool {
    unknown(service, &[digest.into()]).is_empty()
}

/// Waits until the service has a plan for this package, and checks what the web seed sends for it.
pub fn wait_until_known(service: SocketAddr, package: &Package) {
    let what = format!("plan for {}", package.file_name());
    wait_for(&what, SEEN_WITHIN, || is_known(service, package.identity).then_some(()));
    assert_web_seed_is_right(service, package);
}

/// Waits until the service says that it does not know this package.
pub fn wait_until_unknown(service: SocketAddr, package: &Package) {
    let what = format!("word that {} is unknown", package.file_name());
    wait_for(&what, SEEN_WITHIN, || (!is_known(service, package.identity)).then_some(()));
}

/// The web seed's path of a package.
#[must_use]
pub fn web_seed(package: &Package) -> String {
    format!("{}webseed/pkgtorrent/{}/{}", ask::PREFIX, package.identity, package.file_name())
}

/// The mirror's path of a package.
#[must_use]
pub fn mirror(root: &Path, package: &Package) -> String {
    let path = package.path.strip_prefix(root).expect("a package below the root");
    format!("/{}", path.to_str().expect("a package's path is UTF-8"))
}

/// Panics unless the web seed sends the package's bytes.
pub fn assert_web_seed_is_right(service: SocketAddr, package: &Package) {
    let response = http::get(service, &web_seed(package)).expect_status(200);
    assert!(response.body == package.bytes(), "{}: the web seed sends other bytes", package.file_name());
}

/// The SHA-256 of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// The bytes `from..=to` of `target`; with an entity tag, only of that version.
pub fn get_range(
    connection: &mut Connection,
    target: &str,
    from: usize,
    to: usize,
    if_range: Option<&str>,
) -> io::Result<Response> {
    let request = Request::get(target).header("Range", &format!("bytes={from}-{to}"));
    let request = match if_range {
        Some(tag) => request.header("If-Range", tag),
        None => request,
    };
    connection.send(&request)
}
