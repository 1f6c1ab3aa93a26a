//! What cannot be had is given up with a reason, and what was given up can be wanted anew.

use super::*;

#[test]
fn a_file_is_given_up_after_four_attempts_without_a_piece() {
    let mut host = Host::new().with_files(&[3]);
    host.want(0, 0);
    for request in 0..3 {
        host.end(request, Outcome::Broken);
        host.sleep();
    }
    assert_eq!(
        host.end(3, Outcome::Broken),
        ["give up f0.0: 4 attempts in a row brought nothing; the last one: source 0 failed while sending it"]
    );
    assert_eq!(host.picture(0, 0), "...");
    assert_eq!(host.swarm.wake_at(), None);
}

#[test]
fn a_piece_in_between_makes_the_attempts_begin_anew() {
    let mut host = Host::new().with_files(&[3]);
    host.want(0, 0);
    for request in 0..3 {
        host.end(request, Outcome::Broken);
        host.sleep();
    }
    host.bring(3, "#", Outcome::Broken);
    assert_eq!(host.sleep(), ["r4 s0 f0.0 .RR"]);
}

#[test]
fn a_file_is_not_given_up_while_a_request_for_it_is_under_way() {
    let mut host = Host::new().with_files(&[5]);
    assert_eq!(host.want(0, 0).len(), 2);
    for request in [1, 2, 3] {
        host.end(request, Outcome::Broken);
        assert_eq!(host.sleep(), [format!("r{} s0 f0.0 ..RRR", request + 1)]);
    }
    assert_eq!(host.end(4, Outcome::Broken), NOTHING);
    assert_eq!(host.sleep_seconds(60), NOTHING, "it has no attempts left");
    assert_eq!(host.verified(0, 0), ["r5 s0 f0.0 ..RRR"], "but it gets on");
}

#[test]
fn a_file_without_a_source_is_given_up_at_once_and_so_is_one_that_is_in_no_bundle() {
    let mut host = Host::new();
    host.join(0, &[1]);
    assert_eq!(host.want(0, 0), ["give up f0.0: no source is left"]);
    assert_eq!(host.want(0, 9), ["give up f0.9: no source is left"]);
    assert_eq!(host.want(3, 0), ["give up f3.0: no source is left"]);
    host.source(0, &[0], 0);
    assert_eq!(host.tell(Event::Tick), NOTHING, "what is given up stays so");
    assert_eq!(host.want(0, 0), ["r0 s0 f0.0 R"], "until it is wanted anew");
}

#[test]
fn a_file_that_was_given_up_begins_anew_with_all_its_sources() {
    let mut host = Host::new().with_files(&[1]);
    host.want(0, 0);
    host.end(0, Outcome::Missing);
    assert_eq!(host.want(0, 0), ["r1 s0 f0.0 R"]);
}

#[test]
fn what_only_a_peer_could_bring_is_given_up_when_the_last_one_goes() {
    let mut host = Host::new().with_files(&[1]);
    host.want(0, 0);
    host.peer(0, ".");
    assert_eq!(host.end(0, Outcome::Missing), NOTHING, "the peer may get it");
    let gave_up = ["give up f0.0: no source is left: source 0 does not have it"];
    assert_eq!(host.tell(Event::LinkGone { link: LinkId(0) }), gave_up);
    let mut host = Host::new().with_files(&[1]);
    host.guided(1, &[(0, 1)]);
    host.want(0, 0);
    assert_eq!(host.end(0, Outcome::Missing), NOTHING, "the other one may have it");
    assert_eq!(host.guided(0, &[]), gave_up);
}

#[test]
fn nothing_is_put_together_of_what_is_given_up() {
    let mut host = Host::new().with_files(&[1]);
    host.want(0, 0);
    host.peer(0, "#");
    host.end(0, Outcome::Missing);
    host.arrive(0, 0, 0);
    let actions = host.pass(Duration::from_secs(60));
    assert!(actions.iter().any(|action| action.starts_with("give up f0.0")), "{actions:?}");
    assert_eq!(host.picture(0, 0), ".");
}
