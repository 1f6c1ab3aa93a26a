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
        let [on_line, apart, with_liars] = simulate([
            scenario.clone(),
            Scenario { is_service_on_line: false, ..scenario.clone() },
            Scenario { liars: LIARS, ..scenario },
        ])?;
        Ok(Round { on_line, apart, with_liars })
    });
    report(board, &rounds.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(())
}

/// Virtual time is not disturbed by what else the machine does: they run side by side.
fn simulate<const COUNT: usize>(scenarios: [Scenario; COUNT]) -> anyhow::Result<[Outcome; COUNT]> {
    let outcomes = std::thread::scope(|scope| {
        let runs = scenarios.map(|scenario| scope.spawn(move || run(&scenario)));
        runs.map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for outcome in &outcomes {
        eprint!("{outcome}");
        ensure!(outcome.are_all_done(), "not every host got its packages");
    }
    Ok(outcomes)
}

fn report(board: &mut Scoreboard, rounds: &[Round]) {
    let mut add = |what: &str, unit, target, value: &dyn Fn(&Round) -> f64| {
        board.add("crowd10k", what, &Sample::new(unit, rounds.iter().map(value)), target);
    };
    let over_floor = |outcome: &Outcome| outcome.last().as_secs_f64() / outcome.discrete_floor.as_secs_f64();
    add(
        "10,000 hosts, 1 Gbit/s, 40 packages, 8 MiB: last host over the discrete floor",
        Unit::Ratio,
        Target::Under(1.5),
        &|round| over_floor(&round.on_line),
    );
    add("copies of packages", Unit::Ratio, Target::Under(1.1), &|round| round.on_line.copies());
    let what = "answers beside the line: last host over the discrete floor";
    add(what, Unit::Ratio, Target::Under(1.5), &|round| over_floor(&round.apart));
    let what = "answers beside the line: copies of packages";
    add(what, Unit::Ratio, Target::Under(1.1), &|round| round.apart.copies());
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
