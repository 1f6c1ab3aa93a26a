//! Hosts of many roles, whose sets have some packages in common, find those who have what they lack.

use std::time::Duration;

use pkgtorrent_sim::{Scenario, run};

#[test]
fn eight_roles_come_over_half_a_minute() {
    for seed in 1..4 {
        let scenario =
            Scenario { check_one_in: 500, ..Scenario::fleet(seed, 200, 8, Duration::from_secs(24)) };
        let outcome = run(&scenario);
        assert!(outcome.are_all_done(), "seed {seed}\n{outcome}");
        assert!(outcome.median_plan() <= 8, "seed {seed}: plans of many bundles\n{outcome}");
        assert!(outcome.copies() <= 1.1, "seed {seed}: many copies\n{outcome}");
        // Who meets nobody that has what it lacks waits for a hold-off, which is two seconds and more.
        assert!(outcome.last() <= Duration::from_secs(1), "seed {seed}: somebody starves\n{outcome}");
    }
}
