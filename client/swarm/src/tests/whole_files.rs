//! A file is reported whole once, when all its pieces are here, however they came.

use super::*;

#[test]
fn a_file_that_is_here_already_is_whole_at_once() {
    let mut host = Host::new().with_files(&[2, 2]);
    assert_eq!(host.want_having(0, 1, &[2, 3, 0, 99]), ["whole f0.1"]);
    assert_eq!(host.progress(0, 1), Some(2 * PIECE - 100));
    assert_eq!(host.want_having(0, 1, &[2, 3]), NOTHING, "once");
}

#[test]
fn a_file_that_is_wanted_twice_is_fetched_once() {
    let mut host = Host::new().with_files(&[2]);
    host.want(0, 0);
    assert_eq!(host.want(0, 0), NOTHING);
    assert_eq!(host.want_having(0, 0, &[1]), NOTHING);
    assert_eq!(host.picture(0, 0), "R#");
    assert_eq!(host.verified(0, 0), ["whole f0.0"]);
    assert_eq!(host.verified(0, 1), NOTHING);
    assert_eq!(host.end(0, Outcome::Complete), NOTHING);
}

#[test]
fn the_connection_is_busy_until_the_request_ended() {
    let mut host = Host::with(Settings { origin_connections: 1, ..Settings::default() }).with_files(&[1, 1]);
    host.want(0, 0);
    host.want(0, 1);
    assert_eq!(host.verified(0, 0), ["whole f0.0"]);
    assert_eq!(host.end(0, Outcome::Complete), ["r1 s0 f0.1 R"]);
}

#[test]
fn a_bad_end_after_the_last_piece_is_no_failure() {
    let mut host = Host::new().with_files(&[1, 1]);
    host.want(0, 0);
    assert_eq!(host.bring(0, "#", Outcome::Broken), ["whole f0.0"]);
    assert_eq!(host.want(0, 1), ["r1 s0 f0.1 R"], "the source does not back off");
}

#[test]
fn a_piece_of_a_cancelled_request_is_right_all_the_same() {
    let mut host = Host::new().with_files(&[5]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    assert_eq!(host.source_gone(0), ["cancel r0", "cancel r1", "r2 s1 f0.0 RR...", "r3 s1 f0.0 ..RRR"]);
    host.verified(0, 0);
    assert_eq!(host.picture(0, 0), "#RRRR");
    host.corrupt(0, 1);
    assert_eq!(host.picture(0, 0), "#RRRR");
    host.verified(2, 1);
    host.verified(3, 2);
    host.verified(3, 3);
    assert_eq!(host.verified(1, 4), ["whole f0.0"]);
    assert_eq!(host.end(3, Outcome::Complete), NOTHING);
}

#[test]
fn progress_counts_bytes_of_the_file() {
    let mut host = Host::new().with_files(&[2]);
    assert_eq!(host.progress(0, 0), None);
    host.want(0, 0);
    assert_eq!(host.progress(0, 0), Some(0));
    host.verified(0, 1);
    assert_eq!(host.progress(0, 0), Some(PIECE - 100));
}

#[test]
fn a_piece_that_the_request_was_not_for_does_not_count() {
    let mut host = Host::new().with_files(&[5]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    host.verified(0, 4);
    host.source_gone(0);
    host.verified(0, 4);
    assert_eq!(host.picture(0, 0), "RRRRR");
}

#[test]
fn only_some_cancelled_requests_are_remembered() {
    let mut host = Host::new().with_files(&[1]);
    host.want(0, 0);
    for source in 1..100 {
        host.source(source, &[0], 0);
        assert_eq!(host.source_gone(source - 1).len(), 2);
    }
    host.verified(0, 0);
    assert_eq!(host.picture(0, 0), "R", "that was long ago");
    assert_eq!(host.verified(98, 0), ["whole f0.0"]);
}
