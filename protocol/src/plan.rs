//! A set's question and the plan that answers it, as JSON.
//!
//! The plan names packages by their place in the sorted set, which both sides have: at ten thousand hosts, every digest
//! that it does not repeat is a copy of a small package saved.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::announce::{self, AnnounceError, PieceRange};
use crate::digest::PackageDigest;
use crate::group::HostGroup;
use crate::identity::{InfoHash, PeerId};
use crate::peers::CompactPeers;
use crate::set::SetDigest;

/// The version of the forms in this module.
pub const VERSION: u32 = 1;

/// The most networks of one site, which every plan for its hosts names.
pub const SITE_NETWORKS_MAX: usize = 64;

/// The longest question that the service reads: the largest set of the longest digests, and a little around it.
pub const SET_REQUEST_LEN_MAX: usize = crate::set::SET_PACKAGES_MAX * 140 + 1024;

/// The body of `POST sets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRequest {
    /// [`VERSION`].
    pub version: u32,
    /// The packages that one transaction wants, in any order.
    pub packages: Vec<PackageDigest>,
    /// The port on which the asker listens for peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The asker's name for itself. With a port it joins the plan's swarms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// Whether the asker reads [`CompactPeers`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// The group that the asker's operator put it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<HostGroup>,
}

/// Who asks for a plan, as the query of `GET sets/{digest}` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskerQuery {
    /// The port on which the asker listens for peers.
    pub port: Option<u16>,
    /// The asker's name for itself: as in JSON, or twenty escaped bytes as in an announce.
    pub peer_id: Option<PeerId>,
    /// Whether the asker reads [`CompactPeers`], said as `compact=1`.
    pub compact: bool,
    /// The group that the asker's operator put it in.
    pub group: Option<HostGroup>,
}

impl AskerQuery {
    /// Reads a query string. Unknown parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, AnnounceError> {
        let mut asker = Self::default();
        for (key, value) in announce::parameters(query)? {
            match key {
                "port" => asker.port = Some(announce::parsed("port", value)?),
                "peer_id" => asker.peer_id = Some(peer_id(value)?),
                "compact" => asker.compact = value == "1",
                "group" => asker.group = Some(announce::parsed("group", value)?),
                _ => {}
            }
        }
        Ok(asker)
    }

    /// The query string that [`Self::parse`] reads; empty when there is nothing to say.
    #[must_use]
    pub fn to_query(&self) -> String {
        let port = self.port.map(|port| format!("port={port}"));
        let peer_id = self.peer_id.map(|peer_id| format!("peer_id={peer_id}"));
        let compact = self.compact.then(|| "compact=1".to_owned());
        let group = self.group.as_ref().map(|group| format!("group={group}"));
        [port, peer_id, compact, group].into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

fn peer_id(value: &str) -> Result<PeerId, AnnounceError> {
    value.parse().or_else(|_| announce::twenty_bytes("peer_id", value).map(PeerId))
}

/// The service's answer to a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The set that this plan is for.
    pub set: SetDigest,
    /// Where the packages are shared.
    pub bundles: Vec<PlannedBundle>,
    /// Packages that are in no bundle because the service does not have them, or not as they are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<PackageDigest>,
    /// Base URLs (BEP 19), best first. A package is at `<base>pkgtorrent/<sha256>/<file name>`.
    pub web_seeds: Vec<String>,
    /// Base URL of bundles: the info dictionary is at `<base><info hash>.info`.
    pub torrents: String,
    /// Where to announce.
    pub announce: String,
    /// How the service would like its hosts to behave.
    pub policy: Policy,
    /// The networks of the asker's site, at most [`SITE_NETWORKS_MAX`]: whoever is outside is far away, and asked only
    /// for what is leased. None: nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site: Vec<IpNet>,
}

/// One bundle of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBundle {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The length of the info dictionary, so that a host knows what it will be sent.
    pub info_len: u32,
    /// The bundle's piece length.
    pub piece_len: u32,
    /// What to take from it: pairs of a package's index in the sorted set and a file's index in the info dictionary.
    pub files: Vec<(u32, u32)>,
    /// First peers, so that the first byte needs no announce.
    pub peers: Vec<SocketAddr>,
    /// First peers for an asker that said that it reads this form; then there are none in [`Self::peers`].
    #[serde(default, skip_serializing_if = "CompactPeers::is_empty")]
    pub compact_peers: CompactPeers,
    /// Peers that have the whole bundle.
    pub complete: u32,
    /// Peers that have some of it.
    pub incomplete: u32,
    /// The pieces whose first copies this host is to fetch from the origin, for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lease: Vec<PieceRange>,
    /// Whether hosts of another site fetch the first copies: then what is leased here is taken from them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_hand: bool,
    /// After how many milliseconds this host may ask for more, where there is a lid on what hosts take from the origin:
    /// see [`SwarmAnswer`](announce::SwarmAnswer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again: Option<u32>,
}

/// How the service would like its hosts to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Seconds between announces.
    pub announce_interval: u32,
    /// Seconds after which a lease that was not renewed goes to another host. Zero: this service leases nothing.
    #[serde(default)]
    pub lease_ttl: u32,
    /// Bytes that this host may send to others in a second at most. Zero: it gives nothing, and is named to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256Digest;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plan_survives_its_json(
            hash in any::<[u8; 20]>(), set in any::<[u8; 32]>(), files in proptest::collection::vec(any::<(u32, u32)>(), 0..9),
            peers in proptest::collection::vec(any::<([u8; 16], u16)>(), 0..9),
            lease in proptest::collection::vec(any::<(u32, u32)>(), 0..3), unknown in proptest::collection::vec(any::<[u8; 32]>(), 0..3),
            site in proptest::collection::vec(any::<[u8; 4]>(), 0..3), second_hand in any::<bool>(),
            ask_again in any::<Option<u32>>(), upload_limit in any::<Option<u64>>(),
        ) {
            let plan = Plan {
                version: VERSION,
                set: SetDigest(Sha256Digest(set)),
                bundles: vec![PlannedBundle {
                    info_hash: InfoHash(hash), info_len: 7, piece_len: 32_768, files,
                    peers: peers.iter().map(|&(ip, port)| SocketAddr::new(ip.into(), port)).collect(),
                    compact_peers: CompactPeers(peers.iter().map(|&(ip, port)| SocketAddr::new(ip.into(), port)).collect()),
                    complete: 1, incomplete: 2, lease, second_hand, ask_again,
                }],
                unknown: unknown.into_iter().map(|d| Sha256Digest(d).into()).collect(),
                web_seeds: vec!["http://mirror.example/pkgtorrent/v1/webseed/".into()],
                torrents: "http://mirror.example/pkgtorrent/v1/torrents/".into(),
                announce: "http://mirror.example/pkgtorrent/v1/announce".into(),
                policy: Policy { announce_interval: 60, lease_ttl: 10, upload_limit },
                site: site.iter().map(|&ip| IpNet::from(std::net::IpAddr::from(ip))).collect(),
            };
            let json = serde_json::to_vec(&plan).expect("encodes");
            prop_assert_eq!(serde_json::from_slice::<Plan>(&json).expect("parses"), plan);
        }

        #[test]
        fn a_question_survives_its_json(digests in proptest::collection::vec(any::<[u8; 32]>(), 0..9), port in any::<Option<u16>>(), id in any::<Option<[u8; 20]>>(), compact in any::<bool>()) {
            let request = SetRequest {
                version: VERSION,
                packages: digests.into_iter().map(|d| Sha256Digest(d).into()).collect(),
                port,
                peer_id: id.map(PeerId),
                compact,
                group: id.map(|_| "laptops".parse().expect("a group")),
            };
            let json = serde_json::to_vec(&request).expect("encodes");
            prop_assert_eq!(serde_json::from_slice::<SetRequest>(&json).expect("parses"), request);
        }
    }

    #[test]
    fn an_asker_is_read_in_every_form_of_its_name() {
        let id = PeerId(*b"-XX0001-abcdefghijkl");
        let asker = AskerQuery { port: Some(6881), peer_id: Some(id), ..AskerQuery::default() };
        let reads_compact = AskerQuery { compact: true, ..asker.clone() };
        let of_group = AskerQuery { group: Some("vpn-2.west".parse().expect("a group")), ..asker.clone() };
        for asker in [asker.clone(), reads_compact, of_group] {
            assert_eq!(AskerQuery::parse(&asker.to_query()), Ok(asker));
        }
        for name in ["-XX0001-abcdefghijkl", "%2dXX0001-abcdefghijkl", &id.to_string()] {
            assert_eq!(
                AskerQuery::parse(&format!("x=y&peer_id={name}&port=6881")),
                Ok(asker.clone()),
                "{name}"
            );
        }
        let raw = AskerQuery::parse(&format!("peer_id={}", "%ff".repeat(20)));
        assert_eq!(raw, Ok(AskerQuery { peer_id: Some(PeerId([0xff; 20])), ..AskerQuery::default() }));
        assert_eq!(AskerQuery::parse(""), Ok(AskerQuery::default()));
        assert!(AskerQuery::parse("port=65536").is_err());
        assert!(AskerQuery::parse("peer_id=short").is_err());
        assert!(AskerQuery::parse("group=a%20b").is_err());
    }

    #[test]
    fn what_an_older_side_says_is_read_and_it_is_sent_nothing_new() {
        let hash = "a".repeat(40);
        let old = format!(
            r#"{{"info_hash":"{hash}","info_len":7,"piece_len":32768,"files":[[0,0]],"peers":["10.0.0.1:1"],"complete":1,"incomplete":2}}"#
        );
        let bundle: PlannedBundle = serde_json::from_str(&old).expect("parses");
        assert_eq!((bundle.lease.len(), bundle.compact_peers.0.len(), bundle.second_hand), (0, 0, false));
        assert_eq!(bundle.ask_again, None);
        assert_eq!(serde_json::to_string(&bundle).expect("encodes"), old);
        let policy: Policy = serde_json::from_str(r#"{"announce_interval":60}"#).expect("parses");
        assert_eq!(policy, Policy { announce_interval: 60, lease_ttl: 0, upload_limit: None });
        assert_eq!(
            serde_json::to_string(&policy).expect("encodes"),
            r#"{"announce_interval":60,"lease_ttl":0}"#
        );
    }

    #[test]
    fn unknown_fields_are_ignored_and_wrong_ones_named() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(r#"{{"version":1,"packages":["{digest}"],"later":[1]}}"#);
        assert_eq!(serde_json::from_str::<SetRequest>(&text).expect("parses").packages.len(), 1);
        let text = r#"{"version":1,"packages":["md5:00"]}"#;
        let error = serde_json::from_str::<SetRequest>(text).expect_err("refused").to_string();
        assert!(error.contains("unknown digest algorithm"), "{error}");
    }
}
