//! The loop, and how a run begins and ends.

use std::collections::BTreeSet;
use std::time::Duration;

use pkgtorrent_protocol::wire::Bitfield;
use pkgtorrent_protocol::{PeerId, SetDigest, Sha256Digest};
use pkgtorrent_swarm::{Event, PartReason, SourceId, Swarm};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use crate::happening::{Happening, Occasion, PlannedSwarm, Said};
use crate::host::{Host, Part, Place};
use crate::line::{Downlink, Link, Uplink};
use crate::origin::Origin;
use crate::outcome::{HostOutcome, Outcome, discrete_floor, fluid_floor};
use crate::package::{Bundles, seeded, shuffle, unit};
use crate::queue::{Queue, Time};
use crate::roles::Roles;
use crate::scenario::Scenario;
use crate::service::{Service, nanos};
use crate::timeline::Timeline;
use crate::wire::Wire;

/// The slow among the hosts have a line of this part of the rate.
const SLOW_DIVISOR: u64 = 10;

/// Seeds are there before the others by this much.
const SEEDS_AHEAD: Duration = Duration::from_secs(1);

/// The first stream of randomness for hosts' names.
const NAMES: u64 = 1000;

/// The only web seed.
pub(crate) const SOURCE: SourceId = SourceId(0);

/// Everything.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Time,
    pub(crate) latency: Time,
    pub(crate) queue: Queue<Happening>,
    pub(crate) roles: Roles,
    pub(crate) bundles: Bundles,
    pub(crate) hosts: Vec<Host>,
    pub(crate) wires: Vec<Wire>,
    /// The pairs of hosts that have a connection, and for which bundle.
    pub(crate) pairs: BTreeSet<(u32, u32, u32)>,
    pub(crate) origin: Origin,
    pub(crate) service: Service,
    pub(crate) link: Link,
    pub(crate) timeline: Timeline,
    pub(crate) origin_len: u64,
    pub(crate) head_len: u64,
    pub(crate) requests: u64,
    pub(crate) peer_len: u64,
    pub(crate) message_len: u64,
    /// The block that is arriving is wrong.
    pub(crate) is_wrong: bool,
    /// How many hosts are to be waited for.
    remaining: u32,
    last_done: Time,
}

/// Simulates a scenario.
///
/// # Panics
/// If a swarm's invariants do not hold, or the scenario makes no sense: packages of no bytes, more hosts than addresses.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World::new(scenario);
    world.begin();
    world.run();
    world.outcome()
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let mut random = seeded(scenario.seed, 2);
        let roles = Roles::new(scenario);
        let mut hosts: Vec<Host> =
            (0..scenario.hosts).map(|host| new_host(scenario, host, &roles, &mut random)).collect();
        give_parts(scenario, &mut hosts, &mut random);
        let hosts_up = hosts.iter().map(|host| host.up.rate()).sum();
        Self {
            now: 0,
            latency: nanos(scenario.latency),
            queue: Queue::new(),
            wires: Vec::new(),
            pairs: BTreeSet::new(),
            origin: Origin::new(scenario.origin_up),
            service: Service::new(scenario),
            link: Link::new(scenario.link),
            timeline: Timeline::new(scenario.timeline_step, scenario.origin_up, hosts_up, scenario.hosts),
            origin_len: 0,
            head_len: 0,
            requests: 0,
            peer_len: 0,
            message_len: 0,
            is_wrong: false,
            remaining: hosts.iter().filter(|host| !host.is_liar && !host.is_seed).count() as u32,
            last_done: 0,
            roles,
            bundles: Bundles::new(scenario.packages.clone()),
            hosts,
            scenario: scenario.clone(),
        }
    }

    fn begin(&mut self) {
        for host in 0..self.scenario.hosts {
            self.queue.put(self.hosts[host as usize].starts_at, Happening::Start { host });
        }
        if let Some((at, hosts)) = self.scenario.vanish {
            // The last of those that are nothing else.
            let ordinary = (0..self.scenario.hosts).rev().filter(|host| {
                let host = &self.hosts[*host as usize];
                !host.is_liar && !host.is_seed && !host.is_straggler && !host.is_firewalled
            });
            for host in ordinary.take(hosts as usize).collect::<Vec<_>>() {
                self.queue.put(nanos(at), Happening::Vanish { host });
            }
        }
        if let Some(at) = self.scenario.origin_dies_at {
            self.queue.put(nanos(at), Happening::OriginDies);
        }
    }

    fn run(&mut self) {
        let time_max = nanos(self.scenario.time_max);
        while self.remaining > 0 {
            let Some((at, what)) = self.queue.take() else { return };
            if at > time_max {
                return;
            }
            self.now = at;
            self.happen(what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Start { host } => self.put_after(self.latency, Happening::PlanAsked { host }),
            Happening::PlanAsked { host } => self.plan_asked(host),
            Happening::Planned { host, plan } => self.planned(host, plan),
            Happening::InfoAwaited { host, bundle } => self.info_awaited(host, bundle),
            Happening::Informed { host, bundle } => self.informed(host, bundle),
            Happening::Dialled { from, to, bundle } => self.dialled(from, to, bundle),
            Happening::Heard { wire, end, said } => self.heard(wire, end, said),
            Happening::BlockLeft { host } => self.block_left(host),
            Happening::BlockCrossed { wire, end, block } => self.block_crossed(wire, end, block),
            Happening::BlockCame { wire, end, block } => self.block_came(wire, end, block),
            Happening::Fetch { fetch } => self.fetch(fetch),
            Happening::ChunkLeft => self.chunk_left(),
            Happening::ChunkCrossed { fetch, len } => self.chunk_crossed(fetch, len),
            Happening::ChunkCame { fetch, len } => self.chunk_came(fetch, len),
            Happening::FetchFailed { fetch, outcome } => self.fetch_failed(fetch, outcome),
            Happening::Wake { host } => self.wake(host),
            Happening::Flush { host } => self.flush(host),
            Happening::Wished { host, bundle, wish } => self.wished(host, bundle, &wish),
            Happening::Guided { host, swarm } => self.guided(host, *swarm),
            Happening::Unguided { host, bundle } => self.unguided(host, bundle),
            Happening::MovesAsked { host, bundle } => self.moves_asked(host, bundle),
            Happening::Moved { host, plan } => self.moved(host, plan),
            Happening::Announce { host, occasion } => self.announce(host, occasion),
            Happening::Leave { host } => self.leave(host),
            Happening::Vanish { host } => self.vanish(host),
            Happening::OriginDies => self.origin_dies(),
        }
    }

    pub(crate) fn put_after(&mut self, after: Time, what: Happening) {
        self.queue.put(self.now + after, what);
    }

    pub(crate) fn host(&mut self, host: u32) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    pub(crate) fn is_gone(&self, host: u32) -> bool {
        self.hosts[host as usize].is_gone
    }

    fn wake(&mut self, host: u32) {
        if self.hosts[host as usize].wakes_at == Some(self.now) && !self.is_gone(host) {
            self.host(host).wakes_at = None;
            self.tell(host, Event::Tick);
        }
    }

    /// One file less is waited for: it is here, or was given up.
    pub(crate) fn file_done(&mut self, host: u32, bundle: u32, file: u32, is_here: bool) {
        let (now, latency) = (self.now, self.latency);
        let package = self.bundles[bundle as usize].packages[file as usize];
        let it = self.host(host);
        if let Some(place) = it.places.get_mut(&package) {
            place.is_here = is_here;
        }
        it.files_left -= 1;
        let mut done = Vec::new();
        if let Some(part) = it.part(bundle) {
            part.files_left -= 1;
            if part.files_left == 0 {
                done.clone_from(&part.wires);
            }
        }
        let files_left = it.files_left;
        for wire in done {
            let end = self.wires[wire as usize].end_of(host);
            self.say(wire, end, Said::UploadOnly);
        }
        let it = self.host(host);
        if files_left > 0 {
            return;
        }
        it.done_at = Some(now);
        let is_counted = !it.is_liar && !it.is_seed;
        self.remaining -= u32::from(is_counted);
        self.last_done = now;
        self.timeline.done(now);
        self.put_after(latency, Happening::Announce { host, occasion: Occasion::Completed });
        if let Some(seeding) = self.scenario.seeding {
            // Which set it is makes no difference to how many stay.
            let time = seeding.time(self.name(host), SetDigest(Sha256Digest([0; 32])));
            self.put_after(nanos(time), Happening::Leave { host });
        }
    }

    /// A name as random as those of agents are.
    fn name(&self, host: u32) -> PeerId {
        let mut name = PeerId([0; 20]);
        seeded(self.scenario.seed, NAMES + u64::from(host)).fill_bytes(&mut name.0);
        name
    }

    fn vanish(&mut self, host: u32) {
        let it = self.host(host);
        let was_waited_for = !it.is_gone && it.done_at.is_none();
        it.is_vanished = true;
        self.go(host);
        self.remaining -= u32::from(was_waited_for);
    }

    fn go(&mut self, host: u32) {
        let it = self.host(host);
        it.is_gone = true;
        it.up.ready.clear();
        for fetch in std::mem::take(&mut it.fetches).into_values() {
            self.origin.fetches[fetch as usize].is_cancelled = true;
        }
    }

    fn leave(&mut self, host: u32) {
        if self.is_gone(host) {
            return;
        }
        for wire in
            self.hosts[host as usize].parts.iter().flat_map(|part| part.wires.clone()).collect::<Vec<_>>()
        {
            self.hang_up(wire, host);
        }
        let swarms: Vec<_> =
            self.hosts[host as usize].parts.iter().map(|part| (part.bundle, true, 0)).collect();
        if !self.service.is_dead(self.now) {
            let stopped = Some(pkgtorrent_tracker::Event::Stopped);
            self.service.announce(host, &swarms, stopped, &self.bundles, self.now);
        }
        self.go(host);
    }

    /// When an answer of the service has left.
    pub(crate) fn answer_at(&mut self, host: u32, len: u64) -> Time {
        if !self.scenario.is_service_on_line {
            return self.now + self.latency;
        }
        let left_at = self.service.free_at.max(self.now) + crate::line::time_of(len, self.scenario.origin_up);
        self.service.free_at = left_at;
        self.origin.line.message(len);
        self.link.message(false, self.hosts[host as usize].is_far, len);
        left_at + self.latency
    }

    fn plan_asked(&mut self, host: u32) {
        if self.service.is_dead(self.now) {
            return;
        }
        let wanted = self.roles.of(host);
        let (plan, len) = self.service.plan(host, wanted, &mut self.bundles, self.now);
        let at = self.answer_at(host, len);
        let mut swarms = Vec::new();
        for (swarm, files) in plan {
            // Peers are told of this host now, and may call it before it has its plan. An agent would be called again.
            self.take_part(host, swarm.bundle, files);
            swarms.push(swarm);
        }
        let it = self.host(host);
        (it.planned, it.announced_at) = (swarms.len(), at);
        self.queue.put(at, Happening::Planned { host, plan: swarms });
    }

    /// A host takes part in a bundle from now on, and wants these files of it.
    fn take_part(&mut self, host: u32, bundle: u32, files: Vec<u32>) {
        let has_all = self.claims_everything(host);
        let of_bundle = &self.bundles[bundle as usize];
        let it = &mut self.hosts[host as usize];
        for file in &files {
            let place = Place { bundle, file: *file, is_here: has_all };
            it.places.insert(of_bundle.packages[*file as usize], place);
        }
        let mut part = Part::new(bundle, files, of_bundle.layout.pieces());
        if has_all {
            part.here = Bitfield::all(part.here.pieces());
            part.files_left = 0;
        }
        it.parts.push(part);
    }

    fn planned(&mut self, host: u32, plan: Vec<PlannedSwarm>) {
        if self.is_gone(host) {
            return;
        }
        for PlannedSwarm { bundle, peers, others, lease, is_second_hand, .. } in plan {
            let is_alone = peers.is_empty();
            if let Some(part) = self.host(host).part(bundle) {
                part.known = peers;
                part.guidance = Some((others, lease, is_second_hand));
            }
            if self.claims_everything(host) {
                self.informed(host, bundle);
                continue;
            }
            self.dial(host, bundle);
            if is_alone {
                self.ask_service_for_info(host, bundle);
            } else {
                self.put_after(crate::talk::INFO_PATIENCE, Happening::InfoAwaited { host, bundle });
            }
        }
        if self.claims_everything(host) {
            self.put_after(self.latency, Happening::Announce { host, occasion: Occasion::Completed });
        } else {
            self.put_after(
                crate::talk::ANNOUNCE_INTERVAL,
                Happening::Announce { host, occasion: Occasion::Regular },
            );
        }
    }

    /// Whether a host has everything from the start, or says so.
    pub(crate) fn claims_everything(&self, host: u32) -> bool {
        let it = &self.hosts[host as usize];
        it.is_seed || it.is_liar
    }

    fn outcome(self) -> Outcome {
        let wanted = self.roles.union(self.scenario.hosts);
        let pieces = wanted.iter().map(|package| self.bundles.home_package(*package).pieces).sum();
        let set_len = wanted.iter().map(|package| self.scenario.packages[*package as usize]).sum();
        let largest = self.roles.largest(&self.scenario.packages);
        Outcome {
            set_len,
            origin_len: self.origin_len,
            plan_len: self.service.plan_len,
            info_len: self.service.info_len,
            announce_len: self.service.announce_len,
            announces: self.service.announces,
            head_len: self.head_len,
            requests: self.requests,
            peer_len: self.peer_len,
            message_len: self.message_len,
            link_len: self.link.carried,
            link_floor: Duration::from_secs_f64(set_len as f64 / self.scenario.link as f64),
            last_done: Duration::from_nanos(self.last_done),
            fluid_floor: fluid_floor(&self.scenario, set_len, largest),
            discrete_floor: discrete_floor(&self.scenario, set_len, pieces),
            bundles: self.bundles.len(),
            events: self.queue.count(),
            hosts: self.hosts.iter().map(host_outcome).collect(),
            timeline: self.timeline,
        }
    }
}

fn host_outcome(host: &Host) -> HostOutcome {
    let notes: Vec<_> = host.swarm.notes().copied().collect();
    HostOutcome {
        took: host.done_at.map(|done_at| Duration::from_nanos(done_at - host.starts_at)),
        given_up: host.given_up,
        is_vanished: host.is_vanished,
        is_liar: host.is_liar,
        is_straggler: host.is_straggler,
        is_seed: host.is_seed,
        is_far: host.is_far,
        from_peers: host.from_peers,
        from_origin: host.from_origin,
        useful: host.useful,
        planned: host.planned,
        banned: host.banned.clone(),
        notes,
    }
}

fn new_host(scenario: &Scenario, host: u32, roles: &Roles, random: &mut Pcg64Mcg) -> Host {
    let late = if scenario.seeds > 0 { nanos(SEEDS_AHEAD) } else { 0 };
    let (is_far, is_slow) = (scenario.is_far(host), scenario.are_near_slow && !scenario.is_far(host));
    let divisor = if is_slow { SLOW_DIVISOR } else { 1 };
    let swarm = Swarm::new(scenario.swarm.clone(), random.next_u64());
    let within_spread = late + (nanos(scenario.spread) as f64 * unit(random)) as Time;
    Host {
        swarm,
        up: Uplink::new(scenario.host_up / divisor),
        down: Downlink::new(scenario.host_down / divisor),
        starts_at: scenario.late_start(host).map_or(within_spread, nanos),
        done_at: None,
        files_left: roles.of(host).len() as u32,
        parts: Vec::new(),
        places: Default::default(),
        planned: 0,
        announced_at: 0,
        is_called: false,
        given_up: 0,
        is_gone: false,
        is_vanished: false,
        is_liar: false,
        is_firewalled: false,
        is_straggler: is_slow,
        is_seed: false,
        is_far,
        wakes_at: None,
        is_flush_due: false,
        with_haves: Vec::new(),
        banned: BTreeSet::new(),
        fetches: Default::default(),
        wrong: Default::default(),
        wrong_copies: Default::default(),
        from_peers: 0,
        from_origin: 0,
        useful: 0,
        told: 0,
    }
}

/// Who lies, is slow, has a firewall, or has everything; nobody is two of these.
fn give_parts(scenario: &Scenario, hosts: &mut [Host], random: &mut Pcg64Mcg) {
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    shuffle(&mut order, random);
    // Of two sites those in the far one come first.
    order.sort_by_key(|host| !hosts[*host].is_far);
    let mut order = order.into_iter();
    let mut next = |count: u32| order.by_ref().take(count as usize).collect::<Vec<usize>>();
    for host in next(scenario.liars) {
        hosts[host].is_liar = true;
        hosts[host].files_left = 0;
    }
    for host in next(scenario.firewalled) {
        hosts[host].is_firewalled = true;
    }
    for host in next(scenario.stragglers) {
        hosts[host].is_straggler = true;
        slow_down(&mut hosts[host], scenario);
    }
    for host in next(scenario.seeds) {
        hosts[host].is_seed = true;
        hosts[host].starts_at = 0;
        hosts[host].files_left = 0;
        if scenario.are_seeds_slow {
            slow_down(&mut hosts[host], scenario);
        }
    }
}

fn slow_down(host: &mut Host, scenario: &Scenario) {
    host.up = Uplink::new(scenario.host_up / SLOW_DIVISOR);
    host.down = Downlink::new(scenario.host_down / SLOW_DIVISOR);
}

/// Whether a parted peer is never to be connected to again.
pub(crate) fn is_ban(reason: PartReason) -> bool {
    matches!(reason, PartReason::Liar { .. })
}
