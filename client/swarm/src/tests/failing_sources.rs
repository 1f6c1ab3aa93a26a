//! A source that fails is left alone, and others are asked meanwhile.

use super::*;

#[test]
fn the_preferred_source_is_asked_and_another_while_it_backs_off() {
    let mut host = Host::new().with_files(&[1, 1, 1, 1]);
    host.source(1, &[0], 7);
    host.source(2, &[0], 5);
    assert_eq!(host.want(0, 0), ["r0 s0 f0.0 R"]);
    assert_eq!(host.end(0, Outcome::Broken), ["r1 s2 f0.0 R"]);
    assert_eq!(host.end(1, Outcome::Unreachable), ["r2 s1 f0.0 R"]);
    host.sleep_seconds(1);
    assert_eq!(host.want(0, 1), ["r3 s0 f0.1 R"], "its back-off is over");
}

#[test]
fn a_source_told_again_has_its_new_order() {
    let mut host = Host::new().with_files(&[1]);
    host.source(1, &[0], 1);
    host.source(0, &[], 2);
    assert_eq!(host.want(0, 0), ["r0 s1 f0.0 R"]);
}

#[test]
fn what_did_not_arrive_is_missing_and_asked_for_after_the_back_off() {
    let mut host = Host::new().with_files(&[5]);
    host.want(0, 0);
    assert_eq!(host.picture(0, 0), "RRRRR");
    host.bring(0, "#", Outcome::Broken);
    assert_eq!(host.picture(0, 0), "#.RRR");
    assert!(host.swarm.wake_at().unwrap() > host.now);
    assert_eq!(host.sleep(), ["r2 s0 f0.0 .R..."]);
    assert_eq!(host.swarm.wake_at(), None, "nothing waits");
}

#[test]
fn nothing_is_to_be_woken_for_while_all_connections_are_busy_or_nothing_is_missing() {
    let mut host = Host::new().with_files(&[1, 1, 1, 1, 1]);
    host.source(1, &[0], 1);
    (0..4).for_each(|file| drop(host.want(0, file)));
    assert_eq!(host.end(0, Outcome::Broken), ["r3 s1 f0.0 R"]);
    assert_eq!(host.want(0, 4), NOTHING);
    assert_eq!(host.swarm.wake_at(), None);
}

#[test]
fn one_trouble_that_ends_all_requests_is_one_failure() {
    let mut host = Host::new().with_files(&[7]);
    assert_eq!(host.want(0, 0).len(), 3);
    for round in 0..2 {
        for request in 0..3 {
            let actions = host.end(round * 3 + request, Outcome::Unreachable);
            assert_eq!(actions, NOTHING, "the source is not dead, and the file has attempts left");
        }
        assert_eq!(host.sleep().len(), 3);
    }
}

#[test]
fn a_source_that_cannot_be_reached_three_times_is_dead_and_what_only_it_has_is_given_up() {
    let mut host = Host::new().with_files(&[1, 1, 1]);
    host.join(1, &[1]);
    host.source(1, &[1], 0);
    assert_eq!(host.want(1, 0), ["r0 s1 f1.0 R"]);
    host.want(0, 0);
    for request in [1, 2] {
        host.end(request, Outcome::Unreachable);
        assert_eq!(host.sleep(), [format!("r{} s0 f0.0 R", request + 1)]);
    }
    let mut actions = host.end(3, Outcome::Unreachable);
    assert_eq!(actions, ["give up f0.0: no source is left: source 0 cannot be reached"]);
    actions = host.want(0, 1);
    assert_eq!(actions, ["give up f0.1: no source is left: source 0 cannot be reached"], "at once");
    assert_eq!(host.bring_all(0), ["whole f1.0"], "others go on");
    host.sleep_seconds(31);
    assert_eq!(host.want(0, 2), ["r4 s0 f0.2 R"], "it is tried again");
}

#[test]
fn what_is_under_way_at_a_dead_source_may_still_come_and_revives_it() {
    let mut host = Host::new().with_files(&[1, 5, 1]);
    host.want(0, 1);
    host.want(0, 0);
    assert_eq!(host.picture(0, 1), "RRRRR");
    for request in [2, 3, 4] {
        host.end(request, Outcome::Unreachable);
        if request < 4 {
            host.sleep();
        }
    }
    assert_eq!(host.verified(0, 1), NOTHING);
    assert_eq!(host.want(0, 2), ["r5 s0 f0.2 R"], "it is alive");
    assert_eq!(host.bring_all(1), NOTHING);
}

#[test]
fn a_source_that_brings_a_piece_between_its_failures_lives() {
    let mut host = Host::with(Settings { origin_connections: 1, ..Settings::default() }).with_files(&[20]);
    host.want(0, 0);
    for request in 0..19 {
        assert_eq!(host.bring(request, "#", Outcome::Broken), NOTHING);
        assert_eq!(host.sleep().len(), 1);
    }
    assert_eq!(host.bring(19, "#", Outcome::Broken), ["whole f0.0"]);
}

#[test]
fn a_source_that_does_not_have_a_file_or_refuses_it_is_asked_for_others_at_once() {
    let mut host = Host::new().with_files(&[1, 1, 1]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    host.want(0, 1);
    assert_eq!(host.end(0, Outcome::Missing), ["r2 s1 f0.0 R"]);
    assert_eq!(host.end(1, Outcome::Refused), ["r3 s1 f0.1 R"]);
    assert_eq!(host.want(0, 2), ["r4 s0 f0.2 R"]);
    assert_eq!(host.end(3, Outcome::Missing), ["give up f0.1: no source is left: source 1 does not have it"]);
}

#[test]
fn the_death_of_a_source_ends_the_waiting_of_all_its_files_and_the_preferred_one_is_named() {
    let mut host =
        Host::with(Settings { origin_connections: 1, ..Settings::default() }).with_files(&[1, 1, 1]);
    host.want(0, 0);
    host.want(0, 1);
    for request in 0..2 {
        host.end(request, Outcome::Unreachable);
        host.sleep();
    }
    let gone = |file: u32, source: u32| {
        format!("give up f0.{file}: no source is left: source {source} cannot be reached")
    };
    assert_eq!(host.end(2, Outcome::Unreachable), [gone(0, 0), gone(1, 0)]);
    host.source(1, &[0], 1);
    host.want(0, 1);
    for request in 3..5 {
        host.end(request, Outcome::Unreachable);
        host.sleep();
    }
    assert_eq!(host.end(5, Outcome::Unreachable), [gone(1, 1)], "its own failure");
    assert_eq!(host.want(0, 2), [gone(2, 0)], "that of its preferred source");
}
