//! A crowd: many hosts want the same packages at once, each on a line of its own. How near the last of them comes to
//! the least time there can be, and how many copies that costs the origin, beside what foreign clients reach on the same
//! lines ([`Client`] says what is equal).
//!
//! Copies are counted twice: as bytes of the service's answers, and at the origin's line, where the heads of all packets
//! count as well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Outcome, Rate, Wanted};

use crate::bench::Bench;
use crate::data::rpms::{Rpms, Transaction};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How often our own crowd is measured at most: each takes as long as the lines are slow, and not as long as the machine.
pub(super) const ROUNDS_MAX: u32 = 3;

/// What hosts may say to each other beside blocks of packages, as a part of those, in per cent.
const MESSAGES_TARGET: f64 = 2.0;

/// What a host's process may take in a crowd, in megabytes.
const MEMORY_TARGET_MB: f64 = 60.0;

/// For how long the web seed may send at most so many times what the lid allows.
const LID_WINDOW: Duration = Duration::from_secs(5);
const LID_TARGET: f64 = 1.1;

/// The same figures under other circumstances.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Other crowds than the usual ones")]
pub(crate) struct CrowdOptions {
    /// So many hosts.
    #[arg(long)]
    hosts: Option<usize>,
    /// Lines that carry so many Mbit/s.
    #[arg(long, value_name = "MBIT")]
    rate: Option<f64>,
    /// Another rate for the origin's line.
    #[arg(long, value_name = "MBIT")]
    origin_rate: Option<f64>,
    /// A lid on what all hosts together take from the origin.
    #[arg(long, value_name = "MBIT")]
    lid: Option<f64>,
    /// Another rate for the first host's line.
    #[arg(long, value_name = "MBIT")]
    straggler: Option<f64>,
    /// Other packages.
    #[arg(long, value_enum)]
    packages: Option<Transaction>,
    /// The hosts start over so many seconds.
    #[arg(long, value_name = "SECONDS")]
    spread: Option<f64>,
    /// So many hosts are lost half-way.
    #[arg(long, value_name = "HOSTS")]
    lost: Option<usize>,
    /// Who is measured: pkgtorrent, http, aria2, libtorrent, super-seeding, rqbit.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<Client>,
}

/// A crowd and what is asked of it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    figure: &'static str,
    hosts: usize,
    rate: f64,
    origin_rate: Option<f64>,
    lid: Option<f64>,
    straggler: Option<f64>,
    packages: Transaction,
    spread: Duration,
    lost: usize,
    clients: Vec<Client>,
    time: Target,
    copies: Target,
}

impl Scenario {
    /// 20 hosts on lines of 20 Mbit/s want a host's monthly updates. Ours alone, without targets.
    fn new(figure: &'static str) -> Self {
        Self {
            figure,
            hosts: 20,
            rate: 20.0,
            origin_rate: None,
            lid: None,
            straggler: None,
            packages: Transaction::Updates,
            spread: Duration::ZERO,
            lost: 0,
            clients: vec![Client::Pkgtorrent],
            time: Target::None,
            copies: Target::None,
        }
    }

    /// The main measure, beside everybody else.
    pub(crate) fn main() -> Self {
        let clients = Client::ALL.to_vec();
        Self { clients, time: Target::Under(1.4), copies: Target::Under(1.06), ..Self::new("crowd") }
    }

    /// The same where processor time counts too.
    pub(crate) fn fast() -> Self {
        let clients = Client::ALL.to_vec();
        let time = Target::Under(1.7);
        Self { rate: 50.0, clients, time, copies: Target::Under(1.06), ..Self::new("crowd50") }
    }

    /// Shapes that are harder than the main one.
    fn hard(figure: &'static str) -> Self {
        Self { time: Target::Under(1.7), copies: Target::Under(1.15), ..Self::new(figure) }
    }

    /// Not all start at once.
    pub(crate) fn spread() -> Self {
        Self { spread: Duration::from_secs(10), ..Self::hard("crowd-spread") }
    }

    /// A small set.
    pub(crate) fn small() -> Self {
        Self { packages: Transaction::Few, ..Self::hard("crowd-small") }
    }

    /// A large set.
    pub(crate) fn large() -> Self {
        Self { packages: Transaction::Large, ..Self::hard("crowd-large") }
    }

    /// More hosts on slower lines.
    pub(crate) fn many() -> Self {
        Self { hosts: 40, rate: 10.0, ..Self::hard("crowd-40") }
    }

    /// An origin that is slower than any host.
    pub(crate) fn slow_origin() -> Self {
        Self { origin_rate: Some(4.0), ..Self::hard("crowd-slow-origin") }
    }

    /// A lid on the origin far below its line.
    pub(crate) fn lid() -> Self {
        Self { lid: Some(8.0), time: Target::Under(1.5), ..Self::new("lid") }
    }

    /// A quarter of the hosts is lost half-way.
    pub(crate) fn lost() -> Self {
        Self { lost: 5, time: Target::Under(2.0), ..Self::new("crowd-lost") }
    }

    /// A host with a tenth of the rate slows no other.
    pub(crate) fn straggler() -> Self {
        Self { straggler: Some(2.0), time: Target::Under(1.4), ..Self::new("crowd-straggler") }
    }

    /// The same under other circumstances.
    fn with(mut self, options: &CrowdOptions) -> Self {
        self.hosts = options.hosts.unwrap_or(self.hosts);
        self.rate = options.rate.unwrap_or(self.rate);
        self.origin_rate = options.origin_rate.or(self.origin_rate);
        self.lid = options.lid.or(self.lid);
        self.straggler = options.straggler.or(self.straggler);
        self.packages = options.packages.unwrap_or(self.packages);
        self.spread = options.spread.map_or(self.spread, Duration::from_secs_f64);
        self.lost = options.lost.unwrap_or(self.lost);
        if !options.clients.is_empty() {
            self.clients.clone_from(&options.clients);
        }
        self
    }

    fn lines(&self) -> Lines {
        let rate = Rate::mbit(self.rate);
        let lines = Lines::even(self.hosts, rate).origin(Rate::mbit(self.origin_rate.unwrap_or(self.rate)));
        match self.straggler {
            Some(rate) => lines.straggler(Rate::mbit(rate)),
            None => lines,
        }
    }

    fn describe(&self, wanted: &Wanted) -> String {
        let (count, megabytes) = (wanted.packages().len(), wanted.bytes() as f64 / 1e6);
        let mut text =
            format!("{} hosts, {} Mbit/s, {count} packages, {megabytes:.0} MB", self.hosts, self.rate);
        if let Some(rate) = self.origin_rate {
            text.push_str(&format!(", origin {rate} Mbit/s"));
        }
        if let Some(rate) = self.lid {
            text.push_str(&format!(", lid {rate} Mbit/s"));
        }
        if let Some(rate) = self.straggler {
            text.push_str(&format!(", one host {rate} Mbit/s"));
        }
        if !self.spread.is_zero() {
            text.push_str(&format!(", over {} s", self.spread.as_secs_f64()));
        }
        if self.lost > 0 {
            text.push_str(&format!(", {} lost", self.lost));
        }
        text
    }

    fn run(&self, bench: &Bench, wanted: &Wanted, client: Client) -> anyhow::Result<Outcome> {
        let network = Network::new(&self.lines())?;
        let crowd = Crowd::new(&network, wanted, &bench.data).spread(self.spread).lose(self.lost);
        let crowd = crowd.lid(self.lid.map(Rate::mbit));
        // The test support panics where a test would have failed; the other clients are still worth measuring.
        let outcome = catch_unwind(AssertUnwindSafe(|| crowd.run(client)));
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("it panicked: see above")))?;
        eprintln!("  {}", Row(&outcome));
        Ok(outcome)
    }

    /// The last host's time over the floor. A straggler is left out of both: it is to slow no other.
    fn last_over_floor(&self, outcome: &Outcome) -> f64 {
        if self.straggler.is_none() {
            return over(outcome.last(), outcome.floor);
        }
        let others = Lines { hosts: self.lines().hosts.split_off(1), ..self.lines() };
        let last = outcome.hosts[1..].iter().filter_map(|host| host.took).max().unwrap_or_default();
        over(last, others.floor(outcome.bytes))
    }
}

pub(super) fn over(time: Duration, floor: Duration) -> f64 {
    time.as_secs_f64() / floor.as_secs_f64()
}

/// Measures one crowd, under other circumstances if some are given.
pub(crate) fn measure(
    bench: &Bench,
    board: &mut Scoreboard,
    scenario: Scenario,
    options: &CrowdOptions,
) -> anyhow::Result<()> {
    let scenario = scenario.with(options);
    let wanted = Rpms::open(&bench.data, scenario.packages)?.wanted()?;
    let what = scenario.describe(&wanted);
    let mut outcomes = Vec::new();
    for &client in &scenario.clients {
        let rounds = if client == Client::Pkgtorrent { bench.rounds.min(ROUNDS_MAX) } else { 1 };
        if client == Client::Rqbit {
            bench.build_rqbit()?;
        }
        for _ in 0..rounds {
            match scenario.run(bench, &wanted, client) {
                Ok(outcome) => outcomes.push(outcome),
                Err(reason) => board.add_failure(scenario.figure, &reason.context(client.to_string())),
            }
        }
    }
    report(board, &scenario, &what, &outcomes);
    if !outcomes.is_empty() {
        board.add_table(&format!("{}: {what}", scenario.figure), &table(&outcomes));
    }
    Ok(())
}

fn report(board: &mut Scoreboard, scenario: &Scenario, what: &str, outcomes: &[Outcome]) {
    let figure = scenario.figure;
    let ours: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.client == Client::Pkgtorrent).collect();
    if ours.is_empty() {
        return;
    }
    let sample =
        |unit, value: &dyn Fn(&Outcome) -> f64| Sample::new(unit, ours.iter().map(|&outcome| value(outcome)));
    let last = sample(Unit::Ratio, &|outcome| scenario.last_over_floor(outcome));
    board.add(figure, format!("{what}: last host over the floor"), &last, scenario.time);
    let copies = sample(Unit::Ratio, &|outcome| outcome.application_copies().unwrap_or(f64::NAN));
    board.add(figure, "copies in the service's answers", &copies, scenario.copies);
    let copies = sample(Unit::Ratio, &Outcome::copies);
    board.add(figure, "copies at the origin's line", &copies, Target::None);
    if let Some(lid) = scenario.lid {
        let most = |outcome: &Outcome| outcome.web_seed.rate_max(LID_WINDOW).unwrap_or(f64::NAN);
        let over = sample(Unit::Ratio, &|outcome| most(outcome) / Rate::mbit(lid).bytes_per_second());
        let what = "the most that the web seed sent in five seconds, over the lid";
        board.add(figure, what, &over, Target::Under(LID_TARGET));
    }
    let messages = sample(Unit::Percent, &|outcome| 100.0 * outcome.messages_share().unwrap_or(f64::NAN));
    board.add(figure, "messages between hosts, of what they gave", &messages, Target::Under(MESSAGES_TARGET));
    let memory = sample(Unit::Megabytes, &|outcome| outcome.peak_memory() as f64 / 1e6);
    board.add(figure, "most memory of a process", &memory, Target::Under(MEMORY_TARGET_MB));
    let libtorrent = outcomes.iter().find(|outcome| outcome.client == Client::Libtorrent);
    if let Some(libtorrent) = libtorrent {
        // Ours has the check of every digest and the copy that is placed in it.
        let ratio = sample(Unit::Ratio, &|outcome| cpu_seconds(outcome) / cpu_seconds(libtorrent));
        board.add(figure, "processor time beside libtorrent's", &ratio, Target::None);
    }
}

fn cpu_seconds(outcome: &Outcome) -> f64 {
    outcome.cpu_seconds + outcome.origin_cpu_seconds
}

/// One host alone, and two, beside plain HTTP with as many connections.
pub(crate) fn measure_beside_http(
    bench: &Bench,
    board: &mut Scoreboard,
    figure: &'static str,
    hosts: usize,
    target: Target,
) -> anyhow::Result<()> {
    let scenario = Scenario { hosts, ..Scenario::new(figure) };
    let wanted = Rpms::open(&bench.data, scenario.packages)?.wanted()?;
    let last = |client| Ok(scenario.run(bench, &wanted, client)?.last().as_secs_f64());
    let pairs = bench.alternate(|| last(Client::Pkgtorrent), || last(Client::Http))?;
    let what = scenario.describe(&wanted);
    let ratio = Sample::new(Unit::Ratio, pairs.iter().map(|(ours, theirs)| ours / theirs));
    board.add(figure, format!("{what}: last host beside plain HTTP"), &ratio, target);
    let theirs = Sample::new(Unit::Seconds, pairs.iter().map(|(_, theirs)| *theirs));
    board.add(figure, format!("{what}: plain HTTP"), &theirs, Target::None);
    Ok(())
}

/// A line of the table.
struct Row<'a>(&'a Outcome);

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = self.0;
        let sent = outcome.application_copies().map_or("-".into(), |copies| format!("{copies:.2}"));
        write!(
            f,
            "{:26}  {:>6.2} s {:>6.2}x  {:>5.2}x  {:>7.2}  {:>8}  {:>4.0} %  {:>6.1} s  {:>6.0} MB",
            outcome.client,
            outcome.last().as_secs_f64(),
            over(outcome.last(), outcome.floor),
            over(outcome.median(), outcome.floor),
            outcome.copies(),
            sent,
            outcome.share_from_peers() * 100.0,
            cpu_seconds(outcome),
            outcome.peak_memory() as f64 / 1e6,
        )
    }
}

/// Everybody's outcomes, times as multiples of the floor.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:26}  {:>8} {:>7}  {:>6}  {:>7}  {:>8}  {:>6}  {:>8}  {:>9}\n",
        "who", "last", "/floor", "median", "copies", "answers", "peers", "CPU", "memory"
    );
    for outcome in outcomes {
        text.push_str(&format!("{}\n", Row(outcome)));
    }
    text
}
