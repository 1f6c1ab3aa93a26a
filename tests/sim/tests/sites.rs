//! Two sites with a line of 5 Mbit/s between them, the origin in one: each piece goes over it about once, and whatever
//! befalls a site, no host starves.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, megabits, run};

fn simulate(mut scenario: Scenario) -> Outcome {
    scenario.check_one_in = 500;
    scenario.time_max = Duration::from_secs(900);
    let outcome = run(&scenario);
    assert!(outcome.are_all_done(), "seed {}\n{outcome}", scenario.seed);
    outcome
}

/// The line carries so many copies at most, and the far site takes at most so many times its own floor.
fn assert_within(outcome: &Outcome, copies_max: f64, far_max: f64) {
    assert!(outcome.link_copies() <= copies_max, "many copies over the line:\n{outcome}");
    assert!(outcome.far_over_floor() <= far_max, "a slow far site:\n{outcome}");
}

/// The project's figure is 1.2 copies, and 1.4 times the floor.
#[test]
fn a_set_goes_over_the_line_once_and_the_origins_site_is_not_held_up() {
    for seed in 1..6 {
        let outcome = simulate(Scenario::two_sites(seed, 10, 10));
        assert_within(&outcome, 1.1, 1.1);
        assert!(outcome.copies() <= 1.1, "the origin is the near site's:\n{outcome}");
        let near = outcome.ordinary().filter(|host| !host.is_far).filter_map(|host| host.took).max();
        assert!(near.expect("near hosts") < outcome.fluid_floor.mul_f64(1.25), "{outcome}");
    }
}

#[test]
fn fifty_hosts_cost_the_line_little_more_than_ten() {
    assert_within(&simulate(Scenario::two_sites(1, 50, 50)), 1.2, 1.2);
}

#[test]
fn hosts_that_come_over_ten_seconds_cost_no_more() {
    let spread = Duration::from_secs(10);
    assert_within(&simulate(Scenario { spread, ..Scenario::two_sites(1, 10, 10) }), 1.1, 1.1);
}

#[test]
fn a_wide_line_holds_up_nobody() {
    let outcome = simulate(Scenario { link: megabits(100.0), ..Scenario::two_sites(1, 10, 10) });
    assert!(outcome.last_over_floor() < 1.4 && outcome.link_copies() < 1.2, "{outcome}");
}

#[test]
fn a_site_whose_neighbours_want_nothing_has_all_from_the_origin() {
    assert_within(&simulate(Scenario::two_sites(1, 0, 10)), 1.1, 1.1);
}

#[test]
fn one_host_in_a_site_of_its_own_is_no_slower() {
    let outcome = simulate(Scenario::two_sites(1, 10, 1));
    assert_within(&outcome, 1.1, 1.1);
    assert!(outcome.copies() < 1.1, "it has all from its peers:\n{outcome}");
}

/// Half of the set is in the far site, or on its way, when all who could bring more are gone.
#[test]
fn who_brought_from_a_site_that_vanishes_turns_to_the_origin() {
    for at in [7, 25] {
        let vanish = Some((Duration::from_secs(at), 10));
        assert_within(&simulate(Scenario { vanish, ..Scenario::two_sites(1, 10, 10) }), 1.2, 1.9);
    }
}

#[test]
fn the_only_host_of_the_origins_site_dies() {
    let vanish = Some((Duration::from_secs(5), 1));
    assert_within(&simulate(Scenario { vanish, ..Scenario::two_sites(1, 1, 10) }), 1.2, 1.5);
}

/// Ten slow lines together carry four times what the line between the sites does.
#[test]
fn slow_hosts_in_the_origins_site_hold_up_nobody_else() {
    let outcome = simulate(Scenario { are_near_slow: true, ..Scenario::two_sites(1, 10, 10) });
    assert_within(&outcome, 1.2, 1.5);
}

/// Its line carries two fifths of what the one between the sites does. It is slower for ever, and it goes on.
#[test]
fn a_slow_host_alone_in_the_origins_site_brings_as_fast_as_it_can() {
    let outcome = simulate(Scenario { are_near_slow: true, ..Scenario::two_sites(1, 1, 10) });
    assert_within(&outcome, 1.2, 2.7);
}

/// The trap: it has everything, so that nobody is to bring anything, and its line is a tenth of the others'.
#[test]
fn a_slow_seed_in_the_far_site_is_not_all_that_its_neighbours_wait_for() {
    let scenario = Scenario { seeds: 1, are_seeds_slow: true, ..Scenario::two_sites(1, 10, 8) };
    assert_within(&simulate(scenario), 1.0, 1.8);
}

#[test]
fn a_seed_in_the_far_site_serves_it_and_costs_the_line_next_to_nothing() {
    let outcome = simulate(Scenario { seeds: 1, ..Scenario::two_sites(1, 10, 8) });
    assert_within(&outcome, 0.2, 0.6);
}

#[test]
fn slow_holders_lose_their_leases() {
    assert_within(&simulate(Scenario { stragglers: 4, ..Scenario::two_sites(1, 10, 10) }), 1.2, 1.4);
}

#[test]
fn without_a_tracker_a_site_goes_on() {
    let service_dies_at = Some(Duration::from_secs(5));
    assert_within(&simulate(Scenario { service_dies_at, ..Scenario::two_sites(1, 10, 10) }), 1.4, 1.4);
}

#[test]
fn without_the_origin_a_site_has_all_from_the_other() {
    let origin_dies_at = Some(Duration::from_secs(16));
    assert_within(&simulate(Scenario { origin_dies_at, ..Scenario::two_sites(1, 10, 10) }), 1.1, 1.1);
}
