//! A crowd that wants the same packages costs the origin about one copy, and its last host is done soon after the line
//! of the origin could have sent one.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, megabits, run};

/// One event in so many is followed by a check of everything that must hold inside the swarm.
const CHECK_ONE_IN: u32 = 500;

fn simulate(mut scenario: Scenario) -> Outcome {
    scenario.check_one_in = CHECK_ONE_IN;
    let outcome = run(&scenario);
    assert!(outcome.are_all_done(), "seed {}\n{outcome}", scenario.seed);
    outcome
}

fn assert_close(outcome: &Outcome, last_max: f64, copies_max: f64) {
    assert!(outcome.last_over_floor() <= last_max, "slow:\n{outcome}");
    assert!(outcome.copies_with_all() <= copies_max, "too many copies:\n{outcome}");
    assert!(outcome.overhead() <= 0.02, "too many messages:\n{outcome}");
}

#[test]
fn twenty_hosts_at_once() {
    for seed in 1..4 {
        assert_close(&simulate(Scenario::install(seed, 20)), 1.4, 1.06);
    }
}

#[test]
fn starts_spread_over_ten_seconds() {
    let spread = Duration::from_secs(10);
    assert_close(&simulate(Scenario { spread, ..Scenario::install(1, 20) }), 1.7, 1.15);
}

#[test]
fn a_small_set() {
    assert_close(&simulate(Scenario::crowd(1, 20, 20.0, 20, 4_000_000)), 1.7, 1.15);
}

#[test]
fn few_large_packages() {
    assert_close(&simulate(Scenario::crowd(1, 20, 20.0, 10, 64_000_000)), 1.7, 1.15);
}

#[test]
fn more_hosts_with_slower_lines() {
    assert_close(&simulate(Scenario::crowd(1, 40, 10.0, 60, 32_000_000)), 1.7, 1.15);
}

#[test]
fn a_slow_origin() {
    assert_close(&simulate(Scenario { origin_up: megabits(4.0), ..Scenario::install(1, 20) }), 1.7, 1.15);
}

#[test]
fn faster_lines() {
    assert_close(&simulate(Scenario::crowd(1, 20, 50.0, 60, 32_000_000)), 1.7, 1.06);
}

#[test]
fn a_distant_crowd() {
    let latency = Duration::from_millis(25);
    assert_close(&simulate(Scenario { latency, ..Scenario::install(1, 20) }), 1.7, 1.15);
}

#[test]
fn hosts_that_want_different_packages() {
    assert_close(&simulate(Scenario { roles: 4, ..Scenario::install(1, 20) }), 1.4, 1.06);
}
