//! What nobody wants any more is stopped and forgotten.

use super::*;

#[test]
fn an_unwanted_file_is_cancelled_and_its_connections_go_to_others() {
    let mut host = Host::new().with_files(&[7, 1, 1]);
    host.want(0, 0);
    host.want(0, 1);
    host.want(0, 2);
    assert_eq!(host.unwant(0, 0), ["cancel r0", "cancel r1", "cancel r2", "r3 s0 f0.1 R", "r4 s0 f0.2 R"]);
    assert_eq!(host.progress(0, 0), None);
    assert_eq!(host.unwant(0, 0), NOTHING);
}

#[test]
fn what_an_unwanted_file_still_brings_does_not_count_for_its_next_time() {
    let mut host = Host::new().with_files(&[1]);
    host.want(0, 0);
    host.unwant(0, 0);
    host.want(0, 0);
    assert_eq!(host.verified(0, 0), NOTHING);
    assert_eq!(host.picture(0, 0), "R");
}

#[test]
fn leaving_a_bundle_cancels_all_of_it_and_nothing_else() {
    let mut host = Host::new().with_files(&[1, 1]);
    host.join(1, &[1]);
    host.source(0, &[1], 0);
    host.want(0, 0);
    host.want(0, 1);
    host.want(1, 0);
    assert_eq!(host.tell(Event::Leave { bundle: BundleId(0) }), ["cancel r0", "cancel r1"]);
    assert_eq!(host.bring_all(2), ["whole f1.0"]);
    assert_eq!(host.want(0, 0), ["give up f0.0: no source is left"]);
    host.join(0, &[1]);
    assert_eq!(host.want(0, 0), ["give up f0.0: no source is left"], "its sources are told anew");
    host.tell(Event::Leave { bundle: BundleId(0) });
    host.source(0, &[0], 0);
    assert_eq!(host.want(0, 0), ["give up f0.0: no source is left"], "and so is the bundle");
}

#[test]
fn a_source_that_is_gone_is_not_blamed_and_another_takes_over() {
    let mut host = Host::new().with_files(&[1, 1]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    assert_eq!(host.source_gone(0), ["cancel r0", "r1 s1 f0.0 R"]);
    assert_eq!(host.end(0, Outcome::Broken), NOTHING, "it is over already");
    assert_eq!(host.source_gone(1), ["cancel r1", "give up f0.0: no source is left"]);
    assert_eq!(host.source_gone(1), NOTHING);
}

#[test]
fn a_number_given_to_another_source_carries_no_guilt() {
    let mut host = Host::new().with_files(&[1]);
    host.source(1, &[0], 1);
    host.want(0, 0);
    assert_eq!(host.end(0, Outcome::Missing), ["r1 s1 f0.0 R"]);
    host.source_gone(0);
    host.source(0, &[0], 0);
    assert_eq!(host.end(1, Outcome::Broken), ["r2 s0 f0.0 R"]);
}

#[test]
fn a_bundle_that_is_joined_stays_as_it_is() {
    let mut host = Host::new().with_files(&[2]);
    host.join(0, &[1]);
    host.source(0, &[0], 0);
    host.tell(Event::Want { bundle: BundleId(0), file: FileIndex(0), have: vec![0] });
    assert_eq!(host.picture(0, 0), "#R");
}
