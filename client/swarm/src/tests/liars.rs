//! Wrong pieces are blamed on who sent them.

use super::*;

fn host(pieces: &[u64]) -> Host {
    let mut host = Host::new();
    host.join(0, pieces);
    host.guided(9, &[]);
    host.want(0, 0);
    host
}

#[test]
fn who_sent_all_of_a_wrong_piece_is_banned() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    host.arrive(0, 0, 0);
    host.arrive(0, 0, 1);
    let actions = host.wrong(0);
    assert_eq!(actions[0], "part l0: it sent piece 0 wrong");
    assert_eq!(host.peer(1, "#")[0], "ask l1 0.0");
}

#[test]
fn who_was_lied_to_and_knows_nobody_else_asks_the_tracker_at_once() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    host.arrive(0, 0, 0);
    host.arrive(0, 0, 1);
    assert_eq!(host.wrong(0)[1..], ["ask tracker: got [], lacks [0..1], starved"]);
}

#[test]
fn of_a_mixed_piece_who_sent_the_wrong_blocks_is_banned_once_it_is_known() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    host.peer(1, "#");
    host.arrive(1, 0, 0);
    host.arrive(0, 0, 1);
    let actions = host.wrong(0);
    assert!(!actions.iter().any(|action| action.starts_with("part")), "nobody is blamed yet: {actions:?}");
    let asked: Vec<&String> = actions.iter().filter(|action| action.starts_with("ask")).collect();
    assert_eq!(asked.len(), 2, "both blocks");
    let link = if asked[0].contains("l0") { 0 } else { 1 };
    assert!(asked[1].contains(&format!("l{link}")), "of one peer: {asked:?}");
    host.arrive(link, 0, 0);
    host.arrive(link, 0, 1);
    let actions = host.right(0, &[1]);
    assert!(actions.contains(&"part l0: it sent piece 0 wrong".to_owned()), "{actions:?}");
    assert!(!actions.iter().any(|action| action.starts_with("part l1")), "{actions:?}");
}

#[test]
fn after_a_digest_that_does_not_match_peers_are_not_asked_again() {
    let mut host = Host::new().with_files(&[1]);
    host.guided(9, &[]);
    host.want(0, 0);
    host.peer(0, "#");
    host.arrive_whole(0, 0);
    let actions = host.digest_mismatch(0, 0);
    assert_eq!(actions, ["r0 s0 f0.0 R"], "from the origin");
    host.bring_all(0);
    assert!(host.digest_mismatch(0, 0)[0].starts_with("give up f0.0"));
}
