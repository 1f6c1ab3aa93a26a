//! Random histories against a model that is too simple to be wrong: a list of peers, searched from end to end.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, PeerId};
use proptest::prelude::*;

use super::Swarms;
use crate::{Announce, Asker, Event, Settings, Sites};

const TTL_SECONDS: u64 = 10;
const PER_ADDRESS_MAX: usize = 2;
const SWARM_MAX: usize = 12;
const PEERS_MAX: usize = 20;
const PER_ANSWER_MAX: usize = 9;

#[derive(Debug, Clone)]
enum Step {
    Announce(Announce),
    Join(Announce),
    Look(Announce),
    Wait(u64),
    Sweep,
    Reregister(u8),
}

struct ModelPeer {
    info_hash: InfoHash,
    peer_id: PeerId,
    address: SocketAddr,
    complete: bool,
    seen: u64,
}

#[derive(Default)]
struct Model {
    peers: Vec<ModelPeer>,
    downloaded: [u64; 2],
    now: u64,
}

fn swarm(number: u8) -> InfoHash {
    InfoHash([number; 20])
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        6 => (0_u8..8).prop_map(|host| IpAddr::from([10, 0, 0, host])),
        4 => (0_u16..6).prop_map(|host| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host])),
        1 => (0_u16..8).prop_map(|host| IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, host])),
        1 => Just(IpAddr::from([8, 8, 8, 8])),
    ];
    (ip, 0_u16..4).prop_map(SocketAddr::from)
}

fn any_announce() -> impl Strategy<Value = Announce> {
    let event = prop_oneof![
        5 => Just(None),
        1 => Just(Some(Event::Started)),
        1 => Just(Some(Event::Completed)),
        2 => Just(Some(Event::Stopped)),
    ];
    (0_u8..2, 0_u8..20, any_address(), any::<bool>(), event, 0_usize..12).prop_map(
        |(number, name, address, complete, event, wanted)| {
            let info_hash = swarm(number);
            Announce { info_hash, peer_id: PeerId([name; 20]), address, complete, event, wanted }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => any_announce().prop_map(Step::Announce),
        3 => any_announce().prop_map(Step::Join),
        3 => any_announce().prop_map(Step::Look),
        3 => (0_u64..6).prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => (0_u8..2).prop_map(Step::Reregister),
    ]
}

fn is_inside(address: SocketAddr) -> bool {
    address.ip().to_canonical() != IpAddr::from([8, 8, 8, 8])
}

impl Model {
    /// What the announce changes; whether the announcer is listed after it.
    fn announce(&mut self, announce: &Announce) -> bool {
        let Announce { info_hash, peer_id, address, complete, event, .. } = *announce;
        let here = |peer: &ModelPeer| peer.info_hash == info_hash && peer.address == address;
        let known_complete = self.peers.iter().any(|it| here(it) && it.peer_id == peer_id && it.complete);
        if event == Some(Event::Completed) && !known_complete {
            self.downloaded[usize::from(info_hash.0[0])] += 1;
        }
        if event == Some(Event::Stopped) {
            self.peers.retain(|it| !(here(it) && it.peer_id == peer_id));
            return false;
        }
        let in_swarm = || self.peers.iter().filter(|it| it.info_hash == info_hash);
        let at_address = in_swarm().filter(|it| it.address.ip() == address.ip()).count();
        let is_full =
            self.peers.len() >= PEERS_MAX || in_swarm().count() >= SWARM_MAX || at_address >= PER_ADDRESS_MAX;
        if address.port() == 0 || (is_full && !self.peers.iter().any(here)) {
            return false;
        }
        self.peers.retain(|it| !here(it));
        self.peers.push(ModelPeer { info_hash, peer_id, address, complete, seen: self.now });
        true
    }

    fn counts(&self, info_hash: InfoHash) -> (usize, usize) {
        let count = |complete| {
            self.peers.iter().filter(|it| it.info_hash == info_hash && it.complete == complete).count()
        };
        (count(true), count(false))
    }

    /// Everybody whom this asker may be handed.
    fn eligible(&self, info_hash: InfoHash, asker: &Asker) -> BTreeSet<SocketAddr> {
        let fits = |it: &&ModelPeer| {
            it.info_hash == info_hash
                && it.address != asker.address
                && Some(it.peer_id) != asker.peer_id
                && !(asker.complete && it.complete)
                && it.seen + TTL_SECONDS >= self.now
        };
        self.peers.iter().filter(fits).map(|it| it.address).collect()
    }

    /// An answer is any choice that keeps the promises: as many as there are, no stranger, no double, and each family
    /// its share.
    fn check_answer(
        &self,
        sites: &Sites,
        info_hash: InfoHash,
        asker: &Asker,
        wanted: usize,
        peers: &[SocketAddr],
    ) -> Result<(), TestCaseError> {
        let eligible = self.eligible(info_hash, asker);
        let answer: BTreeSet<SocketAddr> = peers.iter().copied().collect();
        prop_assert_eq!(answer.len(), peers.len(), "a peer is in the answer twice");
        prop_assert!(answer.is_subset(&eligible), "{:?} of {:?}", answer, eligible);
        prop_assert!(answer.iter().all(|address| is_inside(*address)));
        let wanted = wanted.min(PER_ANSWER_MAX);
        prop_assert_eq!(answer.len(), wanted.min(eligible.len()));
        if !sites.is_empty() {
            let own = sites.of(asker.address.ip());
            let near_by =
                |set: &BTreeSet<SocketAddr>| set.iter().filter(|it| sites.of(it.ip()) == own).count();
            let elsewhere = wanted / 5;
            prop_assert!(
                near_by(&answer) >= near_by(&eligible).min(wanted - elsewhere),
                "the own site comes first"
            );
            let others = eligible.len() - near_by(&eligible);
            prop_assert!(answer.len() - near_by(&answer) >= others.min(elsewhere), "no site is an island");
            return Ok(());
        }
        let own = |set: &BTreeSet<SocketAddr>| {
            set.iter().filter(|it| it.is_ipv6() == asker.address.is_ipv6()).count()
        };
        let other_eligible = eligible.len() - own(&eligible);
        let share = if wanted > 1 { wanted.div_ceil(5) } else { 0 };
        prop_assert!(answer.len() - own(&answer) >= share.min(other_eligible), "the other family's share");
        prop_assert!(own(&answer) >= own(&eligible).min(wanted - share), "the own family comes first");
        Ok(())
    }
}

/// Two sites, and some addresses outside of them.
fn sites() -> Sites {
    let networks = |texts: [&str; 2]| texts.map(|text| text.parse().expect("a network")).to_vec();
    let sites = [("a", ["10.0.0.0/30", "fd00::/127"]), ("b", ["10.0.0.4/31", "fd00::2/127"])];
    let sites = sites.map(|(name, texts)| (name.to_owned(), networks(texts)));
    Sites::new(&sites.into(), &[], None).expect("sites")
}

fn settings(sites: Sites) -> Settings {
    Settings {
        sites,
        peer_ttl: Duration::from_secs(TTL_SECONDS),
        peers_per_answer_max: PER_ANSWER_MAX,
        swarm_peers_max: SWARM_MAX,
        peers_max: PEERS_MAX,
        peers_per_address_max: PER_ADDRESS_MAX as u32,
        flood: None,
        ..Settings::default()
    }
}

fn canonical(announce: &Announce) -> Announce {
    let address = SocketAddr::new(announce.address.ip().to_canonical(), announce.address.port());
    Announce { address, ..*announce }
}

fn join(swarms: &mut Swarms, model: &mut Model, announce: &Announce) -> Result<(), TestCaseError> {
    let now = Duration::from_secs(model.now);
    let both = [swarm(0), swarm(1)];
    let answers = swarms.join(&both, announce.peer_id, announce.address, PER_ANSWER_MAX, now);
    prop_assert_eq!(answers.is_ok(), is_inside(announce.address));
    let Announce { peer_id, address, .. } = canonical(announce);
    for (answer, info_hash) in answers.unwrap_or_default().iter().zip(both) {
        let complete = model.peers.iter().any(|it| {
            it.info_hash == info_hash && it.address == address && it.peer_id == peer_id && it.complete
        });
        let started = Announce { info_hash, complete, event: None, ..canonical(announce) };
        prop_assert_eq!(answer.listed, model.announce(&started));
        let asker = Asker { address, peer_id: Some(peer_id), complete };
        model.check_answer(&swarms.settings.sites, info_hash, &asker, PER_ANSWER_MAX, &answer.peers)?;
    }
    Ok(())
}

fn take_step(swarms: &mut Swarms, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    let now = Duration::from_secs(model.now);
    match step {
        Step::Announce(announce) => {
            let answer = swarms.announce(announce, now);
            prop_assert_eq!(answer.is_ok(), is_inside(announce.address));
            let Ok(answer) = answer else { return Ok(()) };
            let announce = canonical(announce);
            prop_assert_eq!(answer.listed, model.announce(&announce));
            let asker = Asker {
                address: announce.address,
                peer_id: Some(announce.peer_id),
                complete: announce.complete,
            };
            let wanted = if announce.event == Some(Event::Stopped) { 0 } else { announce.wanted };
            model.check_answer(&swarms.settings.sites, announce.info_hash, &asker, wanted, &answer.peers)?;
            let counts = (answer.complete as usize, answer.incomplete as usize);
            prop_assert_eq!(counts, model.counts(announce.info_hash));
        }
        Step::Join(announce) => join(swarms, model, announce)?,
        Step::Look(announce) => {
            let Announce { info_hash, address, complete, wanted, .. } = canonical(announce);
            let asker = Asker { address, peer_id: None, complete };
            let peers = swarms.peers_of(info_hash, &asker, wanted, now);
            prop_assert_eq!(peers.is_ok(), is_inside(address));
            if let Ok(peers) = peers {
                model.check_answer(&swarms.settings.sites, info_hash, &asker, wanted, &peers)?;
            }
        }
        Step::Wait(seconds) => model.now += seconds,
        Step::Sweep => {
            let len = model.peers.len();
            model.peers.retain(|it| it.seen + TTL_SECONDS >= model.now);
            prop_assert_eq!(swarms.sweep(now), len - model.peers.len());
        }
        Step::Reregister(number) => {
            swarms.remove(&swarm(*number));
            swarms.register(swarm(*number));
            model.peers.retain(|it| it.info_hash != swarm(*number));
            model.downloaded[usize::from(*number)] = 0;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_tracker_does_what_a_naive_list_does(
        seed in any::<u64>(),
        has_sites in any::<bool>(),
        steps in proptest::collection::vec(any_step(), 1..150),
    ) {
        let mut swarms = Swarms::new(settings(if has_sites { sites() } else { Sites::default() }), seed);
        let mut model = Model::default();
        swarms.register(swarm(0));
        swarms.register(swarm(1));
        for step in &steps {
            take_step(&mut swarms, &mut model, step)?;
            swarms.check_invariants();
            prop_assert_eq!(swarms.listed, model.peers.len());
            for number in 0..2_u8 {
                let count = swarms.count(&swarm(number)).expect("a registered swarm");
                let counts = (count.complete as usize, count.incomplete as usize);
                prop_assert_eq!(counts, model.counts(swarm(number)));
                prop_assert_eq!(count.downloaded, model.downloaded[usize::from(number)]);
            }
        }
    }
}
