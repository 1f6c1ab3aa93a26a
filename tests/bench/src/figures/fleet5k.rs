//! Five thousand hosts of forty roles in the simulator, that come over ten minutes.

use std::time::Duration;

use anyhow::ensure;
use pkgtorrent_sim::{Outcome, Scenario, run};

use crate::bench::Bench;
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// A run takes minutes, and the same seed gives the same: it is measured once.
const SEED: u64 = 1;

const HOSTS: u32 = 5000;

const ROLES: u32 = 40;

const ARRIVING: Duration = Duration::from_secs(600);

/// Measures the figure.
pub(crate) fn measure(_bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let outcome = run(&Scenario::fleet(SEED, HOSTS, ROLES, ARRIVING));
    eprint!("{outcome}");
    ensure!(outcome.are_all_done(), "not every host got its packages");
    report(board, &outcome);
    Ok(())
}

fn report(board: &mut Scoreboard, outcome: &Outcome) {
    let mut add = |what: &str, unit, value: f64, target| {
        board.add("fleet5k", what, &Sample::new(unit, [value]), target);
    };
    let what = "5,000 hosts, 40 roles of 50 packages, 1 Gbit/s, 10 minutes: copies of the union";
    add(what, Unit::Ratio, outcome.copies(), Target::Under(1.1));
    add("from peers", Unit::Percent, outcome.from_peers() * 100.0, Target::AtLeast(97.0));
    // Eight are allowed.
    add("bundles in the median plan", Unit::Number, outcome.median_plan() as f64, Target::Under(9.0));
    add("median host", Unit::Milliseconds, outcome.median().as_secs_f64() * 1e3, Target::None);
    add("last host", Unit::Seconds, outcome.last().as_secs_f64(), Target::None);
}
