//! Blocks and what is said about them.

use bytes::Bytes;
use pkgtorrent_agent::peer::{CloseReason, Command, Event, FromPeer};
use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::wire::{
    BLOCK_LEN, Bitfield, Block, ExtensionHandshake, Features, HANDSHAKE_LEN, Message,
};
use pkgtorrent_swarm::LinkId;

use super::support::{Host, PIECES, Raw, blind_welcome, layout, pair, tell, welcome};

fn block(piece: u32, number: u32) -> Block {
    Block { piece, begin: number * BLOCK_LEN, len: BLOCK_LEN }
}

fn bytes_of(block: Block) -> Bytes {
    vec![(block.piece * 2 + block.begin / BLOCK_LEN) as u8; block.len as usize].into()
}

fn all() -> pkgtorrent_agent::peer::Welcome {
    welcome(1, Bitfield::all(PIECES))
}

fn none() -> pkgtorrent_agent::peer::Welcome {
    welcome(2, Bitfield::none(PIECES))
}

/// The messages of these events up to the first that fits.
async fn requests(host: &mut Host, count: usize) -> Vec<Block> {
    let mut requests = Vec::new();
    while requests.len() < count {
        if let Event::Messages { messages, .. } = host.event().await {
            requests.extend(messages.into_iter().filter_map(|message| match message {
                FromPeer::Request(block) => Some(block),
                _ => None,
            }));
        }
    }
    requests
}

#[tokio::test]
async fn blocks_arrive_as_they_were_sent_and_the_sender_knows_when() {
    let (mut caller, to_called, mut called, to_caller) =
        pair(Host::new(b'A'), none(), Host::new(b'B'), all()).await;
    let wanted: Vec<Block> = (0..PIECES).flat_map(|piece| [block(piece, 0), block(piece, 1)]).collect();
    tell(&to_called, Command::Interested(true));
    tell(&to_called, Command::Request(wanted.clone()));
    assert_eq!(requests(&mut called, wanted.len()).await, wanted);
    for block in &wanted {
        tell(&to_caller, Command::Block { block: *block, data: bytes_of(*block) });
    }
    let (mut came, mut sent) = (Vec::new(), Vec::new());
    while came.len() < wanted.len() {
        let Event::Messages { messages, link } = caller.event().await else { panic!("messages") };
        assert_eq!(link, LinkId(2));
        for message in messages {
            if let FromPeer::Block { piece, begin, data } = message {
                let block = Block { piece, begin, len: data.len() as u32 };
                assert_eq!(data, bytes_of(block));
                came.push(block);
            }
        }
    }
    while sent.len() < wanted.len() {
        if let Event::Sent { blocks, link } = called.event().await {
            assert_eq!(link, LinkId(1));
            sent.extend(blocks);
        }
    }
    assert_eq!((&came, &sent), (&wanted, &wanted));
    // Everything else is counted: of the handshakes the one that was sent after a connection was let in.
    let (of_caller, of_called) = (caller.peers.messages(), called.peers.messages());
    assert_eq!(of_caller.received + HANDSHAKE_LEN as u64, of_called.sent);
    assert_eq!(of_called.received, of_caller.sent);
    let requests_len = 17 * wanted.len() as u64;
    assert!((requests_len..requests_len + 1000).contains(&of_caller.sent), "{of_caller:?}");
}

#[tokio::test]
async fn haves_go_together() {
    let (_caller, to_called, mut called, _to_caller) =
        pair(Host::new(b'A'), none(), Host::new(b'B'), all()).await;
    for piece in [5, 0, 3] {
        tell(&to_called, Command::Have(vec![piece]));
    }
    let have = called.heard(|message| match message {
        FromPeer::Have(pieces) => Some(pieces.clone()),
        _ => None,
    });
    assert_eq!(have.await, [5, 0, 3]);
}

#[tokio::test]
async fn a_cancelled_block_is_rejected_and_not_sent_whoever_has_it_at_the_moment() {
    let mut host = Host::new(b'A');
    let (mut raw, peer) = Raw::let_in(&mut host, Features::OURS, all()).await;
    for number in [0, 1] {
        raw.say(&Message::Request(block(0, number))).await;
    }
    assert_eq!(requests(&mut host, 2).await, [block(0, 0), block(0, 1)]);
    raw.say(&Message::Cancel(block(0, 0))).await;
    assert_eq!(raw.hear_more().await, Message::Reject(block(0, 0)));
    let cancel = |message: &FromPeer| (*message == FromPeer::Cancel(block(0, 0))).then_some(());
    host.heard(cancel).await;
    // The engine was reading it meanwhile.
    for number in [0, 1] {
        let block = block(0, number);
        tell(&peer, Command::Block { block, data: bytes_of(block) });
    }
    let Message::Piece { piece: 0, begin, .. } = raw.hear_more().await else { panic!("a block") };
    assert_eq!(begin, BLOCK_LEN, "the other one");
    let mut sent = Vec::new();
    while sent.len() < 2 {
        if let Event::Sent { blocks, .. } = host.event().await {
            sent.extend(blocks);
        }
    }
    assert_eq!(sent, [block(0, 0), block(0, 1)], "both are out of the engine's hands");
    // A cancel of what nobody asked for is nothing; the same block may be asked for again.
    raw.say(&Message::Cancel(block(3, 0))).await;
    raw.say(&Message::Request(block(0, 0))).await;
    assert_eq!(requests(&mut host, 1).await, [block(0, 0)]);
    tell(&peer, Command::Reject(block(0, 0)));
    assert_eq!(raw.hear_more().await, Message::Reject(block(0, 0)));
}

#[tokio::test]
async fn what_a_peer_says_reaches_the_engine_in_its_order() {
    let mut host = Host::new(b'A');
    let (mut raw, peer) = Raw::let_in(&mut host, Features::OURS, none()).await;
    raw.say(&Message::HaveNone).await;
    raw.say_extensions(&ExtensionHandshake { upload_only: Some(true), ..ExtensionHandshake::default() })
        .await;
    for message in [
        Message::Have(1),
        Message::Have(4),
        Message::KeepAlive,
        Message::Unknown(9),
        Message::Interested,
        Message::Unchoke,
        Message::Have(0),
        Message::Choke,
        Message::NotInterested,
        Message::Reject(block(1, 0)),
        Message::Extended { id: 2, payload: Bytes::from_static(&[0]) },
    ] {
        raw.say(&message).await;
    }
    let mut heard = Vec::new();
    while heard.last() != Some(&FromPeer::UploadOnly(false)) {
        if let Event::Messages { messages, .. } = host.event().await {
            heard.extend(messages);
        }
    }
    // How many haves come together is the network's business.
    let mut haves = Vec::new();
    heard.retain(|message| match message {
        FromPeer::Have(pieces) => {
            haves.extend_from_slice(pieces);
            false
        }
        _ => true,
    });
    assert_eq!(haves, [1, 4, 0]);
    let expected = [
        FromPeer::Has(Bitfield::none(PIECES)),
        FromPeer::UploadOnly(true),
        FromPeer::Interested(true),
        FromPeer::Unchoke,
        FromPeer::Choke,
        FromPeer::Interested(false),
        FromPeer::Reject(block(1, 0)),
        FromPeer::UploadOnly(false),
    ];
    assert_eq!(heard, expected);
    tell(&peer, Command::UploadOnly(true));
    tell(&peer, Command::Cancel(block(1, 1)));
    tell(&peer, Command::Interested(false));
    assert_eq!(raw.hear_more().await, Message::Cancel(block(1, 1)));
    assert_eq!(raw.hear_more().await, Message::NotInterested);
}

#[tokio::test]
async fn a_peer_that_gives_only_whole_blocks_is_asked_for_such_and_their_padding_goes_no_further() {
    let mut host = Host::new(b'A');
    let name = PeerId(*b"-rQ9100-abcdefghijkl");
    let (mut raw, peer) = Raw::let_in_as(name, &mut host, Features::OURS, blind_welcome(1)).await;
    tell(&peer, Command::Bundle { layout: layout(), info: super::support::info() });
    let (short, whole) = (Block { len: 1_696, ..block(3, 0) }, block(3, 0));
    for command in [Command::Request(vec![short]), Command::Cancel(short)] {
        tell(&peer, command);
    }
    assert_eq!(raw.hear_more().await, Message::Request(whole));
    assert_eq!(raw.hear_more().await, Message::Cancel(whole));
    raw.say(&Message::Piece { piece: 3, begin: 0, data: bytes_of(whole) }).await;
    let came = |message: &FromPeer| match message {
        FromPeer::Block { data, .. } => Some(data.clone()),
        _ => None,
    };
    assert_eq!(host.heard(came).await, bytes_of(short));
    raw.say(&Message::Reject(whole)).await;
    host.heard(|message| (*message == FromPeer::Reject(short)).then_some(())).await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_its_reason() {
    let have = |piece| Message::Have(piece);
    let bits = |bits: &'static [u8]| Message::Bitfield(Bytes::from_static(bits));
    for (said, why) in [
        (vec![have(PIECES)], "have) of piece 6, of which there are 6"),
        (vec![bits(&[0xff])], "bits beyond the last piece"),
        (vec![bits(&[0, 0])], "bitfield) of 2 bytes"),
        (vec![Message::HaveAll, bits(&[0xff])], "bits beyond the last piece"),
        (vec![Message::Request(Block { piece: 0, begin: 32_768, len: 1 })], "request) of 1 bytes at 32768"),
        (vec![Message::Piece { piece: 0, begin: 0, data: vec![0; 40_000].into() }], "piece) of 40008 bytes"),
        (vec![Message::Extended { id: 0, payload: Bytes::from_static(b"d1:m") }], "bencoding"),
        (vec![Message::Extended { id: 1, payload: Bytes::from_static(b"le") }], "a message of an extension"),
    ] {
        let mut host = Host::new(b'A');
        let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, none()).await;
        for message in &said {
            raw.say(message).await;
        }
        let reason = host.end().await.to_string();
        assert!(reason.contains("broke the protocol") && reason.contains(why), "{said:?}: {reason}");
        raw.rest().await;
    }
}

#[tokio::test]
async fn what_was_said_before_an_error_still_counts() {
    let mut host = Host::new(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, none()).await;
    raw.write(b"\0\0\0\x05\x04\0\0\0\x03\xff\xff\xff\xff\x07").await;
    let Event::Messages { messages, .. } = host.event().await else { panic!("messages") };
    assert_eq!(messages, [FromPeer::Have(vec![3])]);
    assert!(matches!(host.end().await, CloseReason::Wire(_)));
}

#[tokio::test]
async fn a_bitfield_of_a_bundle_that_is_not_known_yet_is_judged_later() {
    for (bits, fits) in [(&[0b1010_0000][..], true), (&[0b1010_0001], false), (&[0, 0], false)] {
        let mut host = Host::new(b'A');
        let (mut raw, peer) = Raw::let_in(&mut host, Features::OURS, blind_welcome(1)).await;
        raw.say(&Message::Bitfield(Bytes::from(bits.to_vec()))).await;
        raw.say(&Message::Have(5)).await;
        raw.say(&Message::Request(block(0, 0))).await;
        // There is nothing to ask for yet.
        assert_eq!(raw.hear_more().await, Message::Reject(block(0, 0)));
        tell(&peer, Command::Bundle { layout: layout(), info: super::support::info() });
        if fits {
            let has = |message: &FromPeer| match message {
                FromPeer::Has(pieces) => Some(pieces.iter().collect::<Vec<_>>()),
                _ => None,
            };
            assert_eq!(host.heard(has).await, [0, 2, 5]);
        } else {
            assert!(matches!(host.end().await, CloseReason::Bitfield(_)));
        }
    }
}

#[tokio::test]
async fn either_side_ends_it_and_the_other_knows() {
    let (mut caller, to_called, mut called, _to_caller) =
        pair(Host::new(b'A'), none(), Host::new(b'B'), all()).await;
    drop(to_called);
    assert!(matches!(caller.end().await, CloseReason::Unwanted));
    assert!(matches!(called.end().await, CloseReason::ByPeer));
}
