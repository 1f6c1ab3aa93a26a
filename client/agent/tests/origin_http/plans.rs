//! Plans and info dictionaries: how they are asked for, and what is refused.

use std::thread;
use std::time::{Duration, Instant};

use pkgtorrent_agent::origin::{
    CheckedBundle, CheckedPlan, PlanError, RequestError, ServiceUrl, ask, info, package_url,
};
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::metainfo::{BundleInfo, BundlePackage};
use pkgtorrent_protocol::peers::CompactPeers;
use pkgtorrent_protocol::plan::{AskerQuery, Plan, PlannedBundle, Policy, SetRequest, VERSION};
use pkgtorrent_protocol::{FileName, InfoHash, PackageSet, PeerId, PieceLen, Sha256Digest};

use crate::server::{Asked, Next, Server, Wire};
use crate::{STALL, http, url};

const PREFIX: &str = "/pkgtorrent/v1/";

fn set() -> PackageSet {
    PackageSet::new((0..3).map(|n| Sha256Digest([n; 32]).into()).collect()).expect("a set")
}

/// A bundle of the set's first two packages.
fn bundle() -> (BundleInfo, Vec<u8>) {
    let package = |n: u8, name: &str| BundlePackage {
        identity: Sha256Digest([n; 32]),
        name: FileName::new(name).expect("a name"),
        size: 1000,
    };
    let packages = vec![package(0, "a.rpm"), package(1, "ü b%20+?#.rpm")];
    let info = BundleInfo::new(PieceLen::Small, packages, vec![7; 2 * BLOCK_HASH_LEN]).expect("a bundle");
    let bytes = info.encode().expect("encodes");
    (info, bytes)
}

fn checked(info: &[u8]) -> CheckedBundle {
    CheckedBundle {
        info_hash: InfoHash::of(info),
        info_len: info.len(),
        piece_len: PieceLen::Small,
        files: vec![(0, 0), (1, 2)],
        peers: Vec::new(),
        complete: 0,
        incomplete: 0,
        lease: Vec::new(),
        second_hand: false,
        ask_again: None,
    }
}

/// The plan that a service at this base would make.
fn plan(base: &str) -> Plan {
    let (_, info) = bundle();
    Plan {
        version: VERSION,
        set: set().digest(),
        bundles: vec![PlannedBundle {
            info_hash: InfoHash::of(&info),
            info_len: info.len() as u32,
            piece_len: PieceLen::Small.bytes(),
            files: vec![(0, 0), (1, 2)],
            peers: vec!["192.0.2.7:6881".parse().expect("an address")],
            compact_peers: CompactPeers::default(),
            complete: 3,
            incomplete: 4,
            lease: vec![],
            second_hand: false,
            ask_again: None,
        }],
        unknown: vec![Sha256Digest([2; 32]).into()],
        web_seeds: vec![format!("{base}webseed/")],
        torrents: format!("{base}torrents/"),
        announce: format!("{base}announce"),
        policy: Policy { announce_interval: 60, lease_ttl: 0, upload_limit: None },
        site: Vec::new(),
    }
}

fn base(asked: &Asked) -> String {
    format!("http://{}{PREFIX}", asked.header("host").expect("a host"))
}

fn service(server: &Server) -> ServiceUrl {
    ServiceUrl::parse(server.url("").as_str()).expect("a service")
}

async fn asked_for(server: &Server) -> Result<CheckedPlan, PlanError> {
    ask(&http(), &service(server), &set(), AskerQuery::default()).await
}

/// A service that answers everything in this way.
fn answering(answer: impl Fn(&Asked, &mut Wire<'_>) -> Next + Send + Sync + 'static) -> Server {
    Server::start(answer)
}

/// A service that gives this plan, bent.
fn poisoned(bend: impl Fn(&mut Plan) + Send + Sync + 'static) -> Server {
    answering(move |asked, wire| {
        let mut plan = plan(&base(asked));
        bend(&mut plan);
        wire.answer("200 OK", "", &serde_json::to_vec(&plan).expect("encodes"))
    })
}

#[tokio::test]
async fn a_known_set_is_asked_for_by_its_digest() {
    let server = poisoned(|_| {});
    let asker =
        AskerQuery { port: Some(6881), peer_id: Some(PeerId([0xab; 20])), compact: true, group: None };
    let plan = ask(&http(), &service(&server), &set(), asker).await.expect("a plan");
    assert_eq!(plan.bundles[0].files, [(0, 0), (1, 2)]);
    assert_eq!(plan.bundles[0].peers.len(), 1);
    assert_eq!(plan.unknown, [2]);
    assert_eq!(plan.web_seeds, [server.url("/pkgtorrent/v1/webseed/")]);
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    let target = format!("{PREFIX}sets/{}?port=6881&peer_id={}&compact=1", set().digest(), "ab".repeat(20));
    assert_eq!((asked[0].method.as_str(), &asked[0].target), ("GET", &target));
}

#[tokio::test]
async fn an_unknown_set_is_posted_over_the_same_connection() {
    let server = answering(|asked, wire| {
        if asked.method == "POST" {
            let plan = plan(&base(asked));
            return wire.answer("200 OK", "", &serde_json::to_vec(&plan).expect("encodes"));
        }
        wire.answer("412 Precondition Failed", "", b"this set is not known\n")
    });
    let asker = AskerQuery { port: Some(1), peer_id: None, compact: true, group: None };
    ask(&http(), &service(&server), &set(), asker).await.expect("a plan");
    let asked = server.asked();
    assert_eq!(asked[1].target, format!("{PREFIX}sets"));
    assert_eq!(asked[1].header("content-type"), Some("application/json"));
    let question: SetRequest = serde_json::from_slice(&asked[1].body).expect("a question");
    assert_eq!((question.port, question.packages.as_slice()), (Some(1), set().packages()));
    assert_eq!((asked.len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_prefix_of_its_own_is_kept() {
    let server = answering(|_, wire| wire.answer("404 Not Found", "", b""));
    for (path, prefix) in [("/mirror/pt", "/mirror/pt/"), ("/x/", "/x/"), ("/", PREFIX)] {
        let service = ServiceUrl::parse(server.url(path).as_str()).expect("a service");
        ask(&http(), &service, &set(), AskerQuery::default()).await.expect_err("no plan");
        let last = server.asked().pop().expect("a request");
        assert_eq!(last.target, format!("{prefix}sets/{}?compact=1", set().digest()));
    }
}

#[tokio::test]
async fn only_412_makes_it_send_the_packages() {
    for (status, is_lasting) in [
        ("404 Not Found", true),
        ("400 Bad Request", true),
        ("421 Misdirected Request", true),
        ("500 Internal Server Error", false),
        ("503 Service Unavailable", false),
        ("204 No Content", true),
        ("206 Partial Content", true),
    ] {
        let server = answering(move |_, wire| wire.answer(status, "", b""));
        let error = asked_for(&server).await.expect_err("no plan");
        let is_broken = matches!(error, PlanError::Request(RequestError::Broken(_)));
        assert_eq!(is_broken, !is_lasting, "{error}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
        assert_eq!(server.asked().len(), 1, "{status}");
    }
    let server = answering(|_, wire| wire.answer("412 Precondition Failed", "", b"for ever\n"));
    let error = asked_for(&server).await.expect_err("no plan");
    assert!(error.to_string().ends_with("/sets: 412 Precondition Failed: \"for ever\""), "{error}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn what_is_no_plan_is_refused() {
    let garbage: [&[u8]; 6] =
        [b"", b"<html>", b"{}", b"{\"version\":1", b"\xff\xfe\x00", b"[[[[[[[[[[[[[[[[[[[["];
    for body in garbage {
        let server = answering(|_, wire| wire.answer("200 OK", "", body));
        let error = asked_for(&server).await.expect_err("no plan");
        assert!(matches!(error, PlanError::NotAPlan { .. }), "{error}");
    }
    let deep = "[".repeat(50_000);
    let server = answering(move |_, wire| wire.answer("200 OK", "", deep.as_bytes()));
    assert!(matches!(asked_for(&server).await, Err(PlanError::NotAPlan { .. })));
    let server = answering(|_, wire| wire.answer("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b"));
    let error = asked_for(&server).await.expect_err("no plan");
    assert!(matches!(error, PlanError::Request(RequestError::Refused(_))), "{error}");
}

#[tokio::test]
async fn a_poisoned_plan_is_not_used() {
    type Bend = fn(&mut Plan);
    let bends: [(Bend, &str); 8] = [
        (|plan| plan.version = 2, "version 2"),
        (|plan| plan.set = pkgtorrent_protocol::SetDigest(Sha256Digest([9; 32])), "is for set 0909"),
        (|plan| plan.unknown = vec![Sha256Digest([9; 32]).into()], "not asked for"),
        (|plan| plan.bundles[0].files[0].0 = 3, "package 3 of a set of 3"),
        (|plan| plan.bundles[0].info_len = u32::MAX, "4294967295 bytes"),
        (|plan| plan.web_seeds = vec!["http://192.0.2.1/".into()], "neither on the service"),
        (|plan| plan.torrents = "http://192.0.2.1/".into(), "neither on the service"),
        (|plan| plan.announce = "file:///etc/passwd".into(), "only http and https"),
    ];
    for (bend, reason) in bends {
        let server = poisoned(bend);
        let error = asked_for(&server).await.expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let server = poisoned(|plan| plan.web_seeds.insert(0, "http://192.0.2.1/".into()));
    let plan = asked_for(&server).await.expect("a plan");
    assert_eq!((plan.web_seeds.len(), plan.left_out.len()), (1, 1));
}

#[tokio::test]
async fn an_endless_plan_is_cut_off() {
    let server = answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 65_536, " ".repeat(65_536));
        while wire.send(&chunk) {}
        Next::Close
    });
    let started = Instant::now();
    let error = asked_for(&server).await.expect_err("no plan");
    assert!(error.to_string().contains("longer than"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let server = answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{");
        wire.wait_for_hangup()
    });
    let started = Instant::now();
    let error = asked_for(&server).await.expect_err("no plan");
    assert!(error.to_string().contains("longer than") && started.elapsed() < STALL, "{error}");
}

#[tokio::test]
async fn a_plan_that_stalls_or_trickles_is_given_up() {
    for pause in [Duration::from_secs(20), Duration::from_millis(20)] {
        let server = answering(move |_, wire| {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{");
            let deadline = Instant::now() + Duration::from_secs(3);
            while Instant::now() < deadline && wire.send(" ") {
                thread::sleep(pause.min(deadline - Instant::now()));
            }
            Next::Close
        });
        let started = Instant::now();
        let error = asked_for(&server).await.expect_err("no plan");
        assert!(matches!(error, PlanError::Request(RequestError::Broken(_))), "{error}");
        assert!(started.elapsed() < STALL * 3, "{:?}: {error}", started.elapsed());
    }
}

/// A service may read and hash all packages before it answers. That the wait ends nevertheless is tested where the
/// limit is.
#[tokio::test]
async fn a_plan_may_take_longer_than_a_range() {
    let server = answering(|asked, wire| {
        thread::sleep(STALL * 4);
        let plan = plan(&base(asked));
        wire.answer("200 OK", "", &serde_json::to_vec(&plan).expect("encodes"))
    });
    asked_for(&server).await.expect("a plan");
}

#[tokio::test]
async fn redirects_of_plans_stay_with_the_service() {
    let server = answering(|asked, wire| {
        if asked.target.starts_with("/moved/") {
            let plan = plan(&base(asked));
            return wire.answer("200 OK", "", &serde_json::to_vec(&plan).expect("encodes"));
        }
        wire.answer("307 Temporary Redirect", "Location: /moved/here\r\n", b"")
    });
    asked_for(&server).await.expect("a plan");
    let server =
        answering(|_, wire| wire.answer("307 Temporary Redirect", "Location: http://192.0.2.1/\r\n", b""));
    let error = asked_for(&server).await.expect_err("no plan").to_string();
    assert!(error.contains("not redirected to \"http://192.0.2.1/\""), "{error}");
}

#[tokio::test]
async fn an_info_dictionary_is_the_one_that_was_asked_for() {
    let (expected, bytes) = bundle();
    let sent = bytes.clone();
    let server = answering(move |_, wire| wire.answer("200 OK", "", &sent));
    let torrents = server.url("/pkgtorrent/v1/torrents/");
    let read = info(&http(), &torrents, &checked(&bytes)).await.expect("a bundle");
    assert_eq!((read.bundle.as_ref(), read.bytes.as_ref()), (&expected, bytes.as_slice()));
    assert_eq!(server.asked()[0].target, format!("{PREFIX}torrents/{}.info", InfoHash::of(&bytes)));

    let refused = |bundle: CheckedBundle| {
        let torrents = torrents.clone();
        async move { info(&http(), &torrents, &bundle).await.expect_err("refused").to_string() }
    };
    let right = checked(&bytes);
    let mut other = right.clone();
    other.info_hash = InfoHash([1; 20]);
    assert!(refused(other).await.contains("hash"));
    let mut longer = right.clone();
    longer.info_len += 1;
    assert!(refused(longer).await.contains("the plan says"));
    let mut shorter = right.clone();
    shorter.info_len -= 1;
    assert!(refused(shorter).await.contains("longer than"));
    let mut pieces = right.clone();
    pieces.piece_len = PieceLen::Large;
    assert!(refused(pieces).await.contains("pieces"));

    let junk = b"d3:fooi1ee".to_vec();
    let planned = checked(&junk);
    let server = answering(move |_, wire| wire.answer("200 OK", "", &junk));
    let error = info(&http(), &server.url("/"), &planned).await.expect_err("refused");
    assert!(matches!(error, PlanError::NotABundle { .. }), "{error}");

    let server = answering(|_, wire| wire.answer("404 Not Found", "", b""));
    let error = info(&http(), &server.url("/"), &right).await.expect_err("refused");
    assert!(matches!(error, PlanError::Request(RequestError::Missing(_))), "{error}");
}

#[tokio::test]
async fn an_endless_info_dictionary_is_cut_off_at_its_length() {
    let (_, bytes) = bundle();
    let planned = checked(&bytes);
    let server = answering(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        while wire.send(&bytes) {}
        Next::Close
    });
    let error = info(&http(), &server.url("/"), &planned).await.expect_err("refused").to_string();
    assert!(error.contains(&format!("longer than {} bytes", planned.info_len)), "{error}");
}

#[test]
fn a_packages_url_is_escaped_and_below_its_web_seed() {
    let (info, _) = bundle();
    let urls: Vec<String> = info
        .packages()
        .iter()
        .map(|package| package_url(&url("http://[::1]:7070/x/webseed/"), package).to_string())
        .collect();
    let (zeros, ones) = ("00".repeat(32), "01".repeat(32));
    assert_eq!(
        urls,
        [
            format!("http://[::1]:7070/x/webseed/pkgtorrent/{zeros}/a.rpm"),
            format!("http://[::1]:7070/x/webseed/pkgtorrent/{ones}/%C3%BC%20b%2520+%3F%23.rpm"),
        ]
    );
}
