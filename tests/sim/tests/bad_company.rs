//! Hosts that are slow, lie, or cannot be reached do not hold up the others.

use std::collections::BTreeSet;
use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, run};

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
fn liars_are_banned_by_everybody_who_meets_them_and_cost_little() {
    let honest = simulate(Scenario::install(1, 20)).last();
    let outcome =
        simulate(Scenario { liars: 2, dials_max: 30, dials_in_all: 60, ..Scenario::install(1, 20) });
    assert!(outcome.last().as_secs_f64() <= honest.as_secs_f64() * 1.2, "{outcome}");
    let liars: BTreeSet<u32> =
        (0_u32..).zip(&outcome.hosts).filter(|(_, host)| host.is_liar).map(|(index, _)| index).collect();
    assert_eq!(liars.len(), 2);
    // With so many calls everybody meets both.
    assert!(outcome.ordinary().all(|host| host.banned == liars), "{outcome}");
    assert_eq!(outcome.liars_banned(), 1.0);
}

#[test]
fn a_quarter_of_liars_holds_nobody_up() {
    let outcome = simulate(Scenario { liars: 5, ..Scenario::install(1, 20) });
    assert_soon(&outcome, 1.7);
}

#[test]
fn a_host_with_a_slow_line_slows_no_other_and_is_not_drowned() {
    for seed in 1..6 {
        let outcome = simulate(Scenario { stragglers: 1, ..Scenario::install(seed, 20) });
        assert_soon(&outcome, 1.4);
        let straggler = outcome.hosts.iter().find(|host| host.is_straggler).expect("there is one");
        let took = straggler.took.expect("it is waited for");
        // A tenth of the rate.
        assert!(took < outcome.fluid_floor * 10 * 2, "{took:?}\n{outcome}");
    }
}

#[test]
fn half_of_the_hosts_cannot_be_connected_to() {
    assert_soon(&simulate(Scenario { firewalled: 10, ..Scenario::install(1, 20) }), 1.7);
}

#[test]
fn one_slow_seed_is_no_reason_to_leave_the_origin_alone() {
    let outcome = simulate(Scenario { seeds: 1, are_seeds_slow: true, ..Scenario::install(1, 20) });
    assert_soon(&outcome, 1.4);
    assert!(outcome.copies() <= 1.06, "{outcome}");
}

#[test]
fn a_seed_spares_the_origin() {
    let outcome = simulate(Scenario { seeds: 5, ..Scenario::install(1, 20) });
    assert_soon(&outcome, 1.4);
    assert!(outcome.copies() <= 0.7, "{outcome}");
}
