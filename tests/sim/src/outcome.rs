//! What came of a run.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use pkgtorrent_swarm::Note;

use crate::scenario::Scenario;
use crate::timeline::Timeline;

/// What became of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOutcome {
    /// How long it took from its start until it had all it wanted.
    pub took: Option<Duration>,
    /// Files that its swarm gave up.
    pub given_up: u32,
    /// It vanished.
    pub is_vanished: bool,
    /// It sent every block wrong.
    pub is_liar: bool,
    /// Its line had a tenth of the rate.
    pub is_straggler: bool,
    /// It had everything from the start.
    pub is_seed: bool,
    /// It was in another site than the origin.
    pub is_far: bool,
    /// Bytes of packages that came, useful or not.
    pub from_peers: u64,
    /// The same from the origin.
    pub from_origin: u64,
    /// Those of them that were of use.
    pub useful: u64,
    /// How many bundles its plan had.
    pub planned: usize,
    /// The hosts that it banned.
    pub banned: BTreeSet<u32>,
    /// The decisions of its swarm.
    pub notes: Vec<Note>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What became of each host.
    pub hosts: Vec<HostOutcome>,
    /// The length of all packages that any host wants.
    pub set_len: u64,
    /// Bytes of packages that the origin sent.
    pub origin_len: u64,
    /// Bytes of plans, with their heads.
    pub plan_len: u64,
    /// Bytes of info dictionaries that the service sent.
    pub info_len: u64,
    /// Bytes of answers to announces.
    pub announce_len: u64,
    /// Bytes of heads of the web seed's answers.
    pub head_len: u64,
    /// How many announces were answered.
    pub announces: u64,
    /// How many requests the origin was sent.
    pub requests: u64,
    /// Bytes of packages that hosts sent each other.
    pub peer_len: u64,
    /// Bytes that hosts sent each other beside those, info dictionaries among them.
    pub message_len: u64,
    /// Bytes that the line between the sites carried, both ways together.
    pub link_len: u64,
    /// The least time in which a set comes over it.
    pub link_floor: Duration,
    /// The last time that a host was done.
    pub last_done: Duration,
    /// What no crowd can be faster than, by the rates of the lines.
    pub fluid_floor: Duration,
    /// The same for pieces that can be given on only when they are whole: `(1 + floor(log2 N) / M) F / u`.
    pub discrete_floor: Duration,
    /// How many bundles were formed.
    pub bundles: usize,
    /// How many events were simulated.
    pub events: u64,
    /// What happened when.
    pub timeline: Timeline,
}

/// The larger of the three: the origin sends one copy, a host takes one, all lines send all copies.
pub(crate) fn fluid_floor(scenario: &Scenario, set_len: u64, host_len: u64) -> Duration {
    let (set_len, len) = (set_len as f64, host_len as f64);
    let (hosts, up, origin) = (f64::from(scenario.hosts), scenario.host_up as f64, scenario.origin_up as f64);
    let floors = [set_len / origin, len / scenario.host_down as f64, hosts * len / (origin + hosts * up)];
    Duration::from_secs_f64(floors.into_iter().fold(0.0, f64::max))
}

pub(crate) fn discrete_floor(scenario: &Scenario, set_len: u64, pieces: u32) -> Duration {
    let rounds = 1.0 + f64::from(scenario.hosts.max(1).ilog2()) / f64::from(pieces.max(1));
    Duration::from_secs_f64(rounds * set_len as f64 / scenario.host_up.min(scenario.origin_up) as f64)
}

impl Outcome {
    /// Those hosts whose time counts: that did not vanish, lie, have a slow line, or all from the start.
    pub fn ordinary(&self) -> impl Iterator<Item = &HostOutcome> {
        self.hosts
            .iter()
            .filter(|host| !host.is_vanished && !host.is_liar && !host.is_straggler && !host.is_seed)
    }

    /// Whether each of them has all that it wanted.
    #[must_use]
    pub fn are_all_done(&self) -> bool {
        self.ordinary().all(|host| host.took.is_some() && host.given_up == 0)
    }

    fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.ordinary().filter_map(|host| host.took).collect();
        times.sort_unstable();
        times
    }

    /// How long the slowest took.
    #[must_use]
    pub fn last(&self) -> Duration {
        self.times().last().copied().unwrap_or_default()
    }

    /// How often the set's length went over the line between the sites.
    #[must_use]
    pub fn link_copies(&self) -> f64 {
        self.link_len as f64 / self.set_len as f64
    }

    /// The time of the slowest host of the far site as a multiple of its own floor.
    #[must_use]
    pub fn far_over_floor(&self) -> f64 {
        let last = self.ordinary().filter(|host| host.is_far).filter_map(|host| host.took).max();
        last.unwrap_or_default().as_secs_f64() / self.link_floor.as_secs_f64()
    }

    /// How long half of them took.
    #[must_use]
    pub fn median(&self) -> Duration {
        let times = self.times();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The slowest host's time as a multiple of the fluid floor.
    #[must_use]
    pub fn last_over_floor(&self) -> f64 {
        self.last().as_secs_f64() / self.fluid_floor.as_secs_f64()
    }

    /// How often the set left the origin.
    #[must_use]
    pub fn copies(&self) -> f64 {
        self.origin_len as f64 / self.set_len as f64
    }

    /// The part of all packages' bytes that hosts had from each other.
    #[must_use]
    pub fn from_peers(&self) -> f64 {
        self.peer_len as f64 / (self.peer_len + self.origin_len).max(1) as f64
    }

    /// How many bundles half of the plans have at most.
    #[must_use]
    pub fn median_plan(&self) -> usize {
        let mut plans: Vec<usize> = self.ordinary().map(|host| host.planned).collect();
        plans.sort_unstable();
        plans.get(plans.len() / 2).copied().unwrap_or_default()
    }

    /// The most that the origin sent in any five seconds, in bytes a second.
    #[must_use]
    pub fn origin_rate_max(&self) -> f64 {
        self.timeline.origin_rate_max(Duration::from_secs(5))
    }

    /// All bytes that the service sent but packages.
    #[must_use]
    pub fn service_len(&self) -> u64 {
        self.plan_len + self.info_len + self.announce_len + self.head_len
    }

    /// How often the set's length left the service, everything counted.
    #[must_use]
    pub fn copies_with_all(&self) -> f64 {
        (self.origin_len + self.service_len()) as f64 / self.set_len as f64
    }

    /// What the service sent to each host but packages.
    #[must_use]
    pub fn service_len_per_host(&self) -> f64 {
        self.service_len() as f64 / self.hosts.len() as f64
    }

    /// The share of the liars that somebody has banned.
    #[must_use]
    pub fn liars_banned(&self) -> f64 {
        let banned: BTreeSet<u32> = self.ordinary().flat_map(|host| host.banned.iter().copied()).collect();
        let liars = || (0_u32..).zip(&self.hosts).filter(|(_, host)| host.is_liar);
        liars().filter(|(index, _)| banned.contains(index)).count() as f64 / liars().count() as f64
    }

    /// Bytes of packages that came and were of no use, as a part of those that were.
    #[must_use]
    pub fn waste(&self) -> f64 {
        let came: u64 = self.hosts.iter().map(|host| host.from_peers + host.from_origin).sum();
        let useful: u64 = self.hosts.iter().map(|host| host.useful).sum();
        came.saturating_sub(useful) as f64 / useful.max(1) as f64
    }

    /// What hosts say to each other as a part of what they send.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        self.message_len as f64 / self.peer_len.max(1) as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.ordinary().filter(|host| host.took.is_some()).count();
        let given_up: u32 = self.ordinary().map(|host| host.given_up).sum();
        let banned: usize = self.hosts.iter().map(|host| host.banned.len()).sum();
        let seconds = |time: Duration| time.as_secs_f64();
        writeln!(formatter, "done         {done} of {}, {given_up} files given up", self.ordinary().count())?;
        writeln!(
            formatter,
            "last         {:.3} s = {:.3} x fluid floor ({:.3} s), {:.3} x discrete floor ({:.3} s); end at {:.3} s",
            seconds(self.last()),
            self.last_over_floor(),
            seconds(self.fluid_floor),
            seconds(self.last()) / seconds(self.discrete_floor),
            seconds(self.discrete_floor),
            seconds(self.last_done),
        )?;
        let median = seconds(self.median());
        writeln!(
            formatter,
            "median       {median:.3} s = {:.3} x fluid floor",
            median / seconds(self.fluid_floor)
        )?;
        writeln!(
            formatter,
            "copies       {:.4} of packages, {:.4} with all else; {} requests",
            self.copies(),
            self.copies_with_all(),
            self.requests
        )?;
        writeln!(
            formatter,
            "homes        {} bundles in the median plan, {} in all; {:.2} % from peers",
            self.median_plan(),
            self.bundles,
            self.from_peers() * 100.0
        )?;
        if self.hosts.iter().any(|host| host.is_far) {
            let (copies, over) = (self.link_copies(), self.far_over_floor());
            writeln!(
                formatter,
                "link         {copies:.4} copies; last of the far site {over:.3} x its floor"
            )?;
        }
        writeln!(
            formatter,
            "origin       at most {:.2} Mbit/s in any five seconds",
            self.origin_rate_max() / 125_000.0
        )?;
        let per_host = |len: u64| len as f64 / self.hosts.len() as f64;
        writeln!(
            formatter,
            "service      {:.0} B a host: plan {:.0}, info {:.0}, announces {:.0} ({:.2} of them), heads {:.0}",
            self.service_len_per_host(),
            per_host(self.plan_len),
            per_host(self.info_len),
            per_host(self.announce_len),
            per_host(self.announces),
            per_host(self.head_len),
        )?;
        writeln!(
            formatter,
            "waste        {:.2} %; messages {:.2} % of what peers sent; {banned} bans; {} events",
            self.waste() * 100.0,
            self.overhead() * 100.0,
            self.events
        )
    }
}
