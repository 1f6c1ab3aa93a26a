//! A thousand hosts on fast lines.

use pkgtorrent_sim::{Scenario, run};

#[test]
fn a_thousand_hosts() {
    let scenario = Scenario { check_one_in: 50_000, ..Scenario::crowd(1, 1000, 1000.0, 40, 8 << 20) };
    let outcome = run(&scenario);
    assert!(outcome.are_all_done(), "{outcome}");
    assert!(outcome.copies() <= 1.15, "{outcome}");
    assert!(outcome.service_len_per_host() <= 4000.0, "{outcome}");
    assert!(outcome.last_over_floor() <= 2.5, "{outcome}");
}
