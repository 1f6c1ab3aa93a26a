//! Blocks come from peers: which are asked for, of whom, and what happens when they do not come.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A host without any web seed, that knows of others.
fn host(pieces: &[u64]) -> Host {
    let mut host = Host::new();
    host.join(0, pieces);
    host.guided(9, &[]);
    for file in 0..pieces.len() as u32 {
        assert_eq!(host.want(0, file), NOTHING, "peers are waited for");
    }
    host
}

#[test]
fn the_rarest_piece_is_asked_for_first_and_no_padding() {
    let mut host = host(&[4]);
    for link in 0..3 {
        host.tell(Event::Linked { link: LinkId(link), bundle: BundleId(0) });
    }
    for (link, piece) in [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (2, 3)] {
        host.have(link, piece);
    }
    host.have(1, 3);
    host.have(0, 2);
    let asked = host.tell(Event::Unchoked { link: LinkId(0) });
    assert_eq!(asked[..2], ["ask l0 2.0", "ask l0 2.1"], "only one peer has it");
    let lens: Vec<u32> = (0..2).map(|number| host.block(3, number).len).collect();
    assert_eq!(lens, [BLOCK_LEN, BLOCK_LEN - 100], "the file ends there");
}

#[test]
fn where_everybody_else_has_everything_pieces_come_in_order() {
    let first_asked = |others: u64| {
        let mut host = Host::new();
        host.join(0, &[60]);
        host.guided(others as u32, &[]);
        host.want(0, 0);
        let all = "#".repeat(60);
        let mut asked: Vec<u32> = Vec::new();
        for link in 0..others.min(2) {
            let actions = host.peer(link, &all);
            let pieces = actions.iter().filter_map(|action| action.strip_prefix(&format!("ask l{link} ")));
            asked.extend(pieces.map(|block| block.split('.').next().unwrap().parse::<u32>().unwrap()));
        }
        asked.dedup();
        asked
    };
    assert_eq!(first_asked(1), [0, 1]);
    assert_eq!(first_asked(2)[2..], [0, 1], "once the second one is known to have everything too");
    assert_ne!(first_asked(3)[2..], [0, 1], "to a third one this host may be of use");
}

#[test]
fn nothing_is_asked_of_who_chokes_or_has_nothing_of_use() {
    let mut host = host(&[2]);
    assert_eq!(host.peer(0, ".."), NOTHING);
    host.tell(Event::Choked { link: LinkId(0) });
    assert_eq!(host.have(0, 1), ["l0 is interesting"]);
    assert_eq!(host.tell(Event::Unchoked { link: LinkId(0) }), ["ask l0 1.0", "ask l0 1.1"]);
    host.tell(Event::Choked { link: LinkId(0) });
    assert_eq!(host.picture(0, 0), "..", "who chokes forgets what it was asked for");
}

#[test]
fn a_piece_is_whole_when_all_its_blocks_are_kept_and_everybody_hears_of_it() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    host.peer(1, ".");
    assert_eq!(host.picture(0, 0), "A");
    assert_eq!(host.arrive(0, 0, 1), ["keep 0.1"]);
    assert_eq!(host.arrive(0, 0, 1), NOTHING, "it came already");
    assert_eq!(host.arrive(1, 0, 0), NOTHING, "nobody asked for it there");
    assert_eq!(host.arrive(0, 0, 0), ["keep 0.0", "check 0"]);
    assert_eq!(host.right(0, &[]), ["tell l1 of 0", "whole f0.0"]);
}

#[test]
fn towards_the_end_a_block_is_asked_of_two_and_cancelled_at_the_slower() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    assert_eq!(host.peer(1, "#"), ["ask l1 0.0", "l1 is interesting"]);
    assert_eq!(host.peer(2, "#"), ["ask l2 0.1", "l2 is interesting"]);
    assert_eq!(host.peer(3, "#"), ["l3 is interesting"], "two are enough");
    assert_eq!(host.arrive(1, 0, 0), ["keep 0.0", "cancel l0 0.0"]);
    assert_eq!(host.arrive(0, 0, 1), ["keep 0.1", "cancel l2 0.1", "check 0"]);
    assert_eq!(host.arrive(2, 0, 1), NOTHING, "it was on its way");
}

#[test]
fn what_a_silent_peer_owes_is_asked_of_others_and_it_is_left_when_it_stays_silent() {
    let mut host = host(&[2]);
    host.peer(0, "##");
    assert_eq!(host.picture(0, 0), "AA");
    let actions = host.pass(3 * SECOND + SECOND / 2);
    assert!(actions.contains(&"cancel l0 0.0".to_owned()), "{actions:?}");
    let asked = host.peer(1, "##");
    assert_eq!(asked.iter().filter(|action| action.starts_with("ask l1")).count(), 4, "{asked:?}");
    host.arrive_whole(1, 0);
    host.arrive_whole(1, 1);
    host.want(0, 0);
    let mut again = Host::new();
    again.join(0, &[2]);
    again.guided(9, &[]);
    again.want(0, 0);
    again.peer(0, "##");
    let actions = again.pass(20 * SECOND);
    assert!(actions.iter().any(|action| action.starts_with("part l0: it answers no")), "{actions:?}");
}

#[test]
fn a_rejected_block_is_not_asked_for_there_again() {
    let mut host = host(&[1]);
    host.peer(0, "#");
    let block = host.block(0, 0);
    host.tell(Event::Rejected { link: LinkId(0), block });
    assert_eq!(host.peer(1, "#").first().map(String::as_str), Some("ask l1 0.0"));
}

#[test]
fn a_link_that_is_gone_leaves_nothing_behind() {
    let mut host = host(&[3]);
    host.peer(0, "###");
    host.peer(1, "#..");
    host.arrive(0, 1, 0);
    let actions = host.tell(Event::LinkGone { link: LinkId(0) });
    assert!(actions.iter().all(|action| action.starts_with("ask l1 0")), "{actions:?}");
    assert_eq!(host.picture(0, 0).matches('#').count(), 0);
    assert!(host.peer(2, "###").iter().any(|action| action == "ask l2 1.1"), "what came of a piece counts");
}

#[test]
fn without_peers_and_web_seeds_a_file_is_given_up_when_nobody_came() {
    let mut host = host(&[1]);
    assert_eq!(host.pass(14 * SECOND).iter().filter(|it| it.starts_with("give up")).count(), 0);
    let actions = host.pass(3 * SECOND);
    assert_eq!(actions.iter().filter(|it| it.starts_with("give up f0.0")).count(), 1, "{actions:?}");
}

#[test]
fn without_web_seeds_a_file_is_waited_for_longer_if_a_peer_has_some_of_it() {
    let mut host = host(&[1, 1]);
    host.peer(0, "#.");
    host.peer(1, "..");
    host.tell(Event::Choked { link: LinkId(0) });
    let (bundle, lease) = (BundleId(0), Some(vec![]));
    host.tell(Event::Guided { bundle, others: 2, lease, is_second_hand: false, ask_again: None });
    let given_up = |actions: &[String]| {
        actions.iter().filter(|it| it.starts_with("give up")).cloned().collect::<Vec<_>>()
    };
    let soon = given_up(&host.pass(8 * SECOND));
    assert!(soon.len() == 1 && soon[0].starts_with("give up f0.1"), "{soon:?}");
    assert_eq!(given_up(&host.pass(6 * SECOND)), Vec::<String>::new());
    assert_eq!(given_up(&host.pass(3 * SECOND)).len(), 1);
}

#[test]
fn who_has_nothing_more_to_give_makes_room_for_another() {
    let mut host = host(&[3]);
    let parted = |actions: Vec<String>| {
        actions.into_iter().filter(|action| action.starts_with("part")).collect::<Vec<String>>()
    };
    for (link, pieces) in ["#..", "#..", ".#.", "..."].into_iter().enumerate() {
        host.peer(link as u64, pieces);
    }
    let upload_only = |link: u64, is_upload_only| Event::UploadOnly { link: LinkId(link), is_upload_only };
    for link in [0, 2, 3] {
        host.tell(upload_only(link, true));
    }
    assert_eq!(
        parted(host.pass(SECOND)),
        NOTHING,
        "two have what is needed, the last may have said nothing yet"
    );
    host.arrive_whole(0, 0);
    let spent = "part l0: it has nothing more of what is needed, and needs nothing";
    assert_eq!(parted(host.pass(SECOND)), [spent], "the second still fetches, and may have more soon");
    host.tell(upload_only(2, false));
    host.arrive_whole(2, 1);
    assert_eq!(parted(host.pass(SECOND)), NOTHING, "it has changed its mind");
}
