//! Runs one scenario and prints what came of it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pkgtorrent_sim::{Scenario, megabits, random_sizes, real_sizes, run};

/// Simulates a crowd of hosts that install the same packages.
///
/// Exits with 1 if a host did not get all that it wanted.
#[derive(Debug, Parser)]
struct Arguments {
    /// All randomness of the run: the same options and seed give the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run so many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Hosts.
    #[arg(long, default_value_t = 20)]
    hosts: u32,
    /// Packages.
    #[arg(long, default_value_t = 60)]
    packages: usize,
    /// Bytes of all packages together, in thousands.
    #[arg(long, default_value_t = 32_000)]
    kilobytes: u64,
    /// The sizes are those of a real repository around this median, in thousands of bytes, whatever they add up to.
    #[arg(long)]
    median_kilobytes: Option<u64>,
    /// With more than one, hosts want different packages: half of them all, and of the others each some.
    #[arg(long, default_value_t = 1)]
    roles: u32,
    /// Instead each role has so many, some of which are nearly everybody's.
    #[arg(long)]
    packages_per_role: Option<usize>,
    /// The rate of all lines, in Mbit/s.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// The rate of the origin's line, in Mbit/s; that of all lines when not given.
    #[arg(long)]
    origin_rate: Option<f64>,
    /// Milliseconds from one host to another.
    #[arg(long, default_value_t = 1.0)]
    latency_ms: f64,
    /// Hosts start within so many seconds.
    #[arg(long, default_value_t = 0.0)]
    spread: f64,
    /// Hosts with a line of a tenth of the rate.
    #[arg(long, default_value_t = 0)]
    stragglers: u32,
    /// Hosts that say they have everything, and send every block wrong.
    #[arg(long, default_value_t = 0)]
    liars: u32,
    /// Hosts that cannot be connected to.
    #[arg(long, default_value_t = 0)]
    firewalled: u32,
    /// Hosts that have everything from the start.
    #[arg(long, default_value_t = 0)]
    seeds: u32,
    /// Their lines are of a tenth of the rate.
    #[arg(long)]
    slow_seeds: bool,
    /// So many hosts vanish.
    #[arg(long, default_value_t = 0)]
    vanish: u32,
    /// When they do, in seconds.
    #[arg(long, default_value_t = 5.0)]
    vanish_at: f64,
    /// When the tracker ends, in seconds.
    #[arg(long)]
    service_dies_at: Option<f64>,
    /// When the web seed ends, in seconds.
    #[arg(long)]
    origin_dies_at: Option<f64>,
    /// So many hosts are in a site of their own.
    #[arg(long, default_value_t = 0)]
    far: u32,
    /// The rate of the line to that site, in Mbit/s.
    #[arg(long, default_value_t = 5.0)]
    link: f64,
    /// The lines of those in the origin's site are of a tenth of the rate.
    #[arg(long)]
    slow_near: bool,
    /// Hosts know nothing of each other.
    #[arg(long)]
    http: bool,
    /// Plans and announces take no time of the origin's line.
    #[arg(long)]
    service_apart: bool,
    /// The tracker leases nothing.
    #[arg(long)]
    no_leases: bool,
    /// What hosts are leased at most, all of them together, in Mbit/s.
    #[arg(long)]
    origin_max_rate: Option<f64>,
    /// Have messages leave at most this often on one connection, in milliseconds.
    #[arg(long, default_value_t = 20.0)]
    haves_interval_ms: f64,
    /// Peers wanted of the tracker.
    #[arg(long)]
    peers_wanted: Option<usize>,
    /// Connections that a host opens itself, for each bundle.
    #[arg(long)]
    dials: Option<usize>,
    /// Swarm setting: links sent to at once.
    #[arg(long)]
    upload_slots: Option<usize>,
    /// Swarm setting: milliseconds of a peer's rate that it is asked for.
    #[arg(long)]
    pipeline_ms: Option<u64>,
    /// Swarm setting: blocks a peer is asked for at least.
    #[arg(long)]
    pipeline_min: Option<usize>,
    /// Swarm setting: web seed connections while there are peers.
    #[arg(long)]
    crowd_connections: Option<usize>,
    /// Swarm setting: milliseconds for which a host waits for its peers.
    #[arg(long)]
    hold_off_ms: Option<u64>,
    /// Swarm setting: milliseconds between reports of a lease.
    #[arg(long)]
    report_ms: Option<u64>,
    /// Check the invariants of a swarm after one of so many events.
    #[arg(long, default_value_t = 0)]
    check_one_in: u32,
    /// Print what happened when, in steps of so many milliseconds.
    #[arg(long)]
    timeline: Option<u64>,
    /// Print the decisions of these hosts.
    #[arg(long)]
    notes: Vec<usize>,
    /// Print the time of each host.
    #[arg(long)]
    each: bool,
    /// End after so many seconds.
    #[arg(long, default_value_t = 3600)]
    time_max: u64,
}

impl Arguments {
    fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = Scenario::crowd(seed, self.hosts, self.rate, self.packages, self.kilobytes * 1000);
        scenario.packages = match self.median_kilobytes {
            Some(median) => real_sizes(self.seed, self.packages, median * 1000),
            None => random_sizes(self.seed, self.packages, self.kilobytes * 1000),
        };
        scenario.roles = self.roles;
        scenario.packages_per_role = self.packages_per_role;
        scenario.origin_up = megabits(self.origin_rate.unwrap_or(self.rate));
        scenario.latency = Duration::from_secs_f64(self.latency_ms / 1000.0);
        scenario.spread = Duration::from_secs_f64(self.spread);
        scenario.stragglers = self.stragglers;
        scenario.liars = self.liars;
        scenario.firewalled = self.firewalled;
        scenario.seeds = self.seeds;
        scenario.are_seeds_slow = self.slow_seeds;
        scenario.vanish = (self.vanish > 0).then(|| (Duration::from_secs_f64(self.vanish_at), self.vanish));
        scenario.service_dies_at = self.service_dies_at.map(Duration::from_secs_f64);
        scenario.origin_dies_at = self.origin_dies_at.map(Duration::from_secs_f64);
        scenario.far = self.far;
        scenario.link = megabits(self.link);
        scenario.are_near_slow = self.slow_near;
        scenario.are_introduced = !self.http;
        scenario.is_service_on_line = !self.service_apart;
        scenario.haves_interval = Duration::from_secs_f64(self.haves_interval_ms / 1000.0);
        scenario.check_one_in = self.check_one_in;
        scenario.time_max = Duration::from_secs(self.time_max);
        scenario.timeline_step = Duration::from_millis(self.timeline.unwrap_or(500));
        scenario.origin_max_rate = self.origin_max_rate.map(megabits);
        if self.no_leases {
            scenario.lease_ttl = Duration::ZERO;
        }
        self.tune(&mut scenario);
        scenario
    }

    fn tune(&self, scenario: &mut Scenario) {
        let swarm = &mut scenario.swarm;
        swarm.upload_slots = self.upload_slots.unwrap_or(swarm.upload_slots);
        swarm.pipeline_time = self.pipeline_ms.map_or(swarm.pipeline_time, Duration::from_millis);
        swarm.pipeline_min = self.pipeline_min.unwrap_or(swarm.pipeline_min);
        swarm.crowd_connections = self.crowd_connections.unwrap_or(swarm.crowd_connections);
        swarm.hold_off = self.hold_off_ms.map_or(swarm.hold_off, Duration::from_millis);
        swarm.report_interval = self.report_ms.map_or(swarm.report_interval, Duration::from_millis);
        scenario.peers_wanted = self.peers_wanted.unwrap_or(scenario.peers_wanted);
        scenario.dials_max = self.dials.unwrap_or(scenario.dials_max);
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut are_all_done = true;
    for seed in arguments.seed..arguments.seed + arguments.runs {
        let outcome = run(&arguments.scenario(seed));
        println!("seed         {seed}");
        print!("{outcome}");
        are_all_done &= outcome.are_all_done();
        if arguments.timeline.is_some() {
            print!("{}", outcome.timeline);
        }
        for (index, host) in outcome.hosts.iter().enumerate().filter(|_| arguments.each) {
            let (peers, origin) = (host.from_peers / 1000, host.from_origin / 1000);
            println!("host {index}: {:?}, {peers} kB from peers, {origin} kB from the origin", host.took);
        }
        for index in &arguments.notes {
            for note in outcome.hosts.get(*index).map_or(&[][..], |host| &host.notes) {
                println!("host {index} at {:.3}: {:?}", note.at.as_secs_f64(), note.what);
            }
        }
    }
    if are_all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
