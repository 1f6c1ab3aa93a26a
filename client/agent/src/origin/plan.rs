//! Asking for a plan, and believing no more of it than can be true.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use pkgtorrent_protocol::announce::{BATCH_SWARMS_MAX, PieceRange};
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::metainfo::INFO_LEN_MAX;
use pkgtorrent_protocol::plan::{
    self, AskerQuery, Plan, PlannedBundle, Policy, SITE_NETWORKS_MAX, SetRequest,
};
use pkgtorrent_protocol::{InfoHash, PackageSet, PieceLen};
use reqwest::{StatusCode, Url};

use super::errors::PlanError;
use super::http::{Answer, Asked, Http, abridged, named, refused};
use super::service::{ServiceUrl, is_named_by, is_same_origin, not_a_base};

/// The most bundles that are used of one plan: one announce names no more. What is beyond is left to the package manager.
pub const BUNDLES_MAX: usize = BATCH_SWARMS_MAX;

/// The most bytes that the info dictionaries of one plan take together, of which a host holds all in memory. A bundle's
/// is around a megabyte at its fullest; what is beyond is left to the package manager.
pub const INFOS_LEN_MAX: usize = 128 << 20;

/// The most first peers that are used of one bundle, as many as a service can be set to send.
pub const FIRST_PEERS_MAX: usize = 500;

/// The most ranges of a lease that are used: more than stretches of one bundle are leased.
const LEASE_RANGES_MAX: usize = 4096;

/// The most web seeds that are used of one plan: each is one more place to try before a package is given up.
pub const WEB_SEEDS_MAX: usize = 16;

/// File indices are below this: a package has a piece at least, and one file of padding at most.
const FILES_MAX: u32 = 2 * BUNDLE_PIECES_MAX;

/// What a plan takes beside its packages and bundles: its URLs.
const PLAN_LEN_FIXED: usize = 64 << 10;

/// What a plan takes for one package: a pair of indices, or its digest when it is unknown.
const PLAN_LEN_PER_PACKAGE: usize = 160;

/// What a plan takes for one bundle: its numbers, an address in quotes for each of the most first peers, and two
/// numbers in brackets for each range of the longest lease.
const PLAN_LEN_PER_BUNDLE: usize = 256 + FIRST_PEERS_MAX * 56 + LEASE_RANGES_MAX * 24;

/// A plan of which every part was checked against what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPlan {
    /// Where the packages are shared. No package is in two of them.
    pub bundles: Vec<CheckedBundle>,
    /// The packages that are in none of the bundles, as indices of the set, ascending.
    pub unknown: Vec<usize>,
    /// Base URLs of web seeds, best first: on the service, or where the settings allow it.
    pub web_seeds: Vec<Url>,
    /// Web seeds that were left out, and why.
    pub left_out: Vec<String>,
    /// The base URL of info dictionaries.
    pub torrents: Url,
    /// Where to announce.
    pub announce: Url,
    /// How the service would like its hosts to behave.
    pub policy: Policy,
    /// The networks of this host's site, says the service; none where nobody is far.
    pub site: Vec<IpNet>,
}

/// One bundle of a checked plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBundle {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The length of the info dictionary: some, and within the limit.
    pub info_len: usize,
    /// The piece length, one of the classes.
    pub piece_len: PieceLen,
    /// What to take from it: pairs of a package's index in the set and a file's index in the info dictionary. At least
    /// one; whether there is such a file is known when the info dictionary is.
    pub files: Vec<(usize, u32)>,
    /// First peers, as the service named them: nothing is known about them.
    pub peers: Vec<SocketAddr>,
    /// Peers that have the whole bundle, says the service.
    pub complete: u32,
    /// Peers that have some of it, says the service.
    pub incomplete: u32,
    /// The pieces whose first copies this host is to fetch from the origin, says the service. How many pieces there are
    /// is known when the info dictionary is; until then a range may be anything, but there are no more than pieces.
    pub lease: Vec<PieceRange>,
    /// Whether hosts of another site fetch the first copies, says the service.
    pub second_hand: bool,
    /// When it may ask for more, if there is a lid on what hosts take from the origin.
    pub ask_again: Option<Duration>,
}

/// Asks a service for the plan of a set: by the set's digest, and by its packages if the service does not know that.
pub async fn ask(
    http: &Http,
    service: &ServiceUrl,
    set: &PackageSet,
    asker: AskerQuery,
) -> Result<CheckedPlan, PlanError> {
    let asker = AskerQuery { compact: true, ..asker };
    let url = service.set(set.digest(), &asker.to_query());
    let mut answer = http.send(Asked::Get(&url), http.plan_patience()).await?;
    // Only this status: caches keep a 404 for others, whose packages would then be sent every time.
    if answer.status() == StatusCode::PRECONDITION_FAILED {
        answer.skip().await;
        let packages = set.packages().to_vec();
        let AskerQuery { port, peer_id, compact, group } = asker;
        let question = SetRequest { version: plan::VERSION, packages, port, peer_id, compact, group };
        let url = service.sets();
        // Digests and numbers can all be written as JSON.
        let body = serde_json::to_vec(&question).map_err(|error| refused(&url, error.to_string()))?;
        answer = http.send(Asked::Post(&url, body), http.plan_patience()).await?;
    }
    let plan = read(answer, set).await?;
    let checked = check(&plan, set, service, http.origin_hosts())?;
    for reason in &checked.left_out {
        tracing::warn!("plan of {service}: {reason}");
    }
    Ok(checked)
}

async fn read(mut answer: Answer, set: &PackageSet) -> Result<Plan, PlanError> {
    if answer.status() != StatusCode::OK {
        return Err(answer.into_error().await.into());
    }
    let body = answer.body(plan_len_max(set.packages().len())).await?;
    serde_json::from_slice(&body)
        .map_err(|error| PlanError::NotAPlan { url: named(answer.url()), reason: error.to_string() })
}

/// The longest plan that is read for a set of so many packages.
fn plan_len_max(packages: usize) -> usize {
    PLAN_LEN_FIXED + packages * PLAN_LEN_PER_PACKAGE + packages.min(BUNDLES_MAX) * PLAN_LEN_PER_BUNDLE
}

/// Checks a plan that `service` gave for `set`. It may name its own URLs, and those on `origin_hosts`.
pub fn check(
    plan: &Plan,
    set: &PackageSet,
    service: &ServiceUrl,
    origin_hosts: &[String],
) -> Result<CheckedPlan, PlanError> {
    if plan.version != plan::VERSION {
        return Err(PlanError::Version(plan.version));
    }
    let asked = set.digest();
    if plan.set != asked {
        return Err(PlanError::OtherSet { asked, got: plan.set });
    }
    let bundles = check_bundles(plan, set)?;
    let mut is_used = vec![false; set.packages().len()];
    for &(package, _) in bundles.iter().flat_map(|bundle| &bundle.files) {
        is_used[package] = true;
    }
    let places = Places { service, origin_hosts };
    let (web_seeds, left_out) = places.web_seeds(&plan.web_seeds)?;
    Ok(CheckedPlan {
        bundles,
        // Also packages of which the plan says nothing, and those of bundles that are not used.
        unknown: (0..is_used.len()).filter(|&package| !is_used[package]).collect(),
        web_seeds,
        left_out,
        torrents: places.allowed_base("torrents", &plan.torrents)?,
        announce: places.allowed("announce", &plan.announce)?,
        policy: plan.policy,
        // More than any service names are none.
        site: Some(&plan.site).filter(|site| site.len() <= SITE_NETWORKS_MAX).cloned().unwrap_or_default(),
    })
}

/// The bundles that are used. All of them must be right.
fn check_bundles(plan: &Plan, set: &PackageSet) -> Result<Vec<CheckedBundle>, PlanError> {
    let (mut used, mut infos_len) = (Vec::new(), 0);
    let mut seen = BTreeSet::new();
    let mut is_planned = vec![false; set.packages().len()];
    for bundle in &plan.bundles {
        if !seen.insert(bundle.info_hash) {
            return Err(PlanError::BundleTwice(bundle.info_hash));
        }
        let checked = check_bundle(bundle, set, &mut is_planned)?;
        infos_len += checked.info_len;
        if used.len() < BUNDLES_MAX && infos_len <= INFOS_LEN_MAX {
            used.push(checked);
        }
    }
    for digest in &plan.unknown {
        let package = set.packages().binary_search(digest).map_err(|_| PlanError::NotAsked(*digest))?;
        if is_planned[package] {
            return Err(PlanError::PackageTwice(*digest));
        }
    }
    Ok(used)
}

fn check_bundle(
    bundle: &PlannedBundle,
    set: &PackageSet,
    is_planned: &mut [bool],
) -> Result<CheckedBundle, PlanError> {
    let PlannedBundle { info_hash, info_len, piece_len, .. } = *bundle;
    let piece_len =
        PieceLen::from_bytes(piece_len.into()).ok_or(PlanError::PieceLen { info_hash, piece_len })?;
    if !(1..=INFO_LEN_MAX).contains(&(info_len as usize)) {
        return Err(PlanError::InfoLen { info_hash, info_len });
    }
    if bundle.files.is_empty() {
        return Err(PlanError::EmptyBundle(info_hash));
    }
    let packages = set.packages();
    let mut files = Vec::with_capacity(bundle.files.len());
    for &(index, file) in &bundle.files {
        let package = index as usize;
        let Some(planned) = is_planned.get_mut(package) else {
            return Err(PlanError::NoSuchPackage { index, packages: packages.len() });
        };
        if std::mem::replace(planned, true) {
            return Err(PlanError::PackageTwice(packages[package]));
        }
        if file >= FILES_MAX {
            return Err(PlanError::NoSuchFile { info_hash, file });
        }
        files.push((package, file));
    }
    Ok(CheckedBundle {
        info_hash,
        info_len: info_len as usize,
        piece_len,
        files,
        peers: bundle.peers.iter().chain(&bundle.compact_peers.0).take(FIRST_PEERS_MAX).copied().collect(),
        complete: bundle.complete,
        incomplete: bundle.incomplete,
        lease: bundle.lease.iter().take(LEASE_RANGES_MAX).copied().collect(),
        second_hand: bundle.second_hand,
        ask_again: bundle.ask_again.map(|millis| Duration::from_millis(millis.into())),
    })
}

/// Where a plan may send this host.
struct Places<'a> {
    service: &'a ServiceUrl,
    origin_hosts: &'a [String],
}

impl Places<'_> {
    fn allowed(&self, what: &'static str, text: &str) -> Result<Url, PlanError> {
        let refused = |reason| PlanError::Elsewhere { what, url: abridged(text), reason };
        let url = Url::parse(text).map_err(|_| refused("not a URL"))?;
        if let Some(reason) = not_a_base(&url) {
            return Err(refused(reason));
        }
        let is_named = || self.origin_hosts.iter().any(|entry| is_named_by(&url, entry));
        if is_same_origin(&url, self.service.url()) || is_named() {
            Ok(url)
        } else {
            Err(refused("neither on the service nor on one of origin_hosts"))
        }
    }

    /// A base URL, to which paths are appended.
    fn allowed_base(&self, what: &'static str, text: &str) -> Result<Url, PlanError> {
        let url = self.allowed(what, text)?;
        if url.path().ends_with('/') {
            Ok(url)
        } else {
            Err(PlanError::Elsewhere { what, url: abridged(text), reason: "does not end in a slash" })
        }
    }

    /// The web seeds that may be used, and what is wrong with the others.
    fn web_seeds(&self, texts: &[String]) -> Result<(Vec<Url>, Vec<String>), PlanError> {
        let (mut used, mut left_out) = (Vec::new(), Vec::new());
        for text in texts.iter().take(WEB_SEEDS_MAX) {
            match self.allowed_base("web seed", text) {
                Ok(url) => used.push(url),
                Err(error) => left_out.push(error.to_string()),
            }
        }
        if used.is_empty() { Err(PlanError::NoWebSeed(left_out)) } else { Ok((used, left_out)) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use pkgtorrent_protocol::peers::CompactPeers;
    use pkgtorrent_protocol::{PackageDigest, SetDigest, Sha256Digest};
    use proptest::prelude::*;

    use super::*;
    use crate::settings::{IpVersion, OriginSettings, Proxy};

    fn digest(n: u8) -> PackageDigest {
        Sha256Digest([n; 32]).into()
    }

    fn set() -> PackageSet {
        PackageSet::new((0..5).map(digest).collect()).expect("a set")
    }

    fn service() -> ServiceUrl {
        ServiceUrl::parse("http://mirror.example:7070").expect("a service")
    }

    fn bundle(n: u8, files: &[(u32, u32)]) -> PlannedBundle {
        PlannedBundle {
            info_hash: InfoHash([n; 20]),
            info_len: 400,
            piece_len: PieceLen::Medium.bytes(),
            files: files.to_vec(),
            peers: vec!["192.0.2.1:1".parse().expect("an address")],
            compact_peers: CompactPeers::default(),
            complete: 1,
            incomplete: 2,
            lease: vec![(0, 3), (9, 1)],
            second_hand: true,
            ask_again: Some(700),
        }
    }

    fn plan() -> Plan {
        Plan {
            version: plan::VERSION,
            set: set().digest(),
            bundles: vec![bundle(1, &[(0, 0), (3, 7)]), bundle(2, &[(1, 0)])],
            unknown: vec![digest(4)],
            web_seeds: vec!["http://mirror.example:7070/seed/".into()],
            torrents: "http://mirror.example:7070/torrents/".into(),
            announce: "http://mirror.example:7070/announce".into(),
            policy: Policy { announce_interval: 60, lease_ttl: 10, upload_limit: None },
            site: vec!["192.0.2.0/24".parse().expect("a network")],
        }
    }

    fn checked(bend: impl FnOnce(&mut Plan)) -> Result<CheckedPlan, PlanError> {
        let mut plan = plan();
        bend(&mut plan);
        check(&plan, &set(), &service(), &["seed.example".to_owned()])
    }

    #[test]
    fn a_right_plan_is_taken_as_it_is() {
        let plan = checked(|_| {}).expect("a plan");
        let files: Vec<_> = plan.bundles.iter().map(|bundle| bundle.files.clone()).collect();
        assert_eq!(files, [vec![(0, 0), (3, 7)], vec![(1, 0)]]);
        assert_eq!((plan.bundles[0].info_len, plan.bundles[0].piece_len), (400, PieceLen::Medium));
        assert_eq!(
            (plan.bundles[0].peers.len(), plan.bundles[0].complete, plan.bundles[0].incomplete),
            (1, 1, 2)
        );
        assert_eq!((plan.bundles[0].lease.as_slice(), plan.policy.lease_ttl), (&[(0, 3), (9, 1)][..], 10));
        assert_eq!((plan.site.len(), plan.bundles[0].second_hand), (1, true));
        assert_eq!(plan.bundles[0].ask_again, Some(Duration::from_millis(700)));
        // The plan says nothing of the third package.
        assert_eq!(plan.unknown, [2, 4]);
        assert_eq!(plan.web_seeds[0].as_str(), "http://mirror.example:7070/seed/");
        assert!(plan.left_out.is_empty());
    }

    #[test]
    fn peers_are_read_in_both_forms() {
        let peer = "192.0.2.2:2".parse().expect("an address");
        let plan = checked(|plan| plan.bundles[0].compact_peers = CompactPeers(vec![peer])).expect("a plan");
        assert_eq!(plan.bundles[0].peers, ["192.0.2.1:1".parse().expect("an address"), peer]);
    }

    #[test]
    fn two_digests_of_one_package_may_share_a_file() {
        let plan = checked(|plan| plan.bundles[0].files = vec![(0, 2), (3, 2)]).expect("a plan");
        assert_eq!(plan.bundles[0].files, [(0, 2), (3, 2)]);
    }

    #[test]
    fn a_plan_without_bundles_is_one() {
        let plan = checked(|plan| plan.bundles.clear()).expect("a plan");
        assert_eq!(plan.unknown, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let info_hash = InfoHash([1; 20]);
        let other = SetDigest(Sha256Digest([9; 32]));
        type Bend = fn(&mut Plan);
        let cases: [(Bend, PlanError); 15] = [
            (|plan| plan.version = 0, PlanError::Version(0)),
            (
                |plan| plan.set = SetDigest(Sha256Digest([9; 32])),
                PlanError::OtherSet { asked: set().digest(), got: other },
            ),
            (|plan| plan.bundles[0].files[0].0 = 5, PlanError::NoSuchPackage { index: 5, packages: 5 }),
            (
                |plan| plan.bundles[0].files[0].0 = u32::MAX,
                PlanError::NoSuchPackage { index: u32::MAX, packages: 5 },
            ),
            (
                |plan| plan.bundles[0].files[0].1 = FILES_MAX,
                PlanError::NoSuchFile { info_hash, file: FILES_MAX },
            ),
            (|plan| plan.bundles[0].files[0].0 = 3, PlanError::PackageTwice(digest(3))),
            (|plan| plan.bundles[1].files[0].0 = 3, PlanError::PackageTwice(digest(3))),
            (|plan| plan.unknown[0] = digest(1), PlanError::PackageTwice(digest(1))),
            (|plan| plan.unknown[0] = digest(9), PlanError::NotAsked(digest(9))),
            (|plan| plan.bundles[1].info_hash = InfoHash([1; 20]), PlanError::BundleTwice(info_hash)),
            (|plan| plan.bundles[0].files.clear(), PlanError::EmptyBundle(info_hash)),
            (|plan| plan.bundles[0].piece_len = 0, PlanError::PieceLen { info_hash, piece_len: 0 }),
            (|plan| plan.bundles[0].piece_len = 16_384, PlanError::PieceLen { info_hash, piece_len: 16_384 }),
            (|plan| plan.bundles[0].info_len = 0, PlanError::InfoLen { info_hash, info_len: 0 }),
            (
                |plan| plan.bundles[0].info_len = INFO_LEN_MAX as u32 + 1,
                PlanError::InfoLen { info_hash, info_len: INFO_LEN_MAX as u32 + 1 },
            ),
        ];
        for (bend, error) in cases {
            assert_eq!(checked(bend), Err(error));
        }
    }

    #[test]
    fn a_plan_leads_nowhere_but_to_its_service_and_the_allowed_hosts() {
        for text in [
            "http://mirror.example/seed/",
            "https://mirror.example:7070/seed/",
            "http://other.example:7070/seed/",
            "http://mirror.example:7070@other.example/",
            "http://me:pw@mirror.example:7070/seed/",
            "http://mirror.example:7070/seed/?x",
            "http://mirror.example:7070/seed/#x",
            "ftp://seed.example/",
            "file:///etc/",
            "/seed/",
            "//seed.example/",
            "",
        ] {
            let error = checked(|plan| plan.web_seeds = vec![text.into()]).expect_err(text);
            assert!(matches!(&error, PlanError::NoWebSeed(reasons) if reasons.len() == 1), "{error}");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            let error = checked(|plan| plan.torrents = text.into()).expect_err(text);
            assert!(matches!(error, PlanError::Elsewhere { what: "torrents", .. }), "{error}");
            let error = checked(|plan| plan.announce = text.into()).expect_err(text);
            assert!(matches!(error, PlanError::Elsewhere { what: "announce", .. }), "{error}");
        }
        let seeds = ["http://x.example/", "https://seed.example:9/a", "https://seed.example:9/a/"];
        let plan = checked(|plan| plan.web_seeds = seeds.map(str::to_owned).to_vec()).expect("a plan");
        assert_eq!(plan.web_seeds.iter().map(Url::as_str).collect::<Vec<_>>(), [seeds[2]]);
        assert_eq!(plan.left_out.len(), 2);
        assert_eq!(checked(|plan| plan.web_seeds.clear()), Err(PlanError::NoWebSeed(Vec::new())));
    }

    #[test]
    fn there_is_an_end_to_everything_that_a_plan_names() {
        let plan = checked(|plan| {
            plan.web_seeds = (0..99).map(|n| format!("http://seed.example/{n}/")).collect();
            plan.bundles[0].peers = vec![plan.bundles[0].peers[0]; FIRST_PEERS_MAX + 1];
            plan.bundles[0].lease = vec![(0, 1); LEASE_RANGES_MAX + 1];
        });
        let plan = plan.expect("a plan");
        assert_eq!(plan.bundles[0].lease.len(), LEASE_RANGES_MAX);
        assert_eq!((plan.web_seeds.len(), plan.bundles[0].peers.len()), (WEB_SEEDS_MAX, FIRST_PEERS_MAX));

        let packages = BUNDLES_MAX as u32 + 2;
        let digest_of = |n: u32| {
            let mut raw = [0; 32];
            raw[..4].copy_from_slice(&n.to_be_bytes());
            PackageDigest::from(Sha256Digest(raw))
        };
        let set = PackageSet::new((0..packages).map(digest_of).collect()).expect("a set");
        let mut many = super::tests::plan();
        (many.set, many.unknown) = (set.digest(), Vec::new());
        many.bundles = (0..packages)
            .map(|n| {
                let mut hash = [0; 20];
                hash[..4].copy_from_slice(&n.to_be_bytes());
                PlannedBundle { info_hash: InfoHash(hash), ..bundle(0, &[(n, 0)]) }
            })
            .collect();
        let plan = check(&many, &set, &service(), &[]).expect("a plan");
        assert_eq!((plan.bundles.len(), plan.unknown), (BUNDLES_MAX, vec![BUNDLES_MAX, BUNDLES_MAX + 1]));
        for bundle in &mut many.bundles {
            bundle.info_len = INFO_LEN_MAX as u32;
        }
        let plan = check(&many, &set, &service(), &[]).expect("a plan");
        assert_eq!(plan.bundles.len() * INFO_LEN_MAX, INFOS_LEN_MAX);
        assert_eq!(plan.bundles.len() + plan.unknown.len(), set.packages().len());
    }

    #[test]
    fn the_longest_plan_that_is_right_may_be_read() {
        let many = 2000;
        let mut long = plan();
        long.bundles = (0..many)
            .map(|n| PlannedBundle {
                peers: vec![
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("an address");
                    500
                ],
                info_len: u32::MAX,
                piece_len: u32::MAX,
                complete: u32::MAX,
                incomplete: u32::MAX,
                lease: vec![(u32::MAX, u32::MAX); LEASE_RANGES_MAX],
                ..bundle(0, &[(n, FILES_MAX)])
            })
            .take(BUNDLES_MAX)
            .collect();
        let sha512 = PackageDigest::new(pkgtorrent_protocol::Algorithm::Sha512, &[7; 64]).expect("a digest");
        long.unknown = vec![sha512; many as usize - BUNDLES_MAX];
        long.web_seeds = vec!["x".repeat(2000); WEB_SEEDS_MAX];
        let network = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().expect("a network");
        long.site = vec![network; SITE_NETWORKS_MAX];
        let len = serde_json::to_vec(&long).expect("encodes").len();
        assert!(len <= plan_len_max(many as usize), "{len} bytes");
    }

    proptest! {
        #[test]
        fn whatever_is_checked_is_within_its_bounds(
            files in proptest::collection::vec(proptest::collection::vec((0_u32..6, 0_u32..9), 1..3), 0..3),
            hashes in any::<[u8; 3]>(), unknown in proptest::collection::vec(0_u8..6, 0..2),
        ) {
            let mut plan = plan();
            plan.bundles = files.iter().zip(hashes).map(|(files, hash)| bundle(hash, files)).collect();
            plan.unknown = unknown.into_iter().map(digest).collect();
            if let Ok(checked) = check(&plan, &set(), &service(), &[]) {
                let mut all: Vec<usize> = checked.bundles.iter().flat_map(|b| &b.files).map(|file| file.0).collect();
                all.extend(&checked.unknown);
                all.sort_unstable();
                prop_assert_eq!(all, vec![0, 1, 2, 3, 4], "every package is somewhere, and only once");
            }
        }
    }

    #[tokio::test]
    async fn a_service_that_never_answers_is_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let service = format!("http://{}", listener.local_addr().expect("an address"));
        let second = Duration::from_secs(1);
        let settings = OriginSettings {
            connections: 1,
            hosts: Vec::new(),
            proxy: Proxy::None,
            ca_file: None,
            ip_version: IpVersion::Any,
            connect_timeout: second / 4,
            stall_timeout: second / 10,
            min_rate: 1000,
        };
        let http = Http::new(&settings).expect("a client");
        assert!((10 * second..60 * second).contains(&http.plan_patience()));
        let http = http.with_plan_patience(second / 2);
        let started = Instant::now();
        let service = ServiceUrl::parse(&service).expect("a service");
        let error = ask(&http, &service, &set(), AskerQuery::default()).await.expect_err("no plan");
        assert!(error.to_string().contains("no answer within 0.5 s"), "{error}");
        assert!((second / 2..second * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
    }
}
