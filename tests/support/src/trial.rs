//! A mirror, the service beside it, and what dnf alone makes of the mirror: the yardstick for hosts with the shim.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::dnf::{Host, Outcome};
use crate::manager::Manager;
use crate::package::Rpm;
use crate::repository::{Package, Repository};
use crate::server::Server;
use crate::service::Service;

/// What a run takes longer than dnf alone although nothing is waited for: the agent starts and ends, some tens of
/// milliseconds each.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How much longer a run may take because the machine has more to do than when dnf ran alone.
const BUSY_FACTOR: u32 = 5;

/// Three packages, of which installing the first brings the others, and one more, on a plain mirror.
#[derive(Debug)]
pub struct Mirror {
    directory: TempDir,
    /// Where they are indexed.
    pub repository: Repository,
    /// `app`, `lib` and `data`: of one piece, of several, and of several ranges.
    pub packages: [Package; 3],
    /// `other`, which none of them needs.
    pub other: Package,
    /// From where dnf downloads.
    pub server: Server,
    manager: Manager,
}

impl Default for Mirror {
    fn default() -> Self {
        Self::new()
    }
}

impl Mirror {
    /// The mirror, with nothing else, for hosts with dnf 4.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Manager::Dnf4)
    }

    /// The mirror for hosts with this package manager.
    #[must_use]
    pub fn of(manager: Manager) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repo"));
        let packages = Self::rpms().map(|rpm| repository.add(&rpm));
        let other = repository.add(&Rpm::new("other").seed(3));
        repository.index();
        let server = Server::files(&directory.path().join("root"));
        Self { directory, repository, packages, other, server, manager }
    }

    /// What its packages are built from.
    #[must_use]
    pub fn rpms() -> [Rpm; 3] {
        [
            Rpm::new("app").requires("lib").payload_len(20_000),
            Rpm::new("lib").requires("data").payload_len(300_000).seed(1),
            Rpm::new("data").payload_len(2_500_000).seed(2),
        ]
    }

    /// Packages with the same names, versions and sizes as those of the mirror, and other bytes.
    #[must_use]
    pub fn evil() -> [(String, Vec<u8>); 3] {
        Self::rpms().map(|rpm| (rpm.file_name(), rpm.rebuilt().build()))
    }

    /// What the mirror serves.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A service beside the mirror.
    #[must_use]
    pub fn service(&self) -> Service {
        Service::start(&self.root(), &self.directory.path().join("state"))
    }

    /// A service on the same machine that has other files than the mirror.
    #[must_use]
    pub fn service_of(&self, root: &Path) -> Service {
        Service::start(root, &self.directory.path().join("state-of-another"))
    }

    /// The names of all packages' files, sorted.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.packages.iter().map(|it| it.file_name().to_owned()).collect();
        names.sort();
        names
    }

    /// A host that installs from the mirror, without the shim.
    #[must_use]
    pub fn host(&self) -> Host {
        self.on(Host::of(self.manager))
    }

    /// This host, with the mirror's repository.
    #[must_use]
    pub fn on(&self, host: Host) -> Host {
        host.repository("repo", &self.server.url("/repo/"))
    }

    /// What dnf makes of the mirror when there is no shim. It downloads everything.
    #[must_use]
    pub fn dnf_alone(&self) -> Outcome {
        let _ = self.server.take_packages();
        let outcome = install(&self.host());
        let _ = self.server.take_packages();
        outcome
    }
}

/// A mirror, the service beside it, and what dnf alone makes of it.
#[derive(Debug)]
pub struct Trial {
    /// The mirror.
    pub mirror: Mirror,
    /// The service, which knows all packages of the mirror.
    pub service: Service,
    /// The run of dnf that others are compared with.
    pub alone: Outcome,
}

impl Default for Trial {
    fn default() -> Self {
        Self::new()
    }
}

impl Trial {
    /// A mirror of which dnf alone installs three packages.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Manager::Dnf4)
    }

    /// The same for each package manager that is here.
    pub fn each() -> impl Iterator<Item = Self> {
        Manager::all().into_iter().map(Self::of)
    }

    fn of(manager: Manager) -> Self {
        let mirror = Mirror::of(manager);
        let alone = mirror.dnf_alone().succeeded();
        assert_eq!(alone.installed.len(), 3);
        Self { service: mirror.service(), mirror, alone }
    }

    /// A host with the service.
    #[must_use]
    pub fn host(&self) -> Host {
        self.mirror.host().agent(&self.service.url("/"))
    }

    /// This host gets nothing from its service, for this reason, after these waits: dnf ends as it does alone, and
    /// downloads everything.
    pub fn left_to_dnf(&self, host: &Host, reason: &str, waits: Duration) -> Outcome {
        let outcome = install(host).same_as(&self.alone).within(waits, &self.alone).placed(0);
        assert!(outcome.output.contains(reason), "{reason:?}:\n{}", outcome.output);
        self.expect_downloads(&self.mirror.file_names(), &outcome);
        self.expect_right_packages(host);
        outcome
    }

    /// This host gets everything from its service, and dnf ends as it does alone.
    pub fn placed(&self, host: &Host) -> Outcome {
        let outcome = install(host).same_as(&self.alone).within(Duration::ZERO, &self.alone).placed(3);
        self.expect_downloads(&[], &outcome);
        self.expect_right_packages(host);
        outcome
    }

    /// Panics unless dnf itself has downloaded these packages, and no others, since the last time.
    pub fn expect_downloads(&self, names: &[String], outcome: &Outcome) {
        assert_eq!(self.mirror.server.take_packages(), names, "{}", outcome.output);
    }

    /// Panics if a package is installed that only goes by the name of the mirror's.
    pub fn expect_right_packages(&self, host: &Host) {
        for name in ["app", "lib", "data"] {
            assert_eq!(host.rebuilds_of(name), 0, "another {name} than the mirror's is installed");
        }
    }
}

/// Installs everything.
#[must_use]
pub fn install(host: &Host) -> Outcome {
    host.dnf(&["install", "app"])
}

impl Outcome {
    /// This outcome, after a panic if the run took longer than dnf alone, these waits, and what a busy machine explains.
    #[must_use]
    pub fn within(self, waits: Duration, alone: &Self) -> Self {
        let limit = waits + alone.duration * BUSY_FACTOR + START_LIMIT;
        assert!(self.duration < limit, "{:?} of at most {limit:?}:\n{}", self.duration, self.output);
        self
    }

    /// This outcome, after a panic unless the shim said that it placed so many packages.
    #[must_use]
    pub fn placed(self, count: usize) -> Self {
        let said = self.output.lines().find(|line| line.contains("pkgtorrent: "));
        let expected = format!("pkgtorrent: {count} of ");
        assert!(said.is_some_and(|said| said.starts_with(&expected)), "{expected:?}:\n{}", self.output);
        self
    }
}
