//! The service as the other tests drive it: started on any address, killed, and brought back where it was.

use pkgtorrent_protocol::announce::{BatchAnnounce, GetAnnounce, SwarmAnnounce};
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::{Algorithm, PeerId};
use pkgtorrent_test_support::{Launch, Repository, Rpm, ask};

#[test]
fn it_comes_back_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    let repository = Repository::create(&root);
    let package = repository.add(&Rpm::new("one").payload_len(50_000));
    repository.index_with(&["--checksum", "sha512"]);
    let mut service = Launch::new(&root, &directory.path().join("state"))
        .listen("127.0.0.1:0")
        .listen("[::1]:0")
        .config("peer_networks = [\"127.0.0.0/8\", \"::1/128\"]\n")
        .start();
    let addresses = service.addrs().to_vec();
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
    assert_eq!(service.metric("pkgtorrent_catalog_packages"), 1.0);

    let digests = [package.digest(Algorithm::Sha512)];
    assert_eq!(ask::get_set(service.addr(), ask::set_digest(&digests)), None);
    let plan = ask::post_set(addresses[1], &digests);
    assert_eq!(ask::get_set(service.addr(), plan.set).expect("a known set").bundles.len(), 1);
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), 1.0);
    let info_hash = plan.bundles[0].info_hash;
    let info = ask::bundle_info(service.addr(), info_hash);
    assert_eq!(BundleInfo::parse(&info).expect("a bundle").packages()[0].identity, package.identity);

    service.kill9();
    assert!(!service.is_running());
    service.restart();
    assert_eq!(service.addrs(), addresses);
    let plan = ask::post_set(service.addr(), &digests);
    assert_eq!(plan.unknown, []);
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), 0.0, "block lists survive a crash");

    // One peer comes by each form of an announce; they are told of each other.
    let (first, second) = (PeerId([b'a'; 20]), PeerId([b'b'; 20]));
    let announce = GetAnnounce { info_hash, peer_id: first, port: 7001, left: 0, event: None, wanted: None };
    assert_eq!(ask::announce(service.addr(), &announce).peers, []);
    let swarms =
        vec![SwarmAnnounce { info_hash, left: 5, event: None, wanted: None, served: false, lease: None }];
    let batch =
        BatchAnnounce { version: 1, peer_id: second, port: 7002, swarms, compact: false, report: None };
    let answer = format!("{:?}", ask::announce_all(addresses[1], &batch));
    assert!(answer.contains("127.0.0.1:7001"), "{answer}");
    assert_eq!(ask::scrape(service.addr(), info_hash), (1, 1));
    let peers = ask::post_set(service.addr(), &digests).bundles[0].peers.clone();
    assert_eq!(peers.len(), 2, "{peers:?}");

    assert!(service.stop(), "it ends when asked to: {}", service.log());
}
