//! A run is the same each time, so that one that went wrong can be looked at again.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, run};

fn simulate(seed: u64) -> Outcome {
    let mut scenario = Scenario::crowd(7, 20, 20.0, 20, 4_000_000);
    scenario.seed = seed;
    scenario.liars = 2;
    scenario.stragglers = 1;
    scenario.firewalled = 3;
    scenario.spread = Duration::from_secs(1);
    scenario.vanish = Some((Duration::from_secs(1), 4));
    run(&scenario)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(simulate(1), simulate(1));
}

#[test]
fn every_seed_gives_another_run() {
    let runs: Vec<Outcome> = (0..8).map(simulate).collect();
    for (index, run) in runs.iter().enumerate() {
        assert!(!runs[index + 1..].contains(run), "two seeds gave one run");
    }
}
