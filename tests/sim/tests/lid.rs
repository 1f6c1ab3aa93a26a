//! Under a lid the hosts together take no more of the origin than it allows, and are done soon after it could have sent one
//! copy; whatever breaks, each of them is done in the end.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, megabits, run};

const LID: f64 = 8.0;

/// The figure's crowd: 20 hosts and 32 MB on lines of 20 Mbit/s.
fn lidded(seed: u64) -> Scenario {
    Scenario { origin_max_rate: Some(megabits(LID)), check_one_in: 500, ..Scenario::install(seed, 20) }
}

fn simulate(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    assert!(outcome.are_all_done(), "seed {}\n{outcome}", scenario.seed);
    outcome
}

/// The last host's time over that in which one copy of all can be sent.
fn over_floor(outcome: &Outcome) -> f64 {
    outcome.last_done.as_secs_f64() / (outcome.set_len as f64 / megabits(LID) as f64)
}

fn assert_under_lid(outcome: &Outcome, over: f64) {
    let rate = outcome.origin_rate_max() / megabits(LID) as f64;
    assert!(rate <= over, "{rate} x the lid in five seconds:\n{outcome}");
}

#[test]
fn the_origin_sends_no_more_than_the_lid_and_the_crowd_is_done_with_it() {
    for seed in 1..4 {
        let outcome = simulate(&lidded(seed));
        assert_under_lid(&outcome, 1.1);
        assert!(over_floor(&outcome) <= 1.2, "slow:\n{outcome}");
        assert!(outcome.copies() <= 1.01, "more than one copy:\n{outcome}");
    }
}

#[test]
fn hosts_that_come_over_ten_seconds_share_the_lid() {
    let outcome = simulate(&Scenario { spread: Duration::from_secs(10), ..lidded(1) });
    assert_under_lid(&outcome, 1.1);
    assert!(over_floor(&outcome) <= 1.25, "slow:\n{outcome}");
}

#[test]
fn hosts_of_several_roles_share_the_lid() {
    let outcome = simulate(&Scenario { roles: 5, ..lidded(1) });
    assert_under_lid(&outcome, 1.1);
    assert!(over_floor(&outcome) <= 1.4, "slow:\n{outcome}");
}

#[test]
fn a_fast_lid_is_used_by_a_large_crowd() {
    let lid = megabits(100.0);
    let scenario = Scenario { origin_max_rate: Some(lid), ..Scenario::crowd(1, 100, 1000.0, 60, 50_000_000) };
    let outcome = simulate(&scenario);
    assert!(outcome.origin_rate_max() <= 1.1 * lid as f64, "{outcome}");
    assert!(outcome.last_done.as_secs_f64() <= 1.5 * outcome.set_len as f64 / lid as f64, "slow:\n{outcome}");
}

#[test]
fn a_host_alone_is_not_held_back() {
    let alone = Scenario { hosts: 1, ..lidded(1) };
    let outcome = simulate(&alone);
    assert!(outcome.last_over_floor() <= 1.05, "{outcome}");
}

#[test]
fn without_the_tracker_hosts_keep_about_to_the_lid_and_are_done() {
    for at in [1, 10] {
        let outcome = simulate(&Scenario { service_dies_at: Some(Duration::from_secs(at)), ..lidded(1) });
        assert_under_lid(&outcome, 1.5);
        assert!(over_floor(&outcome) <= 2.5, "slow:\n{outcome}");
    }
}

#[test]
fn hosts_that_reach_nobody_take_turns() {
    let scenario = Scenario { firewalled: 20, packages: lidded(1).packages[..10].to_vec(), ..lidded(1) };
    let outcome = simulate(&scenario);
    assert_under_lid(&outcome, 1.1);
    assert!(over_floor(&outcome) <= 20.0 * 1.5, "each takes a copy:\n{outcome}");
}

#[test]
fn half_of_the_hosts_vanishes_with_what_they_were_leased() {
    let outcome = simulate(&Scenario { vanish: Some((Duration::from_secs(10), 10)), ..lidded(1) });
    assert_under_lid(&outcome, 1.1);
    assert!(over_floor(&outcome) <= 1.5, "slow:\n{outcome}");
}
