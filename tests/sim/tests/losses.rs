//! Whatever is lost on the way, each host gets all that it wanted, and soon.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, run};
use pkgtorrent_swarm::Seeding;

fn simulate(mut scenario: Scenario) -> Outcome {
    scenario.check_one_in = 500;
    scenario.time_max = Duration::from_secs(600);
    let outcome = run(&scenario);
    assert!(outcome.are_all_done(), "seed {}\n{outcome}", scenario.seed);
    outcome
}

fn assert_soon(outcome: &Outcome, last_max: f64) {
    assert!(outcome.last_over_floor() <= last_max, "slow:\n{outcome}");
}

#[test]
fn a_quarter_of_the_hosts_vanishes() {
    for seed in 1..4 {
        let vanish = Some((Duration::from_secs(7), 5));
        assert_soon(&simulate(Scenario { vanish, ..Scenario::install(seed, 20) }), 2.0);
    }
}

#[test]
fn half_of_the_hosts_vanishes() {
    let vanish = Some((Duration::from_secs(7), 10));
    assert_soon(&simulate(Scenario { vanish, ..Scenario::install(1, 20) }), 2.0);
}

#[test]
fn half_of_the_hosts_vanishes_with_tracker_and_info_dictionaries() {
    let (vanish, dies_at) = (Some((Duration::from_secs(7), 10)), Some(Duration::from_secs(7)));
    assert_soon(&simulate(Scenario { vanish, service_dies_at: dies_at, ..Scenario::install(1, 20) }), 2.0);
}

#[test]
fn the_tracker_dies() {
    for at in [1, 3, 8] {
        let service_dies_at = Some(Duration::from_secs(at));
        assert_soon(&simulate(Scenario { service_dies_at, ..Scenario::install(1, 20) }), 1.7);
    }
}

#[test]
fn the_service_dies_once_the_plans_are_out() {
    let service_dies_at = Some(Duration::from_millis(150));
    assert_soon(&simulate(Scenario { service_dies_at, ..Scenario::install(1, 20) }), 2.0);
}

#[test]
fn the_origin_dies_and_peers_have_everything() {
    let scenario = Scenario {
        seeds: 2,
        origin_dies_at: Some(Duration::from_secs(3)),
        service_dies_at: Some(Duration::from_secs(4)),
        ..Scenario::install(1, 20)
    };
    assert_soon(&simulate(scenario), 2.0);
}

#[test]
fn without_peers_that_have_everything_a_dead_origin_is_given_up_and_not_waited_for() {
    let origin_dies_at = Some(Duration::from_secs(3));
    let scenario =
        Scenario { origin_dies_at, time_max: Duration::from_secs(120), ..Scenario::install(1, 20) };
    let outcome = run(&scenario);
    assert!(outcome.ordinary().all(|host| host.took.is_some()), "somebody waits for ever\n{outcome}");
    assert!(outcome.ordinary().all(|host| host.given_up > 0));
}

#[test]
fn hosts_leave_when_they_are_done() {
    let (spread, time) = (Duration::from_secs(60), Duration::from_secs(2));
    let seeding = Some(Seeding { min: time, max: time });
    assert_soon(&simulate(Scenario { spread, seeding, ..Scenario::install(1, 20) }), 2.0);
}
