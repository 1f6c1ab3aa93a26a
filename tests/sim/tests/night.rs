//! What a crowd installs in the evening is still there for who comes in the morning.

use pkgtorrent_sim::{Scenario, run};

#[test]
fn a_set_stays_available_through_a_night() {
    for seed in 1..4 {
        let outcome = run(&Scenario::night(seed, 100, 14));
        assert!(outcome.are_all_done(), "seed {seed}\n{outcome}");
        // One copy for all, and little of another.
        assert!(outcome.copies() <= 1.2, "seed {seed}: many copies\n{outcome}");
        let late: u64 = outcome.hosts[100..].iter().map(|host| host.from_origin).sum();
        let wanted: u64 = outcome.hosts[100..].iter().map(|host| host.useful).sum();
        assert!(late * 20 <= wanted, "seed {seed}: {late} of {wanted} bytes from the origin\n{outcome}");
    }
}
