//! Questions to the service in the protocol's own types.

use std::net::SocketAddr;

use pkgtorrent_protocol::announce::{BatchAnnounce, BatchAnswer, GetAnnounce, GetAnswer};
use pkgtorrent_protocol::plan::{Plan, SetRequest, VERSION};
use pkgtorrent_protocol::report::Report;
use pkgtorrent_protocol::{InfoHash, PackageDigest, PackageSet, PeerId, SetDigest};

use crate::http::{self, Request, Response};

/// Below this lie the paths of version 1.
pub const PREFIX: &str = "/pkgtorrent/v1/";

/// The digest under which the service knows this set.
#[must_use]
pub fn set_digest(packages: &[PackageDigest]) -> SetDigest {
    PackageSet::new(packages.to_vec()).expect("a set").digest()
}

/// The request that names a set's packages; with a port and a name the asker joins the plan's swarms.
#[must_use]
pub fn set_request(packages: &[PackageDigest], peer: Option<(u16, PeerId)>) -> Request {
    let question = SetRequest {
        version: VERSION,
        packages: packages.to_vec(),
        port: peer.map(|(port, _)| port),
        peer_id: peer.map(|(_, peer_id)| peer_id),
        compact: false,
        group: None,
    };
    let body = serde_json::to_vec(&question).expect("a question encodes");
    Request::post(&format!("{PREFIX}sets"), body).header("Content-Type", "application/json")
}

/// Posts a set and returns its plan.
pub fn post_set(service: SocketAddr, packages: &[PackageDigest]) -> Plan {
    plan_of(http::send(service, &set_request(packages, None)))
}

/// Posts a set as a peer that listens on `port`, and returns its plan.
pub fn post_set_as(service: SocketAddr, packages: &[PackageDigest], port: u16, peer_id: PeerId) -> Plan {
    plan_of(http::send(service, &set_request(packages, Some((port, peer_id)))))
}

/// Asks for a set by its digest alone: the plan, or `None` when the service does not know this set (412).
pub fn get_set(service: SocketAddr, set: SetDigest) -> Option<Plan> {
    let response = http::get(service, &format!("{PREFIX}sets/{set}"));
    (response.status != 412).then(|| plan_of(response))
}

/// The plan in a response.
#[must_use]
pub fn plan_of(response: Response) -> Plan {
    let response = response.expect_status(200);
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("no plan: {e}: {}", response.text()))
}

/// The `.torrent` of a whole set that the service knows.
pub fn set_torrent(service: SocketAddr, set: SetDigest) -> Vec<u8> {
    http::get(service, &format!("{PREFIX}sets/{set}.torrent")).expect_status(200).body
}

/// The `.torrent` of a bundle.
pub fn bundle_torrent(service: SocketAddr, info_hash: InfoHash) -> Vec<u8> {
    http::get(service, &format!("{PREFIX}torrents/{info_hash}.torrent")).expect_status(200).body
}

/// The info dictionary of a bundle.
pub fn bundle_info(service: SocketAddr, info_hash: InfoHash) -> Vec<u8> {
    http::get(service, &format!("{PREFIX}torrents/{info_hash}.info")).expect_status(200).body
}

/// Announces to one swarm as any BitTorrent client does.
pub fn announce(service: SocketAddr, announce: &GetAnnounce) -> GetAnswer {
    let response = http::get(service, &format!("/announce?{}", announce.to_query())).expect_status(200);
    GetAnswer::parse(&response.body).unwrap_or_else(|e| panic!("{e}: {}", response.text()))
}

/// Announces to many swarms as our agents do.
pub fn announce_all(service: SocketAddr, announce: &BatchAnnounce) -> BatchAnswer {
    batch_answer(http::send(service, &batch_request(announce)))
}

/// The request of an announce as our agents send it.
#[must_use]
pub fn batch_request(announce: &BatchAnnounce) -> Request {
    let body = serde_json::to_vec(announce).expect("an announce encodes");
    Request::post(&format!("{PREFIX}announce"), body).header("Content-Type", "application/json")
}

/// The answer to such an announce.
#[must_use]
pub fn batch_answer(response: Response) -> BatchAnswer {
    let response = response.expect_status(200);
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("no answer: {e}: {}", response.text()))
}

/// Reports as a host with this address: of its own accord nobody believes that, so the service has to trust this machine
/// as a proxy.
pub fn report_from(service: SocketAddr, address: &str, report: Report) {
    let mut name = [b'.'; 20];
    name[..address.len()].copy_from_slice(address.as_bytes());
    let report = Some(report);
    let (version, port, swarms, compact) = (VERSION, 6881, Vec::new(), false);
    let announce = BatchAnnounce { version, peer_id: PeerId(name), port, swarms, compact, report };
    let body = serde_json::to_vec(&announce).expect("an announce encodes");
    let request = Request::post(&format!("{PREFIX}announce"), body).header("X-Forwarded-For", address);
    let _ = http::send(service, &request).expect_status(200);
}

/// How many peers of a swarm are complete and how many are not, as a scrape says.
pub fn scrape(service: SocketAddr, info_hash: InfoHash) -> (u32, u32) {
    let escaped: String = info_hash.0.iter().map(|byte| format!("%{byte:02x}")).collect();
    let response = http::get(service, &format!("/scrape?info_hash={escaped}")).expect_status(200);
    let count = |key: &str| -> u32 {
        // The counts are the last integers of the answer; the hash before them may hold any bytes.
        let text = response.text();
        if text == "d5:filesdee" {
            return 0;
        }
        let at = text.rfind(key).unwrap_or_else(|| panic!("no {key}: {text}"));
        let digits = text[at + key.len()..].split('e').next().unwrap_or_default();
        digits.parse().unwrap_or_else(|e| panic!("{key}{digits}: {e}"))
    };
    (count("8:completei"), count("10:incompletei"))
}
