//! A plan that passes names only what was asked for, each package once, only places that are allowed, and no more of
//! anything than the limits say.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pkgtorrent_agent::origin::{
    BUNDLES_MAX, CheckedPlan, FIRST_PEERS_MAX, INFOS_LEN_MAX, ServiceUrl, WEB_SEEDS_MAX, check,
};
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::metainfo::INFO_LEN_MAX;
use pkgtorrent_protocol::plan::{self, Plan};
use pkgtorrent_protocol::{InfoHash, PackageSet, Sha256Digest};

/// Enough that each could be in a bundle of its own, beyond the most that are used.
const PACKAGES: u16 = 2000;

static SET: LazyLock<PackageSet> = LazyLock::new(|| {
    let digest = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Sha256Digest(bytes).into()
    };
    PackageSet::new((0..PACKAGES).map(digest).collect()).expect("a set")
});

static SERVICE: LazyLock<ServiceUrl> =
    LazyLock::new(|| ServiceUrl::parse("http://mirror.example:7070").expect("a service"));

static HOSTS: LazyLock<Vec<String>> =
    LazyLock::new(|| ["seed.example", "cdn.example:8080", "[::1]"].map(str::to_owned).to_vec());

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut plan) = serde_json::from_slice::<Plan>(bytes) else { return };
    let result = check(&plan, &SET, &SERVICE, &HOSTS);
    let is_answer = plan.version == plan::VERSION && plan.set == SET.digest();
    assert!(is_answer || result.is_err(), "an answer to another question");
    plan.version = plan::VERSION;
    plan.set = SET.digest();
    multiply(&mut plan);
    match check(&plan, &SET, &SERVICE, &HOSTS) {
        Ok(checked) => assert_is_allowed(&checked, &plan),
        Err(error) => assert!(error.to_string().len() < 64 << 10, "{error}"),
    }
});

/// Repeats parts of a plan, so that short inputs reach the limits. How often, numbers say that are only handed on.
fn multiply(plan: &mut Plan) {
    if let Some(last) = plan.bundles.last().cloned() {
        for n in 0..plan.policy.announce_interval % u32::from(PACKAGES) {
            let mut bundle = last.clone();
            bundle.info_hash = InfoHash([0; 20]);
            bundle.info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
            bundle.files = vec![(u32::from(PACKAGES) - 1 - n, n)];
            plan.bundles.push(bundle);
        }
    }
    for bundle in plan.bundles.iter_mut().take(2) {
        if let Some(peer) = bundle.peers.first().copied() {
            bundle.peers.resize(bundle.incomplete as usize % (2 * FIRST_PEERS_MAX), peer);
        }
        if let Some(url) = plan.web_seeds.last().cloned() {
            let times = bundle.complete as usize % (2 * WEB_SEEDS_MAX);
            plan.web_seeds.extend(std::iter::repeat_n(url, times));
        }
    }
}

fn assert_is_allowed(checked: &CheckedPlan, plan: &Plan) {
    assert!(checked.bundles.len() <= BUNDLES_MAX);
    assert!(checked.bundles.iter().map(|bundle| bundle.info_len).sum::<usize>() <= INFOS_LEN_MAX);
    let mut bundles = BTreeSet::new();
    let mut packages = BTreeSet::new();
    for bundle in &checked.bundles {
        assert!(bundles.insert(bundle.info_hash), "{} twice", bundle.info_hash);
        let planned = plan.bundles.iter().find(|planned| planned.info_hash == bundle.info_hash);
        let planned = planned.expect("a bundle of the plan");
        assert_eq!(bundle.piece_len.bytes(), planned.piece_len);
        assert_eq!(bundle.info_len, planned.info_len as usize);
        assert!((1..=INFO_LEN_MAX).contains(&bundle.info_len));
        assert!(!bundle.files.is_empty());
        for &(package, file) in &bundle.files {
            assert!(planned.files.contains(&(package as u32, file)));
            assert!(package < usize::from(PACKAGES) && packages.insert(package), "package {package}");
            assert!(file < 2 * BUNDLE_PIECES_MAX);
        }
        let peers: Vec<_> = planned.peers.iter().chain(&planned.compact_peers.0).copied().collect();
        assert!(bundle.peers.len() <= FIRST_PEERS_MAX && peers.starts_with(&bundle.peers));
        assert!(planned.lease.starts_with(&bundle.lease));
    }
    let unknown: Vec<usize> =
        (0..usize::from(PACKAGES)).filter(|package| !packages.contains(package)).collect();
    assert_eq!(checked.unknown, unknown);

    assert!(!checked.web_seeds.is_empty());
    assert!(checked.web_seeds.len() + checked.left_out.len() <= WEB_SEEDS_MAX);
    for base in checked.web_seeds.iter().chain([&checked.torrents]) {
        assert!(base.path().ends_with('/'), "{base}");
    }
    for url in checked.web_seeds.iter().chain([&checked.torrents, &checked.announce]) {
        let place = (url.scheme(), url.host_str(), url.port_or_known_default());
        let is_allowed = matches!(
            place,
            ("http", Some("mirror.example"), Some(7070))
                | ("http" | "https", Some("seed.example" | "[::1]"), Some(_))
                | ("http" | "https", Some("cdn.example"), Some(8080))
        );
        assert!(is_allowed, "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
    }
}
