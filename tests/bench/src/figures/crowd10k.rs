//! Ten thousand hosts in the simulator: the real swarm and tracker, virtual time.
//!
//! Their plans alone take the origin's line longer than the floor is, if they leave by the line that the packages leave
//! by. So the time is told twice: with all of the service's answers on that line, and with them beside it, where the
//! swarm alone counts.

use anyhow::ensure;
use pkgtorrent_sim::{Outcome, Scenario, run};

use crate::bench::Bench;
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How often it is measured at most. A run takes minutes, and the same seed gives the same: a round is another seed.
const ROUNDS_MAX: u32 = 1;

const HOSTS: u32 = 10_000;

/// Those of them that say they have everything and send every block wrong.
const LIARS: u32 = HOSTS / 10;

/// The rate of all lines, in Mbit/s. A host is a millisecond from any other.
const RATE: f64 = 1000.0;

const PACKAGES: usize = 40;

/// All of them together, in bytes.
const SET_LEN: u64 = 8 << 20;

/// One seed's runs.
struct Round {
    on_line: Outcome,
    apart: Outcome,
    with_liars: Outcome,
}

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let rounds = (1..=u64::from(bench.rounds.min(ROUNDS_MAX))).map(|seed| {
        let scenario = Scenario::crowd(seed, HOSTS, RATE, PACKAGES, SET_LEN);
        Ok(Round {
            apart: simulate(&Scenario { is_service_on_line: false, ..scenario.clone() })?,
            with_liars: simulate(&Scenario { liars: LIARS, ..scenario.clone() })?,
            on_line: simulate(&scenario)?,
        })
    });
    report(board, &rounds.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(())
}

fn simulate(scenario: &Scenario) -> anyhow::Result<Outcome> {
    let outcome = run(scenario);
    eprint!("{outcome}");
    ensure!(outcome.are_all_done(), "not every host got its packages");
    Ok(outcome)
}

fn report(board: &mut Scoreboard, rounds: &[Round]) {
    let mut add = |what: &str, unit, target, value: &dyn Fn(&Round) -> f64| {
        board.add("crowd10k", what, &Sample::new(unit, rounds.iter().map(value)), target);
    };
    let over_floor = |outcome: &Outcome| outcome.last().as_secs_f64() / outcome.discrete_floor.as_secs_f64();
    add(
        "10,000 hosts, 1 Gbit/s, 40 packages, 8 MiB: last host over the discrete floor, answers on the origin's line",
        Unit::Ratio,
        Target::Under(1.5),
        &|round| over_floor(&round.on_line),
    );
    add("the same, answers beside it", Unit::Ratio, Target::Under(1.5), &|round| over_floor(&round.apart));
    add("copies of packages", Unit::Ratio, Target::Under(1.1), &|round| round.on_line.copies());
    add("all else that the service sends, a host", Unit::Kilobytes, Target::Under(4.0), &|round| {
        round.on_line.service_len_per_host() / 1e3
    });
    add("a tenth of them liars: last host beside none", Unit::Ratio, Target::Under(1.2), &|round| {
        round.with_liars.last().as_secs_f64() / round.on_line.last().as_secs_f64()
    });
    add("liars that are banned", Unit::Percent, Target::AtLeast(100.0), &|round| {
        round.with_liars.liars_banned() * 100.0
    });
}
