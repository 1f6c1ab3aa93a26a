//! Wrong pieces and wrong files.

use super::*;

#[test]
fn a_wrong_piece_is_asked_for_once_more() {
    let mut host = Host::new().with_files(&[3]);
    host.want(0, 0);
    assert_eq!(host.bring(0, "#x#", Outcome::Complete), ["r1 s0 f0.0 .R."], "at once: the others were right");
    assert_eq!(host.bring_all(1), ["whole f0.0"]);
}

#[test]
fn a_source_that_is_wrong_twice_about_a_piece_is_not_asked_for_the_file_any_more() {
    let mut host = Host::new().with_files(&[3, 1]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    host.bring(0, "#xx", Outcome::Complete);
    assert_eq!(host.corrupt(1, 1), ["cancel r1", "r2 s1 f0.0 .RR"]);
    assert_eq!(host.want(0, 1), ["r3 s0 f0.1 R"], "for others it is");
    host.bring(2, "xx", Outcome::Complete);
    host.sleep();
    assert_eq!(
        host.corrupt(4, 1),
        ["cancel r4", "give up f0.0: no source is left: source 1 sent piece 1 wrong"]
    );
}

#[test]
fn the_same_piece_wrong_twice_in_one_request_is_one_mistake() {
    let mut host = Host::new().with_files(&[2]);
    host.want(0, 0);
    host.corrupt(0, 1);
    assert_eq!(host.corrupt(0, 1), NOTHING);
}

#[test]
fn a_source_of_which_nothing_is_right_backs_off() {
    let mut host = Host::new().with_files(&[2]);
    host.want(0, 0);
    assert_eq!(host.bring(0, "xx", Outcome::Complete), NOTHING);
    assert_eq!(host.sleep(), ["r1 s0 f0.0 RR"]);
}

#[test]
fn a_file_that_does_not_match_its_digest_is_fetched_once_more_from_somebody_else() {
    let mut host = Host::new().with_files(&[2, 1]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    assert_eq!(host.bring_all(0), ["whole f0.0"]);
    assert_eq!(host.digest_mismatch(0, 0), ["r1 s1 f0.0 RR"]);
    assert_eq!(host.want(0, 1), ["r2 s0 f0.1 R"], "other files come from where they came");
    assert_eq!(host.end(1, Outcome::Broken), NOTHING, "s1 is waited for");
    assert_eq!(host.sleep(), ["r3 s1 f0.0 RR"]);
    assert_eq!(host.end(3, Outcome::Missing), ["r4 s0 f0.0 RR"], "s0 is better than nobody");
    assert_eq!(host.bring_all(4), ["whole f0.0"]);
    let reason = "its pieces match their hashes, but fetched twice it does not match its digest";
    assert_eq!(host.digest_mismatch(0, 0), [format!("give up f0.0: {reason}")]);
    assert_eq!(host.digest_mismatch(0, 0), NOTHING);
}

#[test]
fn with_one_source_a_mismatched_file_is_fetched_from_it_again() {
    let mut host = Host::new().with_files(&[2]);
    assert_eq!(host.want_having(0, 0, &[0, 1]), ["whole f0.0"]);
    assert_eq!(host.digest_mismatch(0, 0), ["r0 s0 f0.0 RR"]);
    assert_eq!(host.digest_mismatch(0, 0), NOTHING, "it is not whole now");
}

#[test]
fn what_others_send_of_the_file_goes_on() {
    let mut host = Host::new().with_files(&[7]);
    host.want(0, 0);
    assert_eq!(host.bring(0, "x#", Outcome::Complete), ["r3 s0 f0.0 R......"]);
    host.source(1, &[0], 1);
    assert_eq!(host.end(2, Outcome::Broken), ["r4 s1 f0.0 ....RRR"]);
    assert_eq!(host.corrupt(3, 0), ["cancel r1", "cancel r3", "r5 s1 f0.0 R......", "r6 s1 f0.0 ..RR..."]);
}
