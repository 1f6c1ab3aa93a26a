//! The scoreboard: one line per figure that the project holds itself to, measured on this machine in this run.
//!
//! *Goals*: both sides of a comparison get the same files, the same warm page cache, the same connections and cores,
//! in turns; every value is the median of several rounds and comes with its spread; an answer that is wrong or an error
//! never counts as a fast one.
//! *Non-goals*: absolute truth. The machine has other things to do, so a value is only worth its spread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Parser, ValueEnum};

mod bench;
mod data;
mod download;
mod exchange;
mod figures;
mod sample;
mod scoreboard;
mod transfer;
mod wrk;

use bench::Bench;
use figures::crowd::{CrowdOptions, Scenario};
use figures::roles::Roles;
use scoreboard::{Scoreboard, Target};

/// Measures what service and agent reach beside what they have to reach.
///
/// Exits with 0 also when a target is missed, unless `--strict` is given; with 1 when something cannot be measured.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    figures: Vec<Figure>,
    /// Exit with 1 when a target is missed.
    #[arg(long)]
    strict: bool,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    crowd: CrowdOptions,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Bundles of packages never seen before, beside openssl.
    Build,
    /// Sets never seen before, made of packages that were.
    Seen,
    /// Sets whose packages live in twenty of five thousand homes.
    Homes,
    /// The service's page in Chromium, with five thousand live swarms.
    Page,
    /// Plans of known sets.
    Plans,
    /// Announces, pure and over HTTP.
    Tracker,
    /// What the reports of ten thousand hosts cost.
    Reports,
    /// The start over 100,000 packages, and the memory they take.
    Catalog,
    /// Files and ranges of files, beside nginx.
    Webseed,
    /// A host's downloads through an agent over a slow line, beside dnf's own.
    Line,
    /// The same over the loopback device.
    Loopback,
    /// A single small package, with an agent and without one, beside dnf's own download.
    Small,
    /// Placing a large package, beside cp and a digest.
    Place,
    /// The memory of an agent that has nothing to do.
    Idle,
    /// `status` of an agent with many packages, and `doctor` where the service is down.
    Tools,
    /// Two agents over the loopback device, beside libtorrent: rate and processor time.
    Pair,
    /// One host alone on a line, beside plain HTTP.
    Alone,
    /// Two hosts, beside plain HTTP.
    Two,
    /// 20 hosts on lines of 20 Mbit/s, beside all foreign clients.
    Crowd,
    /// The same at 50 Mbit/s, where processor time counts too.
    Crowd50,
    /// Hosts that start over ten seconds.
    CrowdSpread,
    /// A set of 4 MB.
    CrowdSmall,
    /// A set of 64 MB in few packages.
    CrowdLarge,
    /// 40 hosts on lines of 10 Mbit/s.
    #[value(name = "crowd-40")]
    Crowd40,
    /// An origin on a line of 4 Mbit/s.
    CrowdSlowOrigin,
    /// A lid of 8 Mbit/s on what all hosts together take from the origin.
    Lid,
    /// A quarter of the hosts lost half-way.
    CrowdLost,
    /// A host on a line of a tenth of the rate.
    CrowdStraggler,
    /// 20 hosts of five roles, each with 60 % of the packages, beside libtorrent with a torrent for each set.
    Roles5,
    /// The same with twenty roles.
    Roles20,
    /// The same in two waves with other roles.
    Waves,
    /// Two sites with a line of 5 Mbit/s between them.
    Sites,
    /// 5,000 hosts of forty roles in the simulator.
    #[value(name = "fleet5k")]
    Fleet5k,
    /// 10,000 hosts in the simulator.
    #[value(name = "crowd10k")]
    Crowd10k,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Seen => "seen",
            Self::Homes => "homes",
            Self::Page => "page",
            Self::Plans => "plans",
            Self::Tracker => "tracker",
            Self::Reports => "reports",
            Self::Catalog => "catalog",
            Self::Webseed => "webseed",
            Self::Line => "line",
            Self::Loopback => "loopback",
            Self::Small => "small",
            Self::Place => "place",
            Self::Idle => "idle",
            Self::Tools => "tools",
            Self::Pair => "pair",
            Self::Alone => "alone",
            Self::Two => "two",
            Self::Crowd => "crowd",
            Self::Crowd50 => "crowd50",
            Self::CrowdSpread => "crowd-spread",
            Self::CrowdSmall => "crowd-small",
            Self::CrowdLarge => "crowd-large",
            Self::Crowd40 => "crowd-40",
            Self::CrowdSlowOrigin => "crowd-slow-origin",
            Self::Lid => "lid",
            Self::CrowdLost => "crowd-lost",
            Self::CrowdStraggler => "crowd-straggler",
            Self::Roles5 => "roles5",
            Self::Roles20 => "roles20",
            Self::Waves => "waves",
            Self::Sites => "sites",
            Self::Fleet5k => "fleet5k",
            Self::Crowd10k => "crowd10k",
        }
    }

    fn measure(self, bench: &Bench, board: &mut Scoreboard, options: &CrowdOptions) -> anyhow::Result<()> {
        let beside_http = figures::crowd::measure_beside_http;
        let crowd = figures::crowd::measure;
        match self {
            Self::Build => figures::build::measure(bench, board),
            Self::Seen => figures::seen::measure(bench, board),
            Self::Homes => figures::homes::measure(bench, board),
            Self::Page => figures::page::measure(bench, board),
            Self::Plans => figures::plans::measure(bench, board),
            Self::Tracker => figures::tracker::measure(bench, board),
            Self::Reports => figures::reports::measure(bench, board),
            Self::Catalog => figures::catalog::measure(bench, board),
            Self::Webseed => figures::webseed::measure(bench, board),
            Self::Line => figures::host::measure_line(bench, board),
            Self::Loopback => figures::host::measure_loopback(bench, board),
            Self::Small => figures::host::measure_small(bench, board),
            Self::Place => figures::place::measure(bench, board),
            Self::Idle => figures::idle::measure(bench, board),
            Self::Tools => figures::tools::measure(bench, board),
            Self::Pair => figures::pair::measure(bench, board),
            Self::Alone => beside_http(bench, board, "alone", 1, Target::Under(1.05)),
            Self::Two => beside_http(bench, board, "two", 2, Target::Under(1.0)),
            Self::Crowd => crowd(bench, board, Scenario::main(), options),
            Self::Crowd50 => crowd(bench, board, Scenario::fast(), options),
            Self::CrowdSpread => crowd(bench, board, Scenario::spread(), options),
            Self::CrowdSmall => crowd(bench, board, Scenario::small(), options),
            Self::CrowdLarge => crowd(bench, board, Scenario::large(), options),
            Self::Crowd40 => crowd(bench, board, Scenario::many(), options),
            Self::CrowdSlowOrigin => crowd(bench, board, Scenario::slow_origin(), options),
            Self::Lid => crowd(bench, board, Scenario::lid(), options),
            Self::CrowdLost => crowd(bench, board, Scenario::lost(), options),
            Self::CrowdStraggler => crowd(bench, board, Scenario::straggler(), options),
            Self::Roles5 => figures::roles::measure(bench, board, &Roles::five()),
            Self::Roles20 => figures::roles::measure(bench, board, &Roles::twenty()),
            Self::Waves => figures::roles::measure(bench, board, &Roles::waves()),
            Self::Sites => figures::sites::measure(bench, board),
            Self::Fleet5k => figures::fleet5k::measure(bench, board),
            Self::Crowd10k => figures::crowd10k::measure(bench, board),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let bench = Bench::prepare(arguments.rounds)?;
    let chosen = match arguments.figures.as_slice() {
        [] => Figure::value_variants(),
        some => some,
    };
    let mut board = Scoreboard::default();
    for figure in chosen {
        eprintln!("{}", figure.name());
        // The test support panics where a test would have failed; the other figures are still worth measuring.
        let outcome = catch_unwind(AssertUnwindSafe(|| figure.measure(&bench, &mut board, &arguments.crowd)));
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("it panicked: see above")));
        if let Err(reason) = outcome {
            board.add_failure(figure.name(), &reason);
        }
    }
    println!("{board}");
    let is_bad = board.has_failures() || (arguments.strict && board.has_misses());
    Ok(ExitCode::from(u8::from(is_bad)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_takes_every_figure_by_its_name_on_the_scoreboard() {
        Arguments::command().debug_assert();
        for figure in Figure::value_variants() {
            let arguments = Arguments::try_parse_from(["bench", figure.name()]);
            assert_eq!(arguments.expect("a figure's name").figures, [*figure]);
        }
        let arguments = ["bench", "crowd", "--hosts", "4", "--clients", "pkgtorrent,super-seeding"];
        assert!(Arguments::try_parse_from(arguments).is_ok());
        assert!(Arguments::try_parse_from(["bench", "crowd", "--clients", "nobody"]).is_err());
    }
}
