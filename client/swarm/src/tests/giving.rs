//! What peers get: verified pieces, in turns.

use super::*;

/// A host that has a file of eight pieces and gives it.
fn host() -> Host {
    let mut host = Host::new();
    host.join(0, &[8, 1]);
    host.tell(Event::Offer { bundle: BundleId(0), file: FileIndex(0) });
    host
}

#[test]
fn only_what_is_here_and_verified_is_given() {
    let mut host = host();
    host.guided(3, &[]);
    host.peer(0, "........#");
    assert_eq!(host.asked(0, 7, 1), ["send l0 7.1"]);
    assert_eq!(host.asked(0, 8, 0), ["reject l0 8.0"]);
    host.want(0, 1);
    host.arrive(0, 8, 0);
    assert_eq!(host.asked(0, 8, 0), ["reject l0 8.0"], "a block of a piece that is not verified");
    host.arrive(0, 8, 1);
    assert_eq!(host.asked(0, 8, 0), ["reject l0 8.0"]);
    host.right(8, &[]);
    host.peer(1, ".");
    assert_eq!(host.asked(1, 8, 0), ["send l1 8.0"]);
    host.tell(Event::Withdraw { bundle: BundleId(0), file: FileIndex(0) });
    assert_eq!(host.asked(1, 7, 0), ["reject l1 7.0"]);
}

#[test]
fn a_block_beyond_its_piece_is_rejected() {
    let mut host = host();
    host.peer(0, "");
    for block in [
        Block { piece: 0, begin: PIECE as u32, len: 1 },
        Block { piece: 0, begin: 1, len: PIECE as u32 },
        Block { piece: 0, begin: u32::MAX, len: u32::MAX },
        Block { piece: 0, begin: 0, len: 0 },
        Block { piece: 1_000_000, begin: 0, len: 1 },
    ] {
        let actions = host.tell(Event::Asked { link: LinkId(0), block });
        assert!(actions.len() == 1 && actions[0].starts_with("reject"), "{block:?}: {actions:?}");
    }
    // A client that does not know padding asks for it.
    let padding = Block { piece: 7, begin: BLOCK_LEN, len: BLOCK_LEN };
    assert_eq!(host.tell(Event::Asked { link: LinkId(0), block: padding }), ["send l0 7.1"]);
}

#[test]
fn as_many_as_there_are_slots_get_something_and_the_others_wait_their_turn() {
    let mut host = host();
    let slots = Settings::default().upload_slots as u64;
    for link in 0..slots + 2 {
        host.peer(link, "");
    }
    for link in 0..slots {
        assert_eq!(host.asked(link, 0, 0), [format!("send l{link} 0.0")]);
    }
    assert_eq!(host.asked(slots, 0, 0), NOTHING);
    assert_eq!(host.asked(slots + 1, 0, 0), NOTHING);
    assert_eq!(host.sent(3, 0, 0), [format!("send l{slots} 0.0")], "who waits longest");
    let block = host.block(0, 0);
    let cancelled = host.tell(Event::AskCancelled { link: LinkId(slots + 1), block });
    assert_eq!(cancelled, [format!("reject l{} 0.0", slots + 1)]);
    assert_eq!(host.sent(2, 0, 0), NOTHING, "nobody waits any more");
}

#[test]
fn a_turn_ends_after_some_blocks() {
    let mut host = host();
    let slots = Settings::default().upload_slots as u64;
    for link in 0..=slots {
        host.peer(link, "");
    }
    for link in 0..=slots {
        for piece in 0..8 {
            host.asked(link, piece, 0);
            host.asked(link, piece, 1);
        }
    }
    let mut sent = Vec::new();
    for step in 0..8 {
        sent.extend(host.sent(0, step / 2, step % 2));
    }
    assert!(sent.contains(&format!("send l{slots} 1.0")), "{sent:?}");
    assert!(!sent.contains(&"send l0 1.0".to_owned()), "it has had its turn: {sent:?}");
}

#[test]
fn what_is_not_here_any_more_when_its_turn_comes_is_rejected() {
    let mut host = host();
    host.peer(0, "");
    // As many as are in one turn, and one.
    for number in 0..2 {
        host.asked(0, 0, number);
    }
    assert_eq!(host.asked(0, 1, 0), NOTHING);
    host.tell(Event::Withdraw { bundle: BundleId(0), file: FileIndex(0) });
    let actions: Vec<String> = (0..2).flat_map(|number| host.sent(0, 0, number)).collect();
    assert_eq!(actions, ["reject l0 1.0"]);
}

#[test]
fn two_that_have_everything_part() {
    let mut host = Host::new();
    host.join(0, &[2]);
    host.tell(Event::Offer { bundle: BundleId(0), file: FileIndex(0) });
    host.peer(0, "#");
    assert_eq!(host.have(0, 1), ["part l0: neither of the two needs anything"]);
}

/// Takes every slot of a host that has eight pieces, so that whoever asks next has to wait.
fn host_without_a_free_slot() -> (Host, u64) {
    let mut host = host();
    let slots = Settings::default().upload_slots as u64;
    for link in 0..slots {
        host.peer(link, "");
        assert_eq!(host.asked(link, 0, 0), [format!("send l{link} 0.0")]);
    }
    (host, slots)
}

#[test]
fn the_piece_that_was_given_least_often_comes_first() {
    let (mut host, slots) = host_without_a_free_slot();
    let (early, late) = (slots, slots + 1);
    host.peer(early, "");
    host.peer(late, "");
    assert_eq!(host.asked(early, 0, 1), NOTHING, "given to all others");
    assert_eq!(host.asked(late, 0, 1), NOTHING);
    assert_eq!(host.asked(late, 3, 0), NOTHING, "given to nobody");
    assert_eq!(host.sent(0, 0, 0), [format!("send l{late} 3.0"), format!("send l{late} 0.1")]);
}

#[test]
fn who_wants_only_what_many_have_is_not_passed_over_for_ever() {
    let (mut host, slots) = host_without_a_free_slot();
    let patient = slots;
    host.peer(patient, "");
    assert_eq!(host.asked(patient, 0, 1), NOTHING);
    for piece in 1..8 {
        let other = patient + u64::from(piece);
        host.peer(other, "");
        assert_eq!(host.asked(other, piece, 0), NOTHING);
    }
    let turns: Vec<String> = (0..slots).flat_map(|link| host.sent(link, 0, 0)).collect();
    assert!(turns.contains(&format!("send l{patient} 0.1")), "{turns:?}");
}
