//! Announces: how a peer tells the tracker of itself and learns of others.
//!
//! Two forms. Any BitTorrent client sends one GET for one swarm (BEP 3, 7, 23, and 48 for scrapes) and gets a bencoded
//! answer. Our agents send one POST for all their swarms and get JSON. A peer's address is never in either: it is that
//! of the connection.

use std::net::SocketAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::bencode;
use crate::digest::abridged;
use crate::identity::{InfoHash, PeerId};
use crate::peers::{self, CompactPeers};
use crate::report::Report;

/// The most swarms that one POST may name: an agent that seeds more than this announces in turns.
pub const BATCH_SWARMS_MAX: usize = 1024;

/// The most swarms that one scrape may name; the answer stays below 8 KiB.
pub const SCRAPE_SWARMS_MAX: usize = 64;

/// The most ranges that each list of a [`LeaseWish`] may have: a host that has more to say says the rest next time.
pub const RANGES_MAX: usize = 64;

/// Neighbouring pieces of a bundle: the first one, and how many there are.
pub type PieceRange = (u32, u32);

/// The longest query string that is read: a scrape of [`SCRAPE_SWARMS_MAX`] fully escaped hashes.
pub const QUERY_LEN_MAX: usize = SCRAPE_SWARMS_MAX * 72 + 1024;

/// What a peer has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It has joined.
    Started,
    /// It has become complete.
    Completed,
    /// It is leaving.
    Stopped,
}

/// Why a request is no announce or scrape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// More than [`QUERY_LEN_MAX`].
    #[error("the query has {0} bytes, at most {QUERY_LEN_MAX} are allowed")]
    TooLong(usize),
    /// A parameter that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter's value makes no sense.
    #[error("{key} is not valid: {value:?}")]
    Invalid {
        /// The parameter.
        key: &'static str,
        /// Its value, abridged.
        value: String,
    },
    /// More swarms than one request may name.
    #[error("the request names more than {0} swarms")]
    TooManySwarms(usize),
    /// More ranges than a list of a [`LeaseWish`] may have.
    #[error("{got} ranges in {list}, at most {RANGES_MAX} are allowed")]
    TooManyRanges {
        /// The list.
        list: &'static str,
        /// Its length.
        got: usize,
    },
    /// An answer that is not one.
    #[error("not an announce answer: {0}")]
    NotAnAnswer(String),
}

/// An announce as any BitTorrent client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetAnnounce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The peer's name for itself.
    pub peer_id: PeerId,
    /// The port it listens on; zero when it does not.
    pub port: u16,
    /// How many bytes it still wants; zero makes it complete.
    pub left: u64,
    /// What it has just done.
    pub event: Option<Event>,
    /// How many peers it would like; the tracker's limit when it does not say.
    pub wanted: Option<u32>,
}

impl GetAnnounce {
    /// Reads a query string. Unknown parameters are ignored, the last of a repeated one counts.
    pub fn parse(query: &str) -> Result<Self, AnnounceError> {
        let (mut info_hash, mut peer_id, mut port) = (None, None, None);
        // A client that does not say what it lacks is taken for incomplete: it is then introduced to everyone.
        let (mut left, mut event, mut wanted) = (u64::MAX, None, None);
        for (key, value) in parameters(query)? {
            match key {
                "info_hash" => info_hash = Some(InfoHash(twenty_bytes("info_hash", value)?)),
                "peer_id" => peer_id = Some(PeerId(twenty_bytes("peer_id", value)?)),
                "port" => port = Some(parsed("port", value)?),
                "left" => left = parsed("left", value)?,
                // Clients ask for -1 or absurd numbers of peers; the tracker has its own limit.
                "numwant" => wanted = value.parse().ok(),
                "event" => event = event_of(value)?,
                _ => {}
            }
        }
        Ok(Self {
            info_hash: info_hash.ok_or(AnnounceError::Missing("info_hash"))?,
            peer_id: peer_id.ok_or(AnnounceError::Missing("peer_id"))?,
            port: port.ok_or(AnnounceError::Missing("port"))?,
            left,
            event,
            wanted,
        })
    }

    /// The query string that [`Self::parse`] reads.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = format!(
            "info_hash={}&peer_id={}&port={}&uploaded=0&downloaded=0&left={}&compact=1",
            percent_encode(&self.info_hash.0, ESCAPED),
            percent_encode(&self.peer_id.0, ESCAPED),
            self.port,
            self.left
        );
        if let Some(event) = self.event {
            let event = match event {
                Event::Started => "started",
                Event::Completed => "completed",
                Event::Stopped => "stopped",
            };
            query.push_str("&event=");
            query.push_str(event);
        }
        if let Some(wanted) = self.wanted {
            query.push_str(&format!("&numwant={wanted}"));
        }
        query
    }
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Reads the swarms that a scrape's query string names. A scrape of everything is not answered: it names none.
pub fn parse_scrape(query: &str) -> Result<Vec<InfoHash>, AnnounceError> {
    let mut swarms = Vec::new();
    for (key, value) in parameters(query)? {
        if key == "info_hash" {
            if swarms.len() == SCRAPE_SWARMS_MAX {
                return Err(AnnounceError::TooManySwarms(SCRAPE_SWARMS_MAX));
            }
            swarms.push(InfoHash(twenty_bytes("info_hash", value)?));
        }
    }
    if swarms.is_empty() { Err(AnnounceError::Missing("info_hash")) } else { Ok(swarms) }
}

pub(crate) fn parameters(query: &str) -> Result<impl Iterator<Item = (&str, &str)>, AnnounceError> {
    if query.len() > QUERY_LEN_MAX {
        return Err(AnnounceError::TooLong(query.len()));
    }
    Ok(query.split('&').filter_map(|pair| pair.split_once('=')))
}

pub(crate) fn twenty_bytes(key: &'static str, value: &str) -> Result<[u8; 20], AnnounceError> {
    let bytes: Vec<u8> = percent_decode_str(value).collect();
    bytes.try_into().map_err(|_| AnnounceError::Invalid { key, value: abridged(value) })
}

pub(crate) fn parsed<T: std::str::FromStr>(key: &'static str, value: &str) -> Result<T, AnnounceError> {
    value.parse().map_err(|_| AnnounceError::Invalid { key, value: abridged(value) })
}

fn event_of(value: &str) -> Result<Option<Event>, AnnounceError> {
    match value {
        "started" => Ok(Some(Event::Started)),
        "completed" => Ok(Some(Event::Completed)),
        "stopped" => Ok(Some(Event::Stopped)),
        // Some clients send an empty event, and BEP 21 has `paused`: both are plain announces.
        "" | "empty" | "paused" => Ok(None),
        _ => Err(AnnounceError::Invalid { key: "event", value: abridged(value) }),
    }
}

/// The tracker's answer to a [`GetAnnounce`], always compact (BEP 23): every client of this century reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetAnswer {
    /// Seconds until the next announce.
    pub interval: u32,
    /// Seconds before which another announce is unwelcome.
    pub min_interval: u32,
    /// Peers that have everything.
    pub complete: u32,
    /// Peers that do not.
    pub incomplete: u32,
    /// Whom to meet, of both families.
    pub peers: Vec<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct AnswerDict {
    complete: u32,
    incomplete: u32,
    interval: u32,
    #[serde(rename = "min interval")]
    min_interval: u32,
    peers: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peers6: Option<ByteBuf>,
}

impl GetAnswer {
    /// The bencoded answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (peers, peers6) = peers::pack(&self.peers);
        let dict = AnswerDict {
            complete: self.complete,
            incomplete: self.incomplete,
            interval: self.interval,
            min_interval: self.min_interval,
            peers: ByteBuf::from(peers),
            peers6: (!peers6.is_empty()).then(|| ByteBuf::from(peers6)),
        };
        // Integers and byte strings always encode; should that ever fail, the client is told so.
        serde_bencode::to_bytes(&dict).unwrap_or_else(|e| failure(&e.to_string()))
    }

    /// Reads an answer; IPv4 peers come first.
    pub fn parse(bytes: &[u8]) -> Result<Self, AnnounceError> {
        let refuse = |e: String| AnnounceError::NotAnAnswer(e);
        bencode::check(bytes).map_err(|e| refuse(e.to_string()))?;
        let dict: AnswerDict = serde_bencode::from_bytes(bytes).map_err(|e| refuse(e.to_string()))?;
        let peers6 = dict.peers6.unwrap_or_default();
        let peers = peers::unpack(&dict.peers, &peers6).map_err(|e| refuse(e.to_string()))?;
        Ok(Self {
            interval: dict.interval,
            min_interval: dict.min_interval,
            complete: dict.complete,
            incomplete: dict.incomplete,
            peers,
        })
    }
}

/// The bencoded answer that tells a client why it gets none.
#[must_use]
pub fn failure(reason: &str) -> Vec<u8> {
    format!("d14:failure reason{}:{reason}e", reason.len()).into_bytes()
}

/// What a scrape says of one swarm (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapedSwarm {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Peers that have everything.
    pub complete: u32,
    /// How often a peer has become complete.
    pub downloaded: u32,
    /// Peers that do not have everything.
    pub incomplete: u32,
}

/// The bencoded answer to a scrape.
#[must_use]
pub fn encode_scrape(mut swarms: Vec<ScrapedSwarm>) -> Vec<u8> {
    swarms.sort_unstable_by_key(|swarm| swarm.info_hash);
    swarms.dedup_by_key(|swarm| swarm.info_hash);
    let mut out = b"d5:filesd".to_vec();
    for swarm in swarms {
        out.extend_from_slice(b"20:");
        out.extend_from_slice(&swarm.info_hash.0);
        let ScrapedSwarm { complete, downloaded, incomplete, .. } = swarm;
        let counts =
            format!("d8:completei{complete}e10:downloadedi{downloaded}e10:incompletei{incomplete}ee");
        out.extend_from_slice(counts.as_bytes());
    }
    out.extend_from_slice(b"ee");
    out
}

/// An announce as our agents send it: all their swarms at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnnounce {
    /// The form's version: 1.
    pub version: u32,
    /// The agent's name for itself.
    pub peer_id: PeerId,
    /// The port it listens on; zero when it does not.
    pub port: u16,
    /// Its swarms, at most [`BATCH_SWARMS_MAX`].
    pub swarms: Vec<SwarmAnnounce>,
    /// Whether the agent reads [`CompactPeers`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// What it has to say of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

/// One swarm of a [`BatchAnnounce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmAnnounce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// How many bytes of the bundle the agent lacks, wanted or not; zero makes it complete. One that has all it wants,
    /// and not the whole bundle, is no seed: nobody would be leased what it cannot give.
    pub left: u64,
    /// What it has just done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// How many peers it would like; none at all for an announce that is only about leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// Whether it has just got the last of what it wanted of the bundle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub served: bool,
    /// What it has to say about leases. Saying anything, nothing but this too, renews those that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseWish>,
}

/// What a host says about the first copies that it fetches from the origin, in one swarm.
///
/// Each list has at most [`RANGES_MAX`] ranges. What lies outside of the bundle is cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseWish {
    /// Pieces that the host has since it last said so, at least those that were leased to it. It never takes this back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub got: Vec<PieceRange>,
    /// Pieces that it wants and lacks, or the first ranges of them; when none are named, all of the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<PieceRange>,
    /// Whether it gives back all that is leased to it in this swarm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned: bool,
    /// Whether its peers bring it nothing, or far too little: then it may get what others have already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starved: bool,
    /// Whether it would like another lease. One that is told nothing new waits for its peers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants: bool,
}

impl LeaseWish {
    /// Refuses lists that are too long.
    pub fn check(&self) -> Result<(), AnnounceError> {
        for (list, ranges) in [("got", &self.got), ("lacks", &self.lacks)] {
            if ranges.len() > RANGES_MAX {
                return Err(AnnounceError::TooManyRanges { list, got: ranges.len() });
            }
        }
        Ok(())
    }
}

/// The tracker's answer to a [`BatchAnnounce`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// The form's version: 1.
    pub version: u32,
    /// Seconds until the next announce.
    pub interval: u32,
    /// One answer for each swarm that was named, in that order.
    pub swarms: Vec<SwarmAnswer>,
    /// After how many seconds the agent may report again. A service that does not say so keeps no accounts, and is told
    /// nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_after: Option<u32>,
    /// Whether the report that came with the question was passed over, so that the agent has to tell it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
}

/// The answer for one swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SwarmAnswer {
    /// Whom to meet.
    Known {
        /// The swarm.
        info_hash: InfoHash,
        /// Peers that have everything.
        complete: u32,
        /// Peers that do not.
        incomplete: u32,
        /// Addresses of both families.
        peers: Vec<SocketAddr>,
        /// The same, for an agent that said that it reads this form; then there are none in `peers`.
        #[serde(default, skip_serializing_if = "CompactPeers::is_empty")]
        compact_peers: CompactPeers,
        /// All that is leased to the agent now, if it said anything about leases: what it held and does not find here
        /// has become another's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Vec<PieceRange>>,
        /// After how many milliseconds the agent may ask for more. Only said where there is a lid on what hosts take
        /// from the origin: an agent with others to wait for then takes nothing that it is not leased.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask_again: Option<u32>,
        /// How many of the bundle's packages have another home now, or none. Whoever hears of another number than before
        /// asks for a plan of those that it has, so as to be met where they are looked for.
        #[serde(default, skip_serializing_if = "is_zero")]
        moved: u32,
        /// Whether hosts of another site fetch the first copies: then what is leased here is taken from them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        second_hand: bool,
    },
    /// The swarm got nothing, and why: an agent that is told that a swarm is unknown asks for a new plan.
    Refused {
        /// The swarm.
        info_hash: InfoHash,
        /// What is wrong.
        refused: String,
    },
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Option<Event>> {
        prop_oneof![
            Just(None),
            Just(Some(Event::Started)),
            Just(Some(Event::Completed)),
            Just(Some(Event::Stopped))
        ]
    }

    fn wishes() -> impl Strategy<Value = Option<LeaseWish>> {
        let ranges = || proptest::collection::vec(any::<PieceRange>(), 0..4);
        let wish = (ranges(), ranges(), any::<[bool; 3]>());
        proptest::option::of(wish.prop_map(|(got, lacks, [returned, starved, wants])| LeaseWish {
            got,
            lacks,
            returned,
            starved,
            wants,
        }))
    }

    proptest! {
        #[test]
        fn a_get_announce_survives_its_query(
            info_hash in any::<[u8; 20]>(), peer_id in any::<[u8; 20]>(), port in any::<u16>(),
            left in any::<u64>(), event in events(), wanted in any::<Option<u32>>(),
        ) {
            let announce = GetAnnounce {
                info_hash: InfoHash(info_hash), peer_id: PeerId(peer_id), port, left, event, wanted,
            };
            prop_assert_eq!(GetAnnounce::parse(&announce.to_query()).expect("parses"), announce);
        }

        #[test]
        fn an_answer_survives_its_encoding(
            v4 in proptest::collection::vec(any::<([u8; 4], u16)>(), 0..60),
            v6 in proptest::collection::vec(any::<([u8; 16], u16)>(), 0..60),
            numbers in any::<[u32; 4]>(),
        ) {
            let v4 = v4.into_iter().map(|(ip, port)| SocketAddr::new(ip.into(), port));
            let v6 = v6.into_iter().map(|(ip, port)| SocketAddr::new(ip.into(), port));
            let answer = GetAnswer {
                interval: numbers[0], min_interval: numbers[1], complete: numbers[2], incomplete: numbers[3],
                peers: v4.chain(v6).collect(),
            };
            prop_assert_eq!(GetAnswer::parse(&answer.encode()).expect("parses"), answer);
        }

        #[test]
        fn a_batch_survives_its_json(
            swarms in proptest::collection::vec(
                (any::<[u8; 20]>(), any::<u64>(), events(), any::<Option<u32>>(), wishes()), 0..5),
            port in any::<u16>(), peer_id in any::<[u8; 20]>(), compact in any::<bool>(),
        ) {
            let swarms = swarms.into_iter().map(|(hash, left, event, wanted, lease)| SwarmAnnounce {
                info_hash: InfoHash(hash), left, event, wanted, served: left == 0, lease,
            }).collect();
            let batch = BatchAnnounce { version: 1, peer_id: PeerId(peer_id), port, swarms, compact, report: None };
            let json = serde_json::to_vec(&batch).expect("encodes");
            prop_assert_eq!(serde_json::from_slice::<BatchAnnounce>(&json).expect("parses"), batch);
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let hash = "%aa".repeat(20);
        let refused = |query: &str| GetAnnounce::parse(query).expect_err(query).to_string();
        assert_eq!(refused(""), "info_hash is missing");
        assert_eq!(refused(&format!("info_hash={hash}&peer_id={hash}")), "port is missing");
        assert!(refused(&format!("info_hash={hash}&peer_id=short&port=1")).contains("peer_id"));
        assert!(refused(&format!("info_hash={hash}&peer_id={hash}&port=65536")).contains("port"));
        assert!(refused(&format!("info_hash={hash}&peer_id={hash}&port=1&event=x")).contains("event"));
        assert!(refused(&"x".repeat(QUERY_LEN_MAX + 1)).contains("at most"));
    }

    #[test]
    fn a_scrape_names_its_swarms() {
        let one = format!("info_hash={}", "%01".repeat(20));
        assert_eq!(parse_scrape(&one), Ok(vec![InfoHash([1; 20])]));
        assert_eq!(parse_scrape("x=y"), Err(AnnounceError::Missing("info_hash")));
        let many = vec![one; SCRAPE_SWARMS_MAX + 1].join("&");
        assert_eq!(parse_scrape(&many), Err(AnnounceError::TooManySwarms(SCRAPE_SWARMS_MAX)));
        let swarm =
            |n| ScrapedSwarm { info_hash: InfoHash([n; 20]), complete: 1, downloaded: 2, incomplete: 3 };
        let bytes = encode_scrape(vec![swarm(9), swarm(2), swarm(9)]);
        assert_eq!(bencode::check(&bytes), Ok(()));
    }

    #[test]
    fn what_an_older_side_says_is_read_and_it_is_sent_nothing_new() {
        let hash = "a".repeat(40);
        let asked = format!(
            r#"{{"version":1,"peer_id":"{hash}","port":1,"swarms":[{{"info_hash":"{hash}","left":5,"wanted":0}}]}}"#
        );
        let batch: BatchAnnounce = serde_json::from_str(&asked).expect("parses");
        assert_eq!((batch.compact, &batch.swarms[0].lease), (false, &None));
        assert_eq!(serde_json::to_string(&batch).expect("encodes"), asked);
        let answered =
            format!(r#"{{"info_hash":"{hash}","complete":1,"incomplete":2,"peers":["10.0.0.1:1"]}}"#);
        let answer: SwarmAnswer = serde_json::from_str(&answered).expect("parses");
        assert!(matches!(
            &answer,
            SwarmAnswer::Known { lease: None, ask_again: None, moved: 0, second_hand: false, peers, .. } if peers.len() == 1
        ));
        assert_eq!(serde_json::to_string(&answer).expect("encodes"), answered);
        let refused = format!(r#"{{"info_hash":"{hash}","refused":"no"}}"#);
        let answer: SwarmAnswer = serde_json::from_str(&refused).expect("parses");
        assert!(matches!(answer, SwarmAnswer::Refused { .. }));
    }

    #[test]
    fn a_list_of_ranges_has_an_end() {
        let wish = LeaseWish { lacks: vec![(0, 1); RANGES_MAX], ..LeaseWish::default() };
        assert_eq!(wish.check(), Ok(()));
        let wish = LeaseWish { got: vec![(0, 1); RANGES_MAX + 1], ..wish };
        assert_eq!(wish.check(), Err(AnnounceError::TooManyRanges { list: "got", got: RANGES_MAX + 1 }));
    }

    #[test]
    fn a_failure_is_bencoded() {
        assert_eq!(bencode::check(&failure("unknown swarm: ü")), Ok(()));
    }
}
