//! The service beside the web seed: plans, info dictionaries and announces, with the real tracker and the real encodings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv4Net;
use pkgtorrent_protocol::announce::{BatchAnswer, LeaseWish, SwarmAnswer};
use pkgtorrent_protocol::peers::CompactPeers;
use pkgtorrent_protocol::plan::{Plan, PlannedBundle, Policy, VERSION};
use pkgtorrent_protocol::{PeerId, SetDigest, Sha256Digest};
use pkgtorrent_swarm::Wish;
use pkgtorrent_tracker::{
    Announce, Asker, Event, HomePackage, Introduction, Lease, LeaseQuestion, Settings, Share, Sites, Tracker,
};
use rand_core::Rng;

use crate::happening::PlannedSwarm;
use crate::package::{Bundle, Bundles, identity, package_of, seeded};
use crate::queue::Time;
use crate::scenario::Scenario;

/// The head of an answer of JSON.
const HEAD_LEN: u64 = 200;

const PORT: u16 = 6881;

/// The service.
pub(crate) struct Service {
    tracker: Tracker,
    far: u32,
    peers_wanted: usize,
    lease_ttl: Duration,
    pub(crate) dies_at: Option<Time>,
    /// When its answers so far have left.
    pub(crate) free_at: Time,
    pub(crate) plan_len: u64,
    pub(crate) info_len: u64,
    pub(crate) announce_len: u64,
    pub(crate) announces: u64,
}

/// Far hosts have addresses in the other half of 10.0.0.0/8, which has room for more hosts than any scenario.
const NEAR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 9);
const FAR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9);

fn host_at(address: &SocketAddr) -> Option<u32> {
    match address.ip() {
        IpAddr::V4(ip) => Some((u32::from(ip) & u32::from(NEAR.hostmask())) - 1),
        IpAddr::V6(_) => None,
    }
}

/// Both sites, if there are two.
fn sites(scenario: &Scenario) -> Sites {
    let networks = [("far", FAR), ("near", NEAR)].map(|(name, net)| (name.to_owned(), vec![net.into()]));
    if scenario.far == 0 {
        return Sites::default();
    }
    Sites::new(&networks.into(), &[], Some("near")).expect("two halves do not overlap")
}

fn peer_id(host: u32) -> PeerId {
    let mut id = *b"-PT0001-000000000000";
    id[16..].copy_from_slice(&host.to_be_bytes());
    PeerId(id)
}

/// Ranges as first piece and number.
pub(crate) fn piece_ranges(ranges: &[std::ops::Range<u32>]) -> Vec<(u32, u32)> {
    ranges.iter().map(|range| (range.start, range.end - range.start)).collect()
}

impl Service {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let (sites, lease_ttl, origin_max_rate) =
            (sites(scenario), scenario.lease_ttl, scenario.origin_max_rate);
        let settings = Settings { flood: None, lease_ttl, origin_max_rate, sites, ..Settings::default() };
        Self {
            tracker: Tracker::new(settings, seeded(scenario.seed, 3).next_u64()),
            far: scenario.far,
            peers_wanted: if scenario.are_introduced { scenario.peers_wanted } else { 0 },
            lease_ttl: scenario.lease_ttl,
            dies_at: scenario.service_dies_at.map(nanos),
            free_at: 0,
            plan_len: 0,
            info_len: 0,
            announce_len: 0,
            announces: 0,
        }
    }

    fn address(&self, host: u32) -> SocketAddr {
        let site = if host < self.far { FAR } else { NEAR };
        SocketAddr::new(Ipv4Addr::from(u32::from(site.network()) + 1 + host).into(), PORT)
    }

    /// The web seed has sent so much more.
    pub(crate) fn origin_sent(&mut self, len: u64, now: Time) {
        self.tracker.origin_sent(len, Duration::from_nanos(now));
    }

    pub(crate) fn is_dead(&self, now: Time) -> bool {
        self.dies_at.is_some_and(|at| at <= now)
    }

    /// Gives packages homes, enters a host into their swarms, and says which files of them it is to take; and the length
    /// of that plan.
    pub(crate) fn plan(
        &mut self,
        host: u32,
        wanted: &[u32],
        bundles: &mut Bundles,
        now: Time,
    ) -> (Vec<(PlannedSwarm, Vec<u32>)>, u64) {
        let now = Duration::from_nanos(now);
        let homes = self.homes(wanted, bundles, now);
        let hashes: Vec<_> = homes.iter().map(|(number, _)| bundles[*number as usize].info_hash).collect();
        let introductions = self
            .tracker
            .join(&hashes, peer_id(host), self.address(host), self.peers_wanted, now)
            .expect("every swarm is registered");
        let mut swarms = Vec::new();
        let mut planned = Vec::new();
        for ((number, files), introduction) in homes.into_iter().zip(introductions) {
            let bundle = &bundles[number as usize];
            let introduction = self.acquaint(host, bundle, &files, introduction, now);
            let wish = LeaseWish { lacks: ranges_of(bundle, &files), wants: true, ..LeaseWish::default() };
            let lease = self.lease(host, bundle, &wish, now);
            planned.push(planned_bundle(bundle, wanted, &files, &introduction, lease.as_ref()));
            swarms.push((self.swarm(host, number, bundle, &introduction, lease), files));
        }
        let len = plan_len(planned) + HEAD_LEN;
        self.plan_len += len;
        (swarms, len)
    }

    /// Says where packages are that a host has. It is entered there once it announces, and leased nothing before.
    pub(crate) fn plan_of_moved(
        &mut self,
        host: u32,
        packages: &[u32],
        bundles: &mut Bundles,
        now: Time,
    ) -> (Vec<(PlannedSwarm, Vec<u32>)>, u64) {
        let now = Duration::from_nanos(now);
        let mut swarms = Vec::new();
        let mut planned = Vec::new();
        for (number, files) in self.homes(packages, bundles, now) {
            let bundle = &bundles[number as usize];
            let introduction = self.look_at(host, bundle, now);
            let introduction = self.acquaint(host, bundle, &files, introduction, now);
            planned.push(planned_bundle(bundle, packages, &files, &introduction, None));
            swarms.push((self.swarm(host, number, bundle, &introduction, Some(Lease::default())), files));
        }
        let len = plan_len(planned) + HEAD_LEN;
        self.plan_len += len;
        (swarms, len)
    }

    /// The homes of packages and their files there, in the order in which the bundles were formed.
    fn homes(&mut self, packages: &[u32], bundles: &mut Bundles, now: Duration) -> Vec<(u32, Vec<u32>)> {
        let packages: Vec<HomePackage> = packages.iter().map(|it| bundles.home_package(*it)).collect();
        let shares = self.tracker.assign(&packages, now, bundles);
        let files_of = |share: &Share| {
            let number = bundles.number(&share.info_hash).expect("a home was formed");
            let packages = &bundles[number as usize].packages;
            let file = |member| packages.binary_search(&package_of(member)).expect("it is in its home");
            (number, share.members.iter().map(|member| file(member) as u32).collect())
        };
        let mut homes: Vec<(u32, Vec<u32>)> = shares.iter().map(files_of).collect();
        homes.sort_unstable();
        homes
    }

    /// Names those first who want the same files.
    fn acquaint(
        &mut self,
        host: u32,
        bundle: &Bundle,
        files: &[u32],
        mut introduction: Introduction,
        now: Duration,
    ) -> Introduction {
        let packages: Vec<_> = files.iter().map(|file| identity(bundle.packages[*file as usize])).collect();
        let (info_hash, address) = (bundle.info_hash, self.address(host));
        self.tracker.acquaint(&info_hash, &packages, address, &mut introduction.peers, now);
        introduction
    }

    /// Who is in a swarm, for a host that is not entered.
    fn look_at(&mut self, host: u32, bundle: &Bundle, now: Duration) -> Introduction {
        let asker = Asker { address: self.address(host), peer_id: None, complete: false };
        let peers = self.tracker.peers_of(bundle.info_hash, &asker, self.peers_wanted, now);
        let count = self.tracker.count(&bundle.info_hash).unwrap_or_default();
        Introduction {
            interval: Duration::ZERO,
            min_interval: Duration::ZERO,
            complete: count.complete,
            incomplete: count.incomplete,
            listed: false,
            peers: peers.expect("the swarm is registered"),
        }
    }

    fn swarm(
        &self,
        host: u32,
        index: u32,
        bundle: &Bundle,
        introduction: &Introduction,
        lease: Option<Lease>,
    ) -> PlannedSwarm {
        let is_introduced = self.peers_wanted > 0;
        let others = if is_introduced {
            (introduction.complete + introduction.incomplete).saturating_sub(1)
        } else {
            0
        };
        // Whom to call first is taken from the end.
        let peers = introduction.peers.iter().rev().filter_map(host_at).collect();
        let is_second_hand = self.tracker.is_second_hand(&bundle.info_hash, self.address(host));
        let moved = self.tracker.moved(&bundle.info_hash);
        PlannedSwarm { bundle: index, peers, others, lease, is_second_hand, moved }
    }

    fn lease(&mut self, host: u32, bundle: &Bundle, wish: &LeaseWish, now: Duration) -> Option<Lease> {
        let question = LeaseQuestion {
            info_hash: bundle.info_hash,
            peer_id: peer_id(host),
            address: self.address(host),
            pieces: bundle.layout.pieces(),
            piece_len: bundle.layout.piece_len(),
            wish,
        };
        if self.lease_ttl.is_zero() { None } else { self.tracker.lease(&question, now) }
    }

    /// Answers what a host says of leases; gives the length of the answer too.
    pub(crate) fn wish(
        &mut self,
        host: u32,
        index: u32,
        bundle: &Bundle,
        wish: &Wish,
        wanted: usize,
        now: Time,
    ) -> (PlannedSwarm, u64) {
        let wish = LeaseWish {
            got: piece_ranges(&wish.got),
            lacks: piece_ranges(&wish.lacks),
            returned: false,
            starved: wish.is_starved,
            wants: wish.wants,
        };
        let now = Duration::from_nanos(now);
        let introduction = self.announced(host, bundle, false, None, wanted, now);
        let lease = self.lease(host, bundle, &wish, now);
        let swarm = self.swarm(host, index, bundle, &introduction, lease);
        let len = self.count_answer(vec![answer(bundle, &introduction, &swarm)]);
        (swarm, len)
    }

    fn announced(
        &mut self,
        host: u32,
        bundle: &Bundle,
        complete: bool,
        event: Option<Event>,
        wanted: usize,
        now: Duration,
    ) -> Introduction {
        let (info_hash, address) = (bundle.info_hash, self.address(host));
        let wanted = wanted.min(self.peers_wanted);
        let announce = Announce { info_hash, peer_id: peer_id(host), address, complete, event, wanted };
        self.tracker.announce(&announce, now).expect("the swarm is registered")
    }

    /// A host says that it is complete, still there, or leaves; gives what it is told and the answer's length.
    pub(crate) fn announce(
        &mut self,
        host: u32,
        swarms: &[(u32, bool, usize)],
        event: Option<Event>,
        bundles: &Bundles,
        now: Time,
    ) -> (Vec<PlannedSwarm>, u64) {
        let now = Duration::from_nanos(now);
        let mut told = Vec::new();
        let mut answers = Vec::new();
        for (index, complete, wanted) in swarms {
            let bundle = &bundles[*index as usize];
            let introduction = self.announced(host, bundle, *complete, event, *wanted, now);
            let swarm = self.swarm(host, *index, bundle, &introduction, None);
            answers.push(answer(bundle, &introduction, &swarm));
            told.push(swarm);
        }
        let len = self.count_answer(answers);
        (told, len)
    }

    /// A host has all that it wanted of these bundles.
    pub(crate) fn are_served<'a>(&mut self, host: u32, bundles: impl Iterator<Item = &'a Bundle>) {
        let bundles = bundles.map(|bundle| bundle.info_hash).collect();
        self.tracker.are_served(&bundles, self.address(host));
    }

    fn count_answer(&mut self, swarms: Vec<SwarmAnswer>) -> u64 {
        let answer = BatchAnswer { version: 1, interval: 60, swarms, report_after: None, unreported: false };
        let len = serde_json::to_vec(&answer).map_or(0, |json| json.len() as u64) + HEAD_LEN;
        self.announce_len += len;
        self.announces += 1;
        len
    }
}

pub(crate) fn nanos(time: Duration) -> Time {
    // Half a millennium fits.
    time.as_nanos() as Time
}

fn milliseconds(lease: &Lease) -> Option<u32> {
    lease.ask_again.map(|after| after.as_millis() as u32)
}

/// The pieces of files, as ranges.
fn ranges_of(bundle: &Bundle, files: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for file in files {
        let extent = bundle.layout.extents()[*file as usize];
        match ranges.last_mut() {
            Some((first, pieces)) if *first + *pieces == extent.first_piece => *pieces += extent.pieces,
            _ => ranges.push((extent.first_piece, extent.pieces)),
        }
    }
    ranges
}

fn answer(bundle: &Bundle, introduction: &Introduction, swarm: &PlannedSwarm) -> SwarmAnswer {
    SwarmAnswer::Known {
        info_hash: bundle.info_hash,
        complete: introduction.complete,
        incomplete: introduction.incomplete,
        peers: Vec::new(),
        compact_peers: CompactPeers(introduction.peers.clone()),
        ask_again: swarm.lease.as_ref().and_then(milliseconds),
        lease: swarm.lease.as_ref().map(|lease| lease.pieces.clone()),
        moved: swarm.moved,
        second_hand: false,
    }
}

fn planned_bundle(
    bundle: &Bundle,
    set: &[u32],
    files: &[u32],
    introduction: &Introduction,
    lease: Option<&Lease>,
) -> PlannedBundle {
    let place = |file: &u32| {
        let (package, extent) = (bundle.packages[*file as usize], bundle.layout.extents()[*file as usize]);
        (set.partition_point(|other| *other < package) as u32, extent.file)
    };
    PlannedBundle {
        info_hash: bundle.info_hash,
        info_len: bundle.info_len,
        piece_len: bundle.layout.piece_len().bytes(),
        files: files.iter().map(place).collect(),
        peers: Vec::new(),
        compact_peers: CompactPeers(introduction.peers.clone()),
        complete: introduction.complete,
        incomplete: introduction.incomplete,
        lease: lease.map(|lease| lease.pieces.clone()).unwrap_or_default(),
        ask_again: lease.and_then(milliseconds),
        second_hand: false,
    }
}

fn plan_len(bundles: Vec<PlannedBundle>) -> u64 {
    let plan = Plan {
        version: VERSION,
        set: SetDigest(Sha256Digest([7; 32])),
        bundles,
        unknown: Vec::new(),
        web_seeds: vec!["http://mirror.example/pkgtorrent/v1/webseed/".into()],
        torrents: "http://mirror.example/pkgtorrent/v1/torrents/".into(),
        announce: "http://mirror.example/pkgtorrent/v1/announce".into(),
        policy: Policy { announce_interval: 60, lease_ttl: 10, upload_limit: None },
        site: Vec::new(),
    };
    serde_json::to_vec(&plan).map_or(0, |json| json.len() as u64)
}
