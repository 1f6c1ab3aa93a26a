//! A service that lies brings no other package than dnf would have, leads the agent nowhere else, and costs no more than
//! its help.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use pkgtorrent_protocol::metainfo::{BundleInfo, BundlePackage};
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::{InfoHash, PieceLen, SetDigest, Sha256Digest};
use pkgtorrent_test_support::ask::PREFIX;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Mirror, Server, Trial, http};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

/// How long bytes are tried that are wrong again and again: four times, with pauses of up to four seconds.
const TRIES_LIMIT: Duration = Duration::from_secs(10);

/// A host's service is one of the test's own, which changes what an honest one says.
struct Lab(Trial);

impl Lab {
    fn new() -> Self {
        Self(Trial::new())
    }

    fn left_to_dnf(&self, server: &Server, reason: &str) {
        let _ = self.0.left_to_dnf(&self.0.mirror.host().agent(&server.url("/")), reason, TRIES_LIMIT);
    }

    fn placed(&self, server: &Server) {
        let _ = self.0.placed(&self.0.mirror.host().agent(&server.url("/")));
    }

    fn service(&self) -> SocketAddr {
        self.0.service.addr()
    }

    fn with_plan(&self, change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Server {
        proxy::before_with_plan(self.service(), change)
    }

    /// A server that sends other packages' bytes in place of the right ones.
    fn evil_seed(&self) -> (TempDir, Server) {
        let directory = tempfile::tempdir().expect("a directory");
        for ((name, bytes), right) in Mirror::evil().iter().zip(&self.0.mirror.packages) {
            assert_eq!(bytes.len() as u64, right.size);
            let path = format!("{}webseed/pkgtorrent/{}", &PREFIX[1..], right.identity);
            let path = directory.path().join(path);
            fs::create_dir_all(&path).and_then(|()| fs::write(path.join(name), bytes)).expect("written");
        }
        let server = Server::files(directory.path());
        (directory, server)
    }
}

/// A place on the network where nobody is to come.
struct Trap(TcpListener);

impl Trap {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("its address")
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address())
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.accept().is_err(), "somebody went into the trap");
        }
    }
}

#[test]
fn a_plan_for_other_packages_is_not_followed() {
    let lab = Lab::new();
    let other = Sha256Digest([7; 32]);
    let poisoned = lab.with_plan(move |plan| plan.set = SetDigest(other));
    lab.left_to_dnf(&poisoned, "the plan is for set 0707");
    let poisoned = lab.with_plan(move |plan| plan.unknown.push(other.into()));
    lab.left_to_dnf(&poisoned, "which was not asked for");
    let poisoned = lab.with_plan(|plan| {
        let twice = plan.bundles[0].files[0];
        plan.bundles[0].files.push(twice);
    });
    lab.left_to_dnf(&poisoned, " twice");
    let poisoned = lab.with_plan(|plan| {
        let last = plan.bundles.len() - 1;
        let (one, other) = (plan.bundles[0].clone(), plan.bundles[last].clone());
        assert_ne!(one, other, "packages of different sizes are in different bundles");
        (plan.bundles[0].files, plan.bundles[last].files) = (other.files, one.files);
    });
    lab.left_to_dnf(&poisoned, "the service has it with ");
}

#[test]
fn numbers_that_cannot_be_are_not_believed() {
    type Change = fn(&mut Plan);
    let lab = Lab::new();
    let cases: [(&str, Change); 6] = [
        ("has no file 4294967295", |plan| plan.bundles[0].files[0].1 = u32::MAX),
        ("names package 4294967295 of a set of 3", |plan| plan.bundles[0].files[0].0 = u32::MAX),
        ("an info dictionary of 4294967295 bytes", |plan| plan.bundles[0].info_len = u32::MAX),
        ("pieces of 0 bytes", |plan| plan.bundles[0].piece_len = 0),
        ("pieces of 4294967295 bytes", |plan| plan.bundles[0].piece_len = u32::MAX),
        ("the answer is longer than", |plan| {
            for n in 0..20_000_u32 {
                let mut bundle = plan.bundles[0].clone();
                bundle.info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
                plan.bundles.push(bundle);
            }
        }),
    ];
    for (reason, change) in cases {
        lab.left_to_dnf(&lab.with_plan(change), reason);
    }
}

#[test]
fn a_plan_leads_nowhere_else() {
    let lab = Lab::new();
    let trap = Trap::new();
    let nowhere_else = "neither on the service nor on one of origin_hosts";
    let url = trap.url();
    lab.left_to_dnf(&lab.with_plan(move |plan| plan.web_seeds = vec![url.clone()]), nowhere_else);
    let url = trap.url();
    lab.left_to_dnf(&lab.with_plan(move |plan| plan.torrents.clone_from(&url)), nowhere_else);
    let url = trap.url();
    lab.left_to_dnf(&lab.with_plan(move |plan| plan.announce.clone_from(&url)), nowhere_else);
    lab.left_to_dnf(&lab.with_plan(|plan| plan.web_seeds = vec!["file:///".into()]), "only http and https");
    // What is beside it is used.
    let url = trap.url();
    lab.placed(&lab.with_plan(move |plan| plan.web_seeds.insert(0, url.clone())));
    // Nor are hosts called that are outside of the networks of peers.
    let address = trap.address();
    let crowded = lab.with_plan(move |plan| {
        for bundle in &mut plan.bundles {
            bundle.peers = vec![address; 500];
            (bundle.complete, bundle.incomplete) = (u32::MAX, u32::MAX);
        }
    });
    let host = lab.0.mirror.host().agent(&crowded.url("/"));
    host.its_agent().set_config("peer_networks = [\"10.0.0.0/8\"]\n");
    let _ = lab.0.placed(&host);
}

#[test]
fn a_redirect_leads_nowhere_else() {
    let trap = Trap::new();
    for (part, reason) in
        [(Part::Plan, "302 Found"), (Part::Info, "302 Found"), (Part::Package, "refuses to send it")]
    {
        // Each with a tracker of its own: on one, the host before would be waited for as a peer.
        let lab = Lab::new();
        let target = trap.url();
        let redirecting = proxy::before(lab.service(), move |request, passed| {
            if Part::of(request) == part { Answer::new(302, "").header("Location", &target) } else { passed }
        });
        lab.left_to_dnf(&redirecting, reason);
    }
}

#[test]
fn an_info_dictionary_that_does_not_match_is_not_used() {
    type Change = fn(&mut Vec<u8>);
    let lab = Lab::new();
    let cases: [(&str, Change); 3] = [
        ("its hash is not that of the bundle", |info| info[100] ^= 1),
        (" bytes came, the plan says ", |info| info.truncate(100)),
        ("the answer is longer than ", |info| info.resize(50 << 20, b'x')),
    ];
    for (reason, change) in cases {
        let changing = proxy::before(lab.service(), move |request, passed| match passed {
            Answer::Response { status, headers, mut body } if Part::of(request) == Part::Info => {
                change(&mut body);
                Answer::Response { status, headers, body }
            }
            passed => passed,
        });
        lab.left_to_dnf(&changing, reason);
    }
}

#[test]
fn an_info_dictionary_of_other_packages_is_not_used() {
    let lab = Lab::new();
    let nowhere = lab.service();
    let names = consistent_liar(lab.service(), nowhere, |info| {
        let text = info.encode().expect("encodes");
        replaced(&text, b"-1.0-1.noarch.rpm", b"/../../../../evil")
    });
    lab.left_to_dnf(&names, "file name is not allowed");
    let identities = consistent_liar(lab.service(), nowhere, |info| {
        let mut packages = info.packages().to_vec();
        for package in &mut packages {
            package.identity.0[0] ^= 1;
        }
        encoded(info, packages, info.block_hashes().to_vec())
    });
    lab.left_to_dnf(&identities, "the plan names ");
    let sizes = consistent_liar(lab.service(), nowhere, |info| {
        let mut packages = info.packages().to_vec();
        for package in &mut packages {
            // It stays within its last piece, so that everything else still fits together.
            package.size -= 1;
        }
        encoded(info, packages, info.block_hashes().to_vec())
    });
    lab.left_to_dnf(&sizes, "the service has it with ");
}

#[test]
fn other_bytes_than_the_pieces_hashes_say_are_not_taken() {
    let lab = Lab::new();
    let (_directory, seed) = lab.evil_seed();
    let evil = seed.addr();
    let server = proxy::before(lab.service(), move |request, passed| match Part::of(request) {
        Part::Package => proxy::pass_on(evil, request),
        _ => passed,
    });
    lab.left_to_dnf(&server, "does not match its hash");
    assert!(!seed.take_packages().is_empty(), "nobody asked for evil bytes");
}

#[test]
fn another_package_of_which_every_piece_matches_is_not_taken() {
    let lab = Lab::new();
    let (_directory, seed) = lab.evil_seed();
    let server = consistent_liar(lab.service(), seed.addr(), |info| {
        let evil = Mirror::evil();
        let name_of = |package: &BundlePackage| package.name.as_str().to_owned();
        let bytes_of = |package| &evil.iter().find(|(name, _)| *name == name_of(package)).expect("evil").1;
        let hashes =
            info.packages().iter().flat_map(|it| piece_hashes(info.layout().piece_len(), bytes_of(it)));
        encoded(info, info.packages().to_vec(), hashes.collect())
    });
    lab.left_to_dnf(&server, "the whole does not");
    assert!(!seed.take_packages().is_empty(), "nobody asked for evil bytes");
}

/// A service that sends the info dictionaries which `tell` makes of its own, and plans that fit them, so that nothing
/// is wrong with them but what they say. Packages' bytes come from `seed`.
fn consistent_liar(
    service: SocketAddr,
    seed: SocketAddr,
    tell: impl Fn(&BundleInfo) -> Vec<u8> + Send + Sync + 'static,
) -> Server {
    let lies = Mutex::new(HashMap::new());
    proxy::before(service, move |request, passed| match (Part::of(request), passed) {
        (Part::Plan, Answer::Response { status: 200, body, .. }) => {
            let mut plan: Plan = serde_json::from_slice(&body).expect("a plan");
            for bundle in &mut plan.bundles {
                let target = format!("{PREFIX}torrents/{}.info", bundle.info_hash);
                let honest = http::get(service, &target).expect_status(200).body;
                let lie = tell(&BundleInfo::parse(&honest).expect("an info dictionary"));
                bundle.info_hash = InfoHash::of(&lie);
                bundle.info_len = lie.len() as u32;
                lies.lock().expect("no panic").insert(format!("{}.info", bundle.info_hash), lie);
            }
            Answer::new(200, serde_json::to_vec(&plan).expect("a plan encodes"))
        }
        (Part::Info, _) => {
            let name = request.target.rsplit('/').next().unwrap_or_default();
            Answer::new(200, lies.lock().expect("no panic")[name].clone())
        }
        (Part::Package, _) => proxy::pass_on(seed, request),
        (_, passed) => passed,
    })
}

fn encoded(honest: &BundleInfo, packages: Vec<BundlePackage>, block_hashes: Vec<u8>) -> Vec<u8> {
    let info = BundleInfo::new(honest.layout().piece_len(), packages, block_hashes);
    info.and_then(|info| info.encode()).expect("a lie encodes")
}

/// The SHA-1 of every piece with its padding.
fn piece_hashes(piece_len: PieceLen, bytes: &[u8]) -> Vec<u8> {
    let hash = |piece: &[u8]| {
        let mut padded = piece.to_vec();
        padded.resize(piece_len.bytes() as usize, 0);
        Sha1::digest(&padded).to_vec()
    };
    bytes.chunks(piece_len.bytes() as usize).flat_map(hash).collect()
}

/// Bytes with every occurrence of some in them replaced by others of the same number.
fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let found: Vec<usize> =
        (0..bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what)).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at..at + by.len()].copy_from_slice(by);
    }
    bytes
}
