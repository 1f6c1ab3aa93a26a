//! Hosts with different sets: each of some roles wants 60 % of the packages, drawn at random. Ours share whatever two of
//! them have in common; beside them libtorrent with one torrent for each set, as in 2014.
//!
//! Copies are those of the union: of what anybody wants, once.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::anyhow;
use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Outcome, Rate, Wanted};

use super::crowd::{ROUNDS_MAX, over, table};
use crate::bench::Bench;
use crate::data::Random;
use crate::data::rpms::{Rpms, Transaction};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

const HOSTS: usize = 20;
const RATE_MBIT: f64 = 20.0;

/// How much of the packages each role wants, in per cent.
const ROLE_PERCENT: usize = 60;

/// How many hosts come in a second wave, with roles of their own, and how long after the others are done.
const SECOND_WAVE_HOSTS: usize = HOSTS / 2;
const SECOND_WAVE_AFTER: Duration = Duration::from_secs(30);

/// What the service may send in all, as copies of the union.
const COPIES_TARGET: f64 = 1.1;

/// What the web seed may send to the second wave of what the first had, as copies of that.
const AGAIN_TARGET: f64 = 0.05;

/// Who wants what.
pub(crate) struct Roles {
    figure: &'static str,
    /// How many there are in a wave. Hosts take them in turns.
    roles: usize,
    has_second_wave: bool,
    time: Target,
}

impl Roles {
    /// Four hosts have the same set.
    pub(crate) fn five() -> Self {
        Self { figure: "roles5", roles: 5, has_second_wave: false, time: Target::Under(1.6) }
    }

    /// No two hosts have the same set.
    pub(crate) fn twenty() -> Self {
        Self { figure: "roles20", roles: 20, has_second_wave: false, time: Target::Under(1.7) }
    }

    /// Half of the hosts come when the others are done and share.
    pub(crate) fn waves() -> Self {
        Self { figure: "waves", roles: 5, has_second_wave: true, time: Target::None }
    }

    fn second_wave(&self) -> usize {
        if self.has_second_wave { SECOND_WAVE_HOSTS } else { 0 }
    }

    /// What each host wants. Every round draws anew.
    fn sets(&self, all: &Wanted, round: u32) -> Vec<Wanted> {
        let mut random = Random::new(u64::from(round) + 1);
        let count = all.packages().len();
        let mut roles = || -> Vec<Wanted> {
            let draw = |_| all.some(random.distinct(count * ROLE_PERCENT / 100, count));
            (0..self.roles).map(draw).collect()
        };
        let (first, second) = (roles(), roles());
        let in_first = HOSTS - self.second_wave();
        let role = |host: usize| if host < in_first { &first } else { &second }[host % self.roles].clone();
        (0..HOSTS).map(role).collect()
    }

    fn run(&self, bench: &Bench, all: &Wanted, sets: &[Wanted], client: Client) -> anyhow::Result<Outcome> {
        let network = Network::new(&Lines::even(HOSTS, Rate::mbit(RATE_MBIT)))?;
        let mut crowd = Crowd::new(&network, all, &bench.data).sets(sets);
        if self.has_second_wave {
            crowd = crowd.second_wave(SECOND_WAVE_HOSTS, SECOND_WAVE_AFTER);
        }
        // The test support panics where a test would have failed; the other client is still worth measuring.
        let outcome = catch_unwind(AssertUnwindSafe(|| crowd.run(client)));
        outcome.unwrap_or_else(|_| Err(anyhow!("it panicked: see above")))
    }
}

/// The packages of several sets, by their places among all.
fn union(all: &Wanted, sets: &[Wanted]) -> BTreeSet<usize> {
    let wanted: BTreeSet<_> =
        sets.iter().flat_map(Wanted::packages).map(|package| package.identity).collect();
    let places = all.packages().iter().enumerate();
    places.filter(|(_, package)| wanted.contains(&package.identity)).map(|(place, _)| place).collect()
}

/// Ours, and what the web seed sent to the second wave of what the first had.
struct Ours {
    outcome: Outcome,
    again: Option<f64>,
}

/// Measures ours in several rounds, and libtorrent in the first.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard, roles: &Roles) -> anyhow::Result<()> {
    let all = Rpms::open(&bench.data, Transaction::Updates)?.wanted()?;
    let (mut ours, mut outcomes) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds.min(ROUNDS_MAX) {
        let sets = roles.sets(&all, round);
        let wanted = all.some(union(&all, &sets));
        let clients: &[Client] =
            if round == 0 { &[Client::Pkgtorrent, Client::Libtorrent] } else { &[Client::Pkgtorrent] };
        for &client in clients {
            match roles.run(bench, &wanted, &sets, client) {
                Ok(outcome) => {
                    if client == Client::Pkgtorrent {
                        let again = sent_again(&all, &sets, &outcome);
                        ours.push(Ours { outcome: outcome.clone(), again });
                    }
                    outcomes.push(outcome);
                }
                Err(reason) => board.add_failure(roles.figure, &reason.context(client.to_string())),
            }
        }
    }
    if !ours.is_empty() {
        report(board, roles, &ours);
    }
    if !outcomes.is_empty() {
        board.add_table(&format!("{}: {HOSTS} hosts", roles.figure), &table(&outcomes));
    }
    Ok(())
}

/// What nobody of the first wave had comes from the web seed once, and is not counted.
fn sent_again(all: &Wanted, sets: &[Wanted], outcome: &Outcome) -> Option<f64> {
    let sent = outcome.second_wave_bytes?;
    let (first, second) = sets.split_at(HOSTS - SECOND_WAVE_HOSTS);
    let (had, wanted) = (union(all, first), union(all, second));
    let new = all.some(wanted.difference(&had).copied()).bytes();
    Some(sent.saturating_sub(new) as f64 / all.some(had).bytes() as f64)
}

fn report(board: &mut Scoreboard, roles: &Roles, ours: &[Ours]) {
    let figure = roles.figure;
    let sample = |value: &dyn Fn(&Ours) -> f64| Sample::new(Unit::Ratio, ours.iter().map(value));
    let what = format!("{HOSTS} hosts, {RATE_MBIT} Mbit/s, {} roles", roles.roles);
    if roles.has_second_wave {
        let again = sample(&|it| it.again.unwrap_or(f64::NAN));
        let what =
            format!("{what}, then {} others: copies by the web seed of what the first had", roles.roles);
        board.add(figure, what, &again, Target::Under(AGAIN_TARGET));
    } else {
        let last = sample(&|it| over(it.outcome.last(), it.outcome.floor));
        board.add(figure, format!("{what}: last host over the floor"), &last, roles.time);
    }
    let copies = sample(&|it| it.outcome.application_copies().unwrap_or(f64::NAN));
    board.add(figure, "copies of the union in the service's answers", &copies, Target::Under(COPIES_TARGET));
}
