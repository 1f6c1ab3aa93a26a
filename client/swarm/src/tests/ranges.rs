//! A source that ignores ranges is asked for whole files only.

use super::*;

#[test]
fn a_source_that_ignored_a_range_is_asked_for_whole_files_one_request_each() {
    let mut host = Host::new().with_files(&[7, 4]);
    host.want(0, 0);
    host.want(0, 1);
    assert_eq!(host.picture(0, 0), "RRRRRRR");
    // All three requests are sent the whole file: one is over, the other two are stopped.
    let actions = host.bring(0, "##", Outcome::NoRanges);
    assert_eq!(actions, ["cancel r1", "cancel r2", "r3 s0 f0.0 RRRRRRR", "r4 s0 f0.1 RRRR"]);
    assert_eq!(host.picture(0, 0), "##RRRRR", "what is here stays here");
    assert_eq!(host.bring(4, "####", Outcome::NoRanges), ["whole f0.1"]);
    assert_eq!(host.bring(3, "#######", Outcome::NoRanges), ["whole f0.0"]);
}

#[test]
fn that_a_whole_file_was_sent_whole_says_nothing_about_ranges() {
    let mut host = Host::new().with_files(&[1, 7]);
    host.want(0, 0);
    assert_eq!(host.bring(0, "#", Outcome::NoRanges), ["whole f0.0"]);
    assert_eq!(host.want(0, 1).len(), 3);
}

#[test]
fn another_source_goes_on_with_ranges_and_whole_files_wait_for_it() {
    let mut host = Host::new().with_files(&[7]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    host.bring(0, "##", Outcome::NoRanges);
    // r3 is the whole file from s0; it breaks, s0 backs off, and s1 is asked for parts.
    assert_eq!(host.picture(0, 0), "##RRRRR");
    assert_eq!(host.end(3, Outcome::Broken), ["r4 s1 f0.0 ..RR...", "r5 s1 f0.0 ....RRR"]);
    assert_eq!(host.end(5, Outcome::Broken), NOTHING, "both back off, and r4 is under way");
    assert_eq!(host.sleep(), NOTHING, "s0 would send r4's pieces again");
    assert_eq!(host.bring_all(4), ["r6 s0 f0.0 RRRRRRR"]);
}

#[test]
fn a_source_of_whole_files_that_always_breaks_at_the_same_place_is_not_asked_for_ever() {
    let mut host = Host::new().with_files(&[7]);
    host.want(0, 0);
    host.bring(0, "##", Outcome::NoRanges);
    for request in [3, 4, 5] {
        host.bring(request, "##", Outcome::Broken);
        assert_eq!(host.sleep(), [format!("r{} s0 f0.0 RRRRRRR", request + 1)]);
    }
    let last = host.bring(6, "##", Outcome::Broken);
    assert_eq!(
        last,
        ["give up f0.0: 4 attempts in a row brought nothing; the last one: source 0 failed while sending it"]
    );
}

#[test]
fn what_waits_for_a_dead_source_of_whole_files_is_given_up() {
    let mut host = Host::new().with_files(&[1, 5]);
    host.want(0, 1);
    host.want(0, 0);
    for request in [2, 3, 4] {
        host.end(request, Outcome::Unreachable);
        if request < 4 {
            host.sleep();
        }
    }
    host.corrupt(1, 3);
    assert_eq!(
        host.bring(1, "xxx", Outcome::NoRanges),
        ["cancel r0", "give up f0.1: no source is left: source 0 sent piece 5 wrong"]
    );
}

#[test]
fn only_parts_from_that_source_are_stopped() {
    let settings = Settings { origin_connections: 5, range_len_min: 2 * PIECE, ..Settings::default() };
    let mut host = Host::with(settings).with_files(&[5, 2]);
    host.join(1, &[5]);
    host.source(1, &[1], 0);
    host.want(0, 0);
    host.want(0, 1);
    assert_eq!(host.want(1, 0), ["r3 s1 f1.0 RR...", "r4 s1 f1.0 ..RRR"]);
    assert_eq!(host.bring(0, "##", Outcome::NoRanges), ["cancel r1", "r5 s0 f0.0 RRRRR"]);
}

#[test]
fn pieces_that_were_here_say_nothing_about_who_sends_them_again() {
    let settings =
        Settings { attempts_max: 100, origin_connections: 2, range_len_min: PIECE, ..Settings::default() };
    let mut host = Host::with(settings).with_files(&[3]);
    assert_eq!(host.want(0, 0).len(), 2);
    host.bring(0, "#", Outcome::NoRanges);
    for request in 2..7 {
        host.bring(request, "#", Outcome::Broken);
        host.sleep();
    }
    let end = ["give up f0.0: no source is left: source 0 failed while sending it"];
    assert_eq!(host.bring(7, "#", Outcome::Broken), end, "right ones are no success");

    host.source_gone(0);
    host.source(0, &[0], 0);
    assert_eq!(host.want_having(0, 0, &[0]), ["r8 s0 f0.0 .RR"]);
    assert_eq!(host.bring(8, "#", Outcome::NoRanges), ["r9 s0 f0.0 RRR"]);
    host.bring(9, "x", Outcome::Broken);
    assert_eq!(host.sleep(), ["r10 s0 f0.0 RRR"]);
    assert_eq!(host.corrupt(10, 0), NOTHING, "wrong ones are no failure");
}

#[test]
fn what_still_comes_of_a_file_that_does_not_match_its_digest_is_stopped() {
    let mut host = Host::new().with_files(&[7]);
    host.want(0, 0);
    host.bring(1, "##", Outcome::NoRanges);
    for piece in [0, 1, 4, 5] {
        host.verified(3, piece);
    }
    assert_eq!(host.verified(3, 6), ["whole f0.0"]);
    assert_eq!(host.digest_mismatch(0, 0), ["cancel r3", "r4 s0 f0.0 RRRRRRR"]);
}
