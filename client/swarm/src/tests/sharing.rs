//! Connections are shared out so that none is idle, and none does what another does.

use super::*;

#[test]
fn files_come_side_by_side_in_the_order_of_wanting() {
    let mut host = Host::new().with_files(&[1, 2, 3, 1]);
    assert_eq!(host.want(0, 2), ["r0 s0 f0.2 RRR"]);
    assert_eq!(host.want(0, 0), ["r1 s0 f0.0 R"]);
    assert_eq!(host.want(0, 3), ["r2 s0 f0.3 R"]);
    assert_eq!(host.want(0, 1), NOTHING, "no connection is idle");
    assert_eq!(host.bring_all(1), ["whole f0.0", "r3 s0 f0.1 RR"]);
    assert_eq!(host.bring_all(0), ["whole f0.2"], "nothing is asked for twice");
}

#[test]
fn a_large_file_is_shared_among_idle_connections() {
    let mut host = Host::new().with_files(&[13]);
    assert_eq!(
        host.want(0, 0),
        ["r0 s0 f0.0 RR...........", "r1 s0 f0.0 ..RR.........", "r2 s0 f0.0 ....RR......."]
    );
    assert_eq!(host.bring_all(1), ["r3 s0 f0.0 ......RR....."]);
    assert_eq!(host.bring_all(0), ["r4 s0 f0.0 ........RR..."]);
    assert_eq!(host.picture(0, 0), "####RRRRRR...");
    assert_eq!(
        host.bring_all(2),
        ["r5 s0 f0.0 ..........RRR"],
        "one piece more, rather than one piece alone"
    );
    assert_eq!(host.bring_all(3), NOTHING);
}

#[test]
fn a_large_file_leaves_connections_to_small_ones_and_takes_what_is_left() {
    let mut host =
        Host::with(Settings { origin_connections: 2, range_len_min: 2 * PIECE, ..Settings::default() })
            .with_files(&[9, 1, 1, 8]);
    host.bring_whole(0, 3);
    assert_eq!(host.want(0, 0), ["r3 s0 f0.0 RRR......", "r4 s0 f0.0 ...RRR..."]);
    host.want(0, 1);
    host.want(0, 2);
    assert_eq!(host.bring_all(3), ["r5 s0 f0.1 R"], "it has a request already, and the small ones none");
    assert_eq!(host.bring_all(5), ["whole f0.1", "r6 s0 f0.2 R"]);
    assert_eq!(host.bring_all(6), ["whole f0.2", "r7 s0 f0.0 ......RRR"]);
}

#[test]
fn one_budget_holds_for_all_bundles_and_sources() {
    let mut host = Host::new().with_files(&[1, 1]);
    host.join(1, &[1, 1]);
    host.source(1, &[1], 0);
    host.want(0, 0);
    host.want(1, 0);
    assert_eq!(host.want(1, 1), ["r2 s1 f1.1 R"]);
    assert_eq!(host.want(0, 1), NOTHING);
    assert_eq!(host.bring_all(2), ["whole f1.1", "r3 s0 f0.1 R"]);
}

#[test]
fn missing_pieces_that_lie_together_are_one_request() {
    let mut host = Host::new().with_files(&[1, 9]);
    assert_eq!(
        host.want_having(0, 1, &[1 + 3, 1 + 4, 1 + 7]),
        ["r0 s0 f0.1 RRR......", "r1 s0 f0.1 .....RR..", "r2 s0 f0.1 ........R"]
    );
    assert_eq!(host.picture(0, 1), "RRR##RR#R");
}

#[test]
fn only_wanted_files_are_asked_for_and_no_padding() {
    let mut host = Host::new().with_files(&[2, 2, 2]);
    // Its pieces are the third and fourth of the bundle, so it does not reach into the next file.
    assert_eq!(host.want(0, 1), ["r0 s0 f0.1 RR"]);
    assert_eq!(host.requests[&0], (2, 2));
    assert_eq!(host.bring_all(0), ["whole f0.1"]);
    assert_eq!(host.progress(0, 1), Some(2 * PIECE - 100));
}

#[test]
fn of_files_with_as_many_requests_the_first_wanted_is_asked_for() {
    let mut host = Host::new().with_files(&[20, 20, 8]);
    host.bring_whole(0, 2);
    host.want(0, 1);
    host.want(0, 0);
    assert!(host.bring_all(3)[0].starts_with("r6 s0 f0.0"));
    assert!(host.bring_all(4)[0].starts_with("r7 s0 f0.1"), "each has one request");
}

#[test]
fn who_is_alone_asks_for_two_stretches_one_behind_the_other_and_then_for_what_has_come_and_as_much_again() {
    let mut host =
        Host::with(Settings { origin_connections: 6, ..Settings::default() }).with_files(&[20, 20, 20]);
    assert_eq!(host.want(0, 0), ["r0 s0 f0.0 RRRR................", "r1 s0 f0.0 ....RRRR............"]);
    assert_eq!(host.want(0, 1), NOTHING);
    assert_eq!(host.want(0, 2), NOTHING);
    assert_eq!(
        host.verified(0, 0),
        ["r2 s0 f0.0 ........RRRR........"],
        "no request is for less than a stretch"
    );
    assert_eq!([host.verified(0, 1), host.verified(0, 2), host.verified(0, 3)].concat(), NOTHING);
    assert_eq!(host.end(0, Outcome::Complete), ["r3 s0 f0.0 ............RRRR...."]);
    host.bring_all(1);
    assert_eq!(host.picture(0, 1), "RRRR................", "side by side from now on");
}
