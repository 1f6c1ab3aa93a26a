//! What is simulated.

use std::time::Duration;

use pkgtorrent_swarm::{Seeding, Settings};

use crate::package::{random_sizes, real_sizes};

/// A crowd, its lines, and what befalls it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// All randomness of the run.
    pub seed: u64,
    /// How many hosts there are.
    pub hosts: u32,
    /// The sizes of the packages.
    pub packages: Vec<u64>,
    /// With more than one role a host wants every other package, and of the rest those of its role.
    pub roles: u32,
    /// Instead, each role has so many packages, drawn from all by Zipf's law.
    pub packages_per_role: Option<usize>,
    /// What a host's line sends, in bytes a second.
    pub host_up: u64,
    /// What a host's line receives, in bytes a second.
    pub host_down: u64,
    /// What the origin's line sends, in bytes a second.
    pub origin_up: u64,
    /// From any one to any other.
    pub latency: Duration,
    /// Hosts start evenly within this time.
    pub spread: Duration,
    /// So many hosts have a line of a tenth of the rate.
    pub stragglers: u32,
    /// So many hosts say that they have everything, and send every block wrong.
    pub liars: u32,
    /// So many hosts cannot be connected to.
    pub firewalled: u32,
    /// So many hosts are complete from the start.
    pub seeds: u32,
    /// The seeds' lines are of a tenth of the rate.
    pub are_seeds_slow: bool,
    /// So many hosts vanish at this time, without a word.
    pub vanish: Option<(Duration, u32)>,
    /// When the tracker, plans and info dictionaries end.
    pub service_dies_at: Option<Duration>,
    /// When the web seed ends.
    pub origin_dies_at: Option<Duration>,
    /// So many hosts, the first ones, are in a site of their own.
    pub far: u32,
    /// What the line to that site carries each way, in bytes a second.
    pub link: u64,
    /// The lines of those in the origin's site are of a tenth of the rate.
    pub are_near_slow: bool,
    /// Hosts learn of each other; without, each is alone with the origin.
    pub are_introduced: bool,
    /// Plans, info dictionaries and announces take their time of the origin's line.
    pub is_service_on_line: bool,
    /// Have messages leave at most this often on one connection, unless several wait or something else is sent.
    pub haves_interval: Duration,
    /// How many links a host has for one bundle.
    pub links_max: usize,
    /// How many of them it opens itself.
    pub dials_max: usize,
    /// How many it opens for all bundles of which it needs something, shared out among them.
    pub dials_in_all: usize,
    /// How many peers are wanted of the tracker.
    pub peers_wanted: usize,
    /// A host leaves after a time between these, once it has all it wants; without, it stays.
    pub seeding: Option<Seeding>,
    /// So many hosts, the last ones, come one after the other so long apart when the others have come.
    pub late: Option<(u32, Duration)>,
    /// The swarms' settings.
    pub swarm: Settings,
    /// The tracker's: how long a lease lasts that is not renewed.
    pub lease_ttl: Duration,
    /// The tracker's: how many bytes a second hosts are leased at most.
    pub origin_max_rate: Option<u64>,
    /// The invariants of a swarm are checked after one of so many of its events; never if zero.
    pub check_one_in: u32,
    /// When a run is over although hosts are not done.
    pub time_max: Duration,
    /// The steps of the timeline.
    pub timeline_step: Duration,
}

/// Bytes a second of so many megabits.
#[must_use]
pub fn megabits(megabits: f64) -> u64 {
    // Rates are positive and far below 2^53.
    (megabits * 125_000.0) as u64
}

impl Scenario {
    /// Hosts that start at once, with lines of so many Mbit/s each way as the origin's, and want one set.
    #[must_use]
    pub fn crowd(seed: u64, hosts: u32, rate_mbit: f64, packages: usize, set_len: u64) -> Self {
        let rate = megabits(rate_mbit);
        Self {
            seed,
            hosts,
            packages: random_sizes(seed, packages, set_len),
            roles: 1,
            packages_per_role: None,
            host_up: rate,
            host_down: rate,
            origin_up: rate,
            latency: Duration::from_millis(1),
            spread: Duration::ZERO,
            stragglers: 0,
            liars: 0,
            firewalled: 0,
            seeds: 0,
            are_seeds_slow: false,
            vanish: None,
            service_dies_at: None,
            origin_dies_at: None,
            far: 0,
            link: rate,
            are_near_slow: false,
            are_introduced: true,
            is_service_on_line: true,
            haves_interval: Duration::from_millis(20),
            links_max: 50,
            dials_max: 10,
            dials_in_all: 40,
            peers_wanted: 25,
            seeding: None,
            late: None,
            swarm: Settings::default(),
            lease_ttl: Duration::from_secs(10),
            origin_max_rate: None,
            check_one_in: 0,
            time_max: Duration::from_secs(3600),
            timeline_step: Duration::from_millis(500),
        }
    }

    /// The crowd of the project's figures: 60 packages of 32 MB at 20 Mbit/s.
    #[must_use]
    pub fn install(seed: u64, hosts: u32) -> Self {
        Self::crowd(seed, hosts, 20.0, 60, 32_000_000)
    }

    /// Two sites with so many hosts each and a line of 5 Mbit/s between them; the origin is in one.
    #[must_use]
    pub fn two_sites(seed: u64, near: u32, far: u32) -> Self {
        Self { far, link: megabits(5.0), ..Self::install(seed, near + far) }
    }

    /// A fleet in which roles have fifty of two thousand packages each, some of which are nearly everybody's. Hosts come
    /// within this time, with lines of a gigabit, and stay for a quarter of an hour.
    #[must_use]
    pub fn fleet(seed: u64, hosts: u32, roles: u32, spread: Duration) -> Self {
        Self {
            packages: real_sizes(seed, 2000, 100_000),
            roles,
            packages_per_role: Some(50),
            spread,
            seeding: Some(Seeding { min: Duration::from_secs(15 * 60), max: Duration::from_secs(15 * 60) }),
            ..Self::crowd(seed, hosts, 1000.0, 0, 0)
        }
    }

    /// A crowd that installs something in the evening and shares it as agents do by default, and one host more in each of so
    /// many hours after it.
    #[must_use]
    pub fn night(seed: u64, hosts: u32, hours: u32) -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            spread: Duration::from_secs(600),
            seeding: Some(Seeding { min: hour / 4, max: 24 * hour }),
            late: Some((hours, hour)),
            time_max: (hours + 1) * hour,
            timeline_step: hour / 60,
            ..Self::crowd(seed, hosts + hours, 20.0, 20, 4_000_000)
        }
    }

    /// When a host comes that is late, after the others.
    pub(crate) fn late_start(&self, host: u32) -> Option<Duration> {
        let (count, apart) = self.late?;
        let nth = host.checked_sub(self.hosts - count)?;
        Some(self.spread + (nth + 1) * apart)
    }

    /// Whether a host is in the other site than the origin.
    pub(crate) fn is_far(&self, host: u32) -> bool {
        host < self.far
    }

    pub(crate) fn rtt(&self) -> Duration {
        2 * self.latency
    }
}
