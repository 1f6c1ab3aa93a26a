//! Sites over HTTP: a host learns which networks are its own, and whether it fetches first copies or has them from others.

use std::net::SocketAddr;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::announce::{BatchAnnounce, BatchAnswer, SwarmAnnounce, SwarmAnswer};
use pkgtorrent_protocol::plan::{Plan, SetRequest};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::http::{self, Request};

const PORT: u16 = 7071;

/// Hosts say where they are as a proxy does.
const CONFIG: &str = r#"
trusted_proxies = ["127.0.0.0/8"]
sites = { berlin = ["10.1.0.0/16", "fd00:1::/32"], lyon = ["10.2.0.0/16"] }
origin_site = "berlin"
"#;

fn name(host: &str) -> PeerId {
    let mut name = [b'.'; 20];
    for (place, byte) in name.iter_mut().zip(host.bytes()) {
        *place = byte;
    }
    PeerId(name)
}

fn post(site: &Site, host: &str, path: &str, body: Vec<u8>) -> String {
    let request = Request::post(path, body).header("X-Forwarded-For", host);
    http::send(site.service.addr(), &request).expect_status(200).text()
}

fn join(site: &Site, host: &str) -> Plan {
    let (port, peer_id) = (Some(PORT), Some(name(host)));
    let packages = site.digests();
    let request = SetRequest { version: 1, packages, port, peer_id, compact: false, group: None };
    let body = serde_json::to_vec(&request).expect("a question");
    serde_json::from_str(&post(site, host, "/pkgtorrent/v1/sets", body)).expect("a plan")
}

#[test]
fn a_plan_names_the_hosts_site_and_its_neighbours_before_others() {
    let site = Site::start(&[("p.rpm", 300_000)], CONFIG);
    let first = join(&site, "10.2.0.1");
    assert_eq!(first.site.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.2.0.0/16"]);
    assert!(!first.bundles[0].second_hand, "nobody is where the origin is");
    let berlin = join(&site, "10.1.0.1");
    assert_eq!(berlin.site.len(), 2);
    assert!(!berlin.bundles[0].second_hand && !berlin.bundles[0].lease.is_empty(), "{berlin:?}");
    let lyon = join(&site, "10.2.0.2");
    assert!(lyon.bundles[0].second_hand && !lyon.bundles[0].lease.is_empty(), "{lyon:?}");
    let peers: Vec<SocketAddr> =
        ["10.2.0.1", "10.1.0.1"].map(|ip| SocketAddr::new(ip.parse().expect("an address"), PORT)).into();
    assert_eq!(lyon.bundles[0].peers, peers);
    let elsewhere = join(&site, "10.3.0.1");
    assert!(elsewhere.site.is_empty() && !elsewhere.bundles[0].second_hand, "{elsewhere:?}");
}

#[test]
fn an_announce_says_who_fetches_first_copies_now() {
    let site = Site::start(&[("p.rpm", 300_000)], CONFIG);
    let info_hash = join(&site, "10.2.0.1").bundles[0].info_hash;
    let is_second_hand = || {
        let host = "10.2.0.1";
        let swarm =
            SwarmAnnounce { info_hash, left: 1, event: None, wanted: Some(0), served: false, lease: None };
        let batch = BatchAnnounce {
            version: 1,
            peer_id: name(host),
            port: PORT,
            swarms: vec![swarm],
            compact: true,
            report: None,
        };
        let body = serde_json::to_vec(&batch).expect("an announce");
        let answer = post(&site, host, "/pkgtorrent/v1/announce", body);
        let answer: BatchAnswer = serde_json::from_str(&answer).expect("an answer");
        match &answer.swarms[..] {
            [SwarmAnswer::Known { second_hand, .. }] => *second_hand,
            other => panic!("refused: {other:?}"),
        }
    };
    assert!(!is_second_hand());
    join(&site, "10.1.0.1");
    assert!(is_second_hand());
}
