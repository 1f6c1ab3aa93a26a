//! Where peers are of no use, the crowd is as fast as plain HTTP.

use std::time::Duration;

use pkgtorrent_sim::{Outcome, Scenario, run};

fn simulate(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    assert!(outcome.are_all_done(), "{outcome}");
    outcome
}

#[test]
fn one_host_alone_takes_what_its_line_takes() {
    for (packages, len) in [(1, 30_000), (20, 4_000_000), (60, 32_000_000)] {
        let scenario = Scenario { check_one_in: 1, ..Scenario::crowd(1, 1, 20.0, packages, len) };
        let alone = simulate(&scenario);
        let http = simulate(&Scenario { are_introduced: false, ..scenario });
        assert!(alone.last().as_secs_f64() <= http.last().as_secs_f64() * 1.05, "{alone}{http}");
        assert_eq!(alone.origin_len, alone.set_len, "each byte came once");
    }
}

#[test]
fn a_few_hosts_are_never_slower_than_http() {
    for hosts in [2, 3, 5] {
        for (packages, len) in [(1, 30_000), (3, 300_000), (20, 4_000_000), (60, 32_000_000)] {
            let scenario = Scenario { check_one_in: 10, ..Scenario::crowd(1, hosts, 20.0, packages, len) };
            let together = simulate(&scenario);
            let http = simulate(&Scenario { are_introduced: false, ..scenario });
            // What has one piece only cannot be shared before it is whole.
            let piece = Duration::from_millis(20);
            assert!(
                together.last() <= http.last() + piece,
                "{hosts} hosts, {packages} packages\n{together}{http}"
            );
        }
    }
}

#[test]
fn hosts_that_cannot_reach_each_other_are_as_fast_as_http() {
    let scenario = Scenario { firewalled: 4, ..Scenario::crowd(1, 4, 20.0, 20, 4_000_000) };
    let together = simulate(&scenario);
    let http = simulate(&Scenario { are_introduced: false, ..scenario });
    // They wait for peers that do not come before each helps itself: up to half of the hold-off longer.
    let hold_off = scenario_hold_off() * 3 / 2;
    assert!(together.last() <= http.last() * 6 / 5 + hold_off, "{together}{http}");
}

fn scenario_hold_off() -> Duration {
    Scenario::install(1, 1).swarm.hold_off
}
