//! Two sites of ten hosts with a thin line between them, the origin in one: how often a set goes over the line, and how
//! near the far site comes to the least time in which it can.

use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Outcome, Rate};

use crate::bench::Bench;
use crate::data::rpms::{Rpms, Transaction};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How many hosts each site has, and what their lines and the one between the sites carry, in Mbit/s.
const HOSTS: usize = 10;
const RATE: f64 = 20.0;
const LINK_RATE: f64 = 5.0;

/// What the line may carry of a set, the heads of all packets included, and the far site take of its floor.
const COPIES_TARGET: f64 = 1.2;
const TIME_TARGET: f64 = 1.4;

/// How often it is measured at most: once takes as long as the line is thin.
const ROUNDS_MAX: u32 = 3;

pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let wanted = Rpms::open(&bench.data, Transaction::Updates)?.wanted()?;
    let lines = Lines::even(2 * HOSTS, Rate::mbit(RATE)).far(HOSTS, Rate::mbit(LINK_RATE));
    let run = |client| -> anyhow::Result<Outcome> {
        let network = Network::new(&lines)?;
        Crowd::new(&network, &wanted, &bench.data).run(client)
    };
    let ours = (0..bench.rounds.min(ROUNDS_MAX)).map(|_| run(Client::Pkgtorrent));
    let ours = ours.collect::<anyhow::Result<Vec<Outcome>>>()?;
    let what = format!("2 x {HOSTS} hosts, {RATE} Mbit/s, {LINK_RATE} Mbit/s between");
    let mut add = |what: String, value: &dyn Fn(&Outcome) -> f64, target| {
        board.add("sites", what, &Sample::new(Unit::Ratio, ours.iter().map(value)), target);
    };
    add(format!("{what}: copies over the line"), &Outcome::crossed_copies, Target::Under(COPIES_TARGET));
    // The far site is done last: its floor is the larger one.
    let far = |outcome: &Outcome| outcome.last().as_secs_f64() / outcome.floor.as_secs_f64();
    add("last host of the far site over its floor".into(), &far, Target::Under(TIME_TARGET));
    let near = |outcome: &Outcome| {
        let last = outcome.hosts[..HOSTS].iter().filter_map(|host| host.took).max().unwrap_or_default();
        let near = Lines { far: None, ..lines.clone() };
        last.as_secs_f64() / near.floor(outcome.bytes).as_secs_f64()
    };
    add("last host of the origin's site over its floor".into(), &near, Target::None);
    let copies = |outcome: &Outcome| outcome.application_copies().unwrap_or(f64::NAN);
    add("copies in the service's answers".into(), &copies, Target::None);
    Ok(())
}
