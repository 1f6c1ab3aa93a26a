//! The engine as its events drive it, without sockets and services.

mod connections;
mod following;
mod installs;
mod reporting;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use pkgtorrent_protocol::PieceLen;
use pkgtorrent_protocol::metainfo::{BundleInfo, BundlePackage};
use pkgtorrent_protocol::path::FileName;
use pkgtorrent_protocol::peers::CompactPeers;
use pkgtorrent_protocol::plan::{Plan, PlannedBundle, Policy};
use pkgtorrent_protocol::socket::Want;
use pkgtorrent_protocol::{Algorithm, PackageSet};
use pkgtorrent_swarm::Outcome;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use tempfile::TempDir;

use super::*;
use crate::files::StateDir;
use crate::origin::{Info, PlanError, ServiceUrl, check};
use crate::settings::{Keys, StoreLimits};

const SERVICE: &str = "http://127.0.0.1:1/";
const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

struct Host {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    answers: HashMap<SessionId, mpsc::Receiver<Outgoing>>,
    directory: TempDir,
}

struct Package {
    bytes: Vec<u8>,
    identity: Sha256Digest,
}

impl Package {
    fn new(byte: u8) -> Self {
        let bytes = vec![byte; 40_000];
        let identity = Sha256Digest(Sha256::digest(&bytes).into());
        Self { bytes, identity }
    }

    fn sha512(&self) -> PackageDigest {
        PackageDigest::new(Algorithm::Sha512, &Sha512::digest(&self.bytes)).unwrap()
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        self.bytes.chunks(PieceLen::Small.bytes() as usize).map(<[u8]>::to_vec).collect()
    }

    fn block_hashes(&self) -> Vec<u8> {
        let hash = |mut piece: Vec<u8>| {
            piece.resize(PieceLen::Small.bytes() as usize, 0);
            Sha1::digest(&piece).to_vec()
        };
        self.pieces().into_iter().flat_map(hash).collect()
    }
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Arc::new(StateDir::open(&directory.path().join("state"), None).unwrap());
        let limits = StoreLimits { max_bytes: 1 << 30, free_space_min: Some(0) };
        let store = Store::open(files, limits).unwrap();
        let settings = Keys::default().settle().unwrap();
        let http = Http::new(&settings.origin).unwrap();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (peers, _) = mpsc::channel(peer::EVENTS_MAX);
        let peer_id = PeerId([1; 20]);
        let peers = Peers::new(&settings.peers, peer::Patience::default(), peer_id, None, peers);
        let identity = Identity { peers, peer_id, port: None, seed: 1 };
        let engine = Engine::new(&settings, store, http, sender, identity, Description::default(), None);
        let mut host = Self { engine, events, answers: HashMap::new(), directory };
        for session in [ALICE, BOB] {
            let (answers, queue) = mpsc::channel(ANSWERS_MAX);
            let caller = Caller { uid: 0 };
            host.engine.handle(Event::Connected { session, caller, answers });
            host.answers.insert(session, queue);
        }
        host
    }

    fn ask(&mut self, session: SessionId, request: Request, file: Option<OwnedFd>) {
        self.engine.handle(Event::Asked { session, request, file });
    }

    fn fetch(&mut self, session: SessionId, digests: &[PackageDigest]) {
        let want =
            |digest: &PackageDigest| Want { digest: *digest, size: 40_000, service: 0, name: String::new() };
        let wants = digests.iter().map(want).collect();
        self.ask(session, Request::Fetch { services: vec![SERVICE.into()], wants, needs: vec![] }, None);
    }

    fn tell(&mut self, task: Task) {
        self.engine.handle(task.into());
    }

    /// The service answers the last question: these packages are in these bundles, which are to be read next.
    fn plan(&mut self, digests: &[PackageDigest], bundles: &[&[&Package]]) -> Vec<Task> {
        let set = PackageSet::new(digests.to_vec()).unwrap();
        let infos: Vec<BundleInfo> = bundles.iter().map(|packages| info_of(packages)).collect();
        let planned = bundles.iter().zip(&infos).map(|(packages, info)| planned(&set, packages, info));
        let plan = Plan {
            version: 1,
            set: set.digest(),
            bundles: planned.collect(),
            unknown: vec![],
            web_seeds: vec![format!("{SERVICE}seed/")],
            torrents: format!("{SERVICE}torrents/"),
            announce: format!("{SERVICE}announce"),
            policy: Policy { announce_interval: 60, lease_ttl: 0, upload_limit: None },
            site: Vec::new(),
        };
        let plan = check(&plan, &set, &ServiceUrl::parse(SERVICE).unwrap(), &[]).unwrap();
        let id = PlanId(self.engine.next_plan - 1);
        self.tell(Task::Planned { plan: id, result: Ok(Box::new(plan)), took: Duration::ZERO });
        let informed = infos.into_iter().map(|info| {
            let bytes = bytes::Bytes::from(info.encode().unwrap());
            let (bundle, service) = (self.engine.bundle_ids[&InfoHash::of(&bytes)], SERVICE.to_owned());
            let info = Info { bundle: Arc::new(info), bytes };
            Task::Informed { bundle, service, result: Ok(info), took: Duration::ZERO }
        });
        informed.collect()
    }

    /// The same, and the bundles' info dictionaries have been read.
    fn answer(&mut self, digests: &[PackageDigest], bundles: &[&[&Package]]) {
        for informed in self.plan(digests, bundles) {
            self.tell(informed);
        }
    }

    /// What the command was told, but for files.
    fn said(&mut self, session: SessionId) -> Vec<Answer> {
        let queue = self.answers.get_mut(&session).unwrap();
        std::iter::from_fn(|| queue.try_recv().ok()).map(|outgoing| outgoing.answer).collect()
    }

    /// A request ends as one does that nobody answers.
    fn unreachable(&mut self, request: u64) {
        let (request, reason) = (RequestId(request), Some("no".into()));
        self.tell(Task::Ended { request, outcome: Outcome::Unreachable, reason });
    }

    fn failed(&mut self, session: SessionId) -> usize {
        self.said(session).iter().filter(|answer| matches!(answer, Answer::Failed { .. })).count()
    }

    /// A command brings a package, and says by which digest it is known.
    async fn add(&mut self, package: &Package, digest: PackageDigest) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&package.bytes).unwrap();
        file.rewind().unwrap();
        self.ask(BOB, Request::Add { index: 0, digest: Some(digest) }, Some(file.into()));
        self.until(|task| matches!(task, Task::Added { .. })).await;
    }

    fn stored(&self, package: &Package) -> File {
        let path = self.directory.path().join("state/store").join(package.identity.to_string());
        fs::OpenOptions::new().write(true).open(path).unwrap()
    }

    /// Waits for what a task says, and takes it in.
    async fn until(&mut self, is_it: impl Fn(&Task) -> bool) {
        loop {
            let event = self.events.recv().await.unwrap();
            let is_over = matches!(&event, Event::Task(TaskEvent(task)) if is_it(task));
            self.engine.handle(event);
            if is_over {
                return;
            }
        }
    }
}

fn info_of(packages: &[&Package]) -> BundleInfo {
    let named = packages.iter().map(|package| BundlePackage {
        identity: package.identity,
        name: FileName::new("a.rpm").unwrap(),
        size: package.bytes.len() as u64,
    });
    let hashes = packages.iter().flat_map(|package| package.block_hashes()).collect();
    BundleInfo::new(PieceLen::Small, named.collect(), hashes).unwrap()
}

fn planned(set: &PackageSet, packages: &[&Package], info: &BundleInfo) -> PlannedBundle {
    let bytes = info.encode().unwrap();
    let file_of = |digest: &PackageDigest| {
        let is_it = |it: &&Package| digest.identity() == Some(it.identity) || *digest == it.sha512();
        Some(info.layout().extents()[packages.iter().position(is_it)?].file)
    };
    PlannedBundle {
        info_hash: InfoHash::of(&bytes),
        info_len: bytes.len() as u32,
        piece_len: PieceLen::Small.bytes(),
        files: (0..).zip(set.packages()).filter_map(|(nth, digest)| Some((nth, file_of(digest)?))).collect(),
        peers: vec![],
        compact_peers: CompactPeers::default(),
        complete: 0,
        incomplete: 0,
        lease: vec![],
        second_hand: false,
        ask_again: None,
    }
}

#[tokio::test]
async fn events_that_come_often_do_not_put_off_what_only_time_does() {
    let host = Host::new();
    let wake = host.engine.wake_at();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(host.engine.wake_at(), wake);
}

#[tokio::test]
async fn packages_of_a_bundle_whose_web_seed_is_dead_all_fail() {
    let mut host = Host::new();
    let packages: Vec<Package> = (1..=5).map(Package::new).collect();
    let [a, b, c, d, e] = &packages[..] else { unreachable!() };
    let digests: Vec<PackageDigest> = packages.iter().map(|package| package.identity.into()).collect();
    host.fetch(ALICE, &digests);
    let mut informed = host.plan(&digests, &[&[a, b], &[c, d, e]]).into_iter();
    host.tell(informed.next().unwrap());
    // The second request for the first package is the web seed's death, while the other package's is still under way.
    host.unreachable(0);
    std::thread::sleep(Duration::from_secs(1));
    host.engine.tick();
    host.unreachable(2);
    assert_eq!(host.failed(ALICE), 1);
    host.tell(informed.next().unwrap());
    assert_eq!(host.failed(ALICE), 3, "those of the other bundle");
    host.unreachable(1);
    assert!(host.said(ALICE).contains(&Answer::End));
    assert!(host.engine.wanted.is_empty() && host.engine.bundles.is_empty());
    assert!(host.engine.web_seeds.is_empty() && host.engine.downloads.is_empty());
}

#[tokio::test]
async fn what_is_rejected_under_another_digest_leaves_the_store_if_it_is_damaged() {
    let package = Package::new(1);
    for is_damaged in [true, false] {
        let mut host = Host::new();
        host.add(&package, package.sha512()).await;
        if is_damaged {
            host.stored(&package).write_all(b"damage").unwrap();
        }
        host.fetch(ALICE, &[package.sha512()]);
        assert!(matches!(host.said(ALICE)[..], [Answer::Whole { .. }]));
        host.ask(ALICE, Request::Rejected { index: 0 }, None);
        host.until(|task| matches!(task, Task::Judged { .. })).await;
        assert_eq!(host.engine.store.totals().packages, u64::from(!is_damaged));
        assert_eq!(host.engine.wanted.contains_key(&package.sha512()), is_damaged, "it is fetched again");
        assert_eq!(host.failed(ALICE), usize::from(!is_damaged));
    }
}

#[tokio::test]
async fn a_command_that_went_before_what_it_rejected_was_read_is_no_trouble() {
    let package = Package::new(1);
    let mut host = Host::new();
    host.add(&package, package.sha512()).await;
    host.stored(&package).write_all(b"damage").unwrap();
    host.fetch(ALICE, &[package.sha512()]);
    host.ask(ALICE, Request::Rejected { index: 0 }, None);
    host.engine.handle(Event::Closed { session: ALICE });
    host.until(|task| matches!(task, Task::Judged { .. })).await;
    assert_eq!(host.engine.store.totals().packages, 0);
    assert!(host.engine.wanted.is_empty());
}

#[tokio::test]
async fn a_digest_that_is_wanted_while_the_package_is_read_for_the_last_time_is_served() {
    let package = Package::new(1);
    let mut host = Host::new();
    host.fetch(ALICE, &[package.identity.into()]);
    let informed = host.plan(&[package.identity.into()], &[&[&package]]);
    informed.into_iter().for_each(|task| host.tell(task));
    let partial = host.engine.downloads[&package.identity].partial().clone();
    for (nth, piece) in (0..).zip(package.pieces()) {
        partial.write_piece(PieceLen::Small, nth, &piece).unwrap();
    }
    let at = (host.engine.downloads[&package.identity].bundle(), 0);
    host.tell(Task::Arrived { request: RequestId(0), partial, at, pieces: vec![(0, true), (1, true)] });
    host.fetch(BOB, &[package.sha512()]);
    host.plan(&[package.sha512()], &[&[&package]]);
    host.until(|task| matches!(task, Task::Sealed { .. })).await;
    for session in [ALICE, BOB] {
        let said = host.said(session);
        assert!(matches!(said[..], [Answer::Whole { .. }]), "{said:?}");
    }
}

#[tokio::test]
async fn what_is_said_of_a_download_that_was_given_up_is_not_taken_for_another_one() {
    let package = Package::new(1);
    let mut host = Host::new();
    let digest = package.identity.into();
    host.fetch(ALICE, &[digest]);
    host.plan(&[digest], &[&[&package]]).into_iter().for_each(|task| host.tell(task));
    let partial = host.engine.downloads[&package.identity].partial().clone();
    host.tell(Task::Unwritable { request: RequestId(0), error: std::io::ErrorKind::StorageFull.into() });
    assert!(host.engine.downloads.is_empty());
    host.fetch(BOB, &[digest]);
    host.plan(&[digest], &[&[&package]]).into_iter().for_each(|task| host.tell(task));
    host.tell(Task::Resumed { partial: partial.clone(), result: Ok(vec![0, 1]) });
    host.tell(Task::Sealed { partial, result: Err(std::io::ErrorKind::NotFound.into()) });
    assert_eq!(host.engine.downloads[&package.identity].done(), 0);
    assert_eq!(host.failed(BOB), 0);
}

#[tokio::test]
async fn a_service_that_is_slow_to_fail_is_left_alone_whatever_it_was_asked_for() {
    let package = Package::new(1);
    for took in [Duration::from_millis(1), Duration::from_secs(20)] {
        let mut host = Host::new();
        let digest = package.identity.into();
        host.fetch(ALICE, &[digest]);
        for task in host.plan(&[digest], &[&[&package]]) {
            let Task::Informed { bundle, service, .. } = task else { unreachable!() };
            host.tell(Task::Informed { bundle, service, result: Err(PlanError::Version(9)), took });
        }
        assert_eq!(host.failed(ALICE), 1);
        assert!(host.engine.bundles.is_empty());
        host.fetch(BOB, &[digest]);
        assert_eq!(host.failed(BOB), usize::from(took > Duration::from_secs(1)), "{took:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_longer_than_what_may_wait_is_said_to_its_end_and_once() {
    let mut host = Host::new();
    let (answers, mut queue) = mpsc::channel(2);
    let caller = Caller { uid: 0 };
    for byte in 1..=5 {
        let package = Package::new(byte);
        host.add(&package, package.identity.into()).await;
    }
    host.engine.handle(Event::Connected { session: ALICE, caller, answers });
    host.ask(ALICE, Request::List, None);
    host.ask(ALICE, Request::Verify, None);
    assert!(matches!(queue.recv().await.unwrap().answer, Answer::Refused { .. }));
    for _ in 1..=5 {
        assert!(matches!(queue.recv().await.unwrap().answer, Answer::Stored(_)));
    }
    assert_eq!(queue.recv().await.unwrap().answer, Answer::End);
}
