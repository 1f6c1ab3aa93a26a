//! Info dictionaries to and from peers.

use bytes::Bytes;
use pkgtorrent_agent::peer::{Command, EVENTS_MAX, Event, FromPeer, InfoError, Peer};
use pkgtorrent_protocol::wire::{
    AssemblyError, Bitfield, ExtensionHandshake, Features, Message, MetadataMessage, OUR_METADATA_ID,
};

use super::support::{Host, PIECES, Raw, blind_welcome, info, pair, settings, short, tell, welcome};

async fn fetched(host: &mut Host, peer: &Peer) -> Result<Bytes, InfoError> {
    tell(peer, Command::FetchInfo { len: info().len() });
    loop {
        match host.event().await {
            Event::Info { result, .. } => return result,
            Event::Closed { reason, .. } => panic!("the connection ended: {reason}"),
            _ => {}
        }
    }
}

/// What a host gets that asks one that has this info dictionary.
async fn fetched_from(theirs: Option<Bytes>) -> Result<Bytes, InfoError> {
    let mut giver = welcome(2, Bitfield::all(PIECES));
    giver.info = theirs;
    let (mut caller, peer, _called, _to_caller) =
        pair(Host::new(b'A'), blind_welcome(1), Host::new(b'B'), giver).await;
    fetched(&mut caller, &peer).await
}

#[tokio::test]
async fn an_info_dictionary_comes_from_a_peer_and_the_connection_goes_on_with_it() {
    let giver = welcome(2, Bitfield::all(PIECES));
    let (mut caller, peer, mut called, _to_caller) =
        pair(Host::new(b'A'), blind_welcome(1), Host::new(b'B'), giver).await;
    let len = caller.heard(|message| match message {
        FromPeer::HasInfo(len) => Some(*len),
        _ => None,
    });
    assert_eq!(len.await as usize, info().len());
    assert_eq!(fetched(&mut caller, &peer).await, Ok(info()));
    // What the other had said before is understood now; we have nothing.
    tell(&peer, Command::Bundle { layout: super::support::layout(), info: info() });
    let has = |message: &FromPeer| match message {
        FromPeer::Has(pieces) => Some(pieces.clone()),
        _ => None,
    };
    assert_eq!(caller.heard(has).await, Bitfield::all(PIECES));
    assert_eq!(called.heard(has).await, Bitfield::none(PIECES));
    tell(&peer, Command::Have(vec![3]));
    let have = called.heard(|message| match message {
        FromPeer::Have(pieces) => Some(pieces.clone()),
        _ => None,
    });
    assert_eq!(have.await, [3]);
}

#[tokio::test]
async fn a_wrong_info_dictionary_is_refused() {
    let mut wrong = info().to_vec();
    wrong[20_000] ^= 1;
    assert_eq!(fetched_from(Some(wrong.into())).await, Err(InfoError::Wrong(AssemblyError::OtherHash)));
    let short = info().slice(1..);
    let error = AssemblyError::OtherLength { theirs: 39_999, ours: 40_000 };
    assert_eq!(fetched_from(Some(short)).await, Err(InfoError::Wrong(error)));
    assert_eq!(fetched_from(Some(info())).await, Ok(info()), "and the right one is not");
}

#[tokio::test]
async fn who_has_none_or_speaks_no_extensions_is_not_waited_for() {
    assert_eq!(fetched_from(None).await, Err(InfoError::NotGiven));
    let mut host = Host::new(b'A');
    let (_raw, peer) =
        Raw::let_in(&mut host, Features { extended: false, fast: true }, blind_welcome(1)).await;
    assert_eq!(fetched(&mut host, &peer).await, Err(InfoError::NotGiven));
}

#[tokio::test]
async fn who_says_that_it_has_one_and_never_sends_it_is_given_up() {
    let patience = pkgtorrent_agent::peer::Patience { info: short().info, ..Default::default() };
    let mut host = Host::with(b'A', &settings(), patience, EVENTS_MAX);
    let (mut raw, peer) = Raw::let_in(&mut host, Features::OURS, blind_welcome(1)).await;
    let metadata_size = Some(info().len() as u32);
    let ids = ExtensionHandshake { metadata_id: Some(9), metadata_size, ..ExtensionHandshake::default() };
    raw.say_extensions(&ids).await;
    assert_eq!(fetched(&mut host, &peer).await, Err(InfoError::TooSlow));
    // All pieces were asked for at once, under the id that it wanted.
    for piece in 0..3 {
        let payload = MetadataMessage::Request(piece).encode();
        assert_eq!(raw.hear_more().await, Message::Extended { id: 9, payload });
    }
}

#[tokio::test]
async fn nobody_gets_a_piece_a_third_time() {
    let mut host = Host::new(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, welcome(1, Bitfield::none(PIECES))).await;
    raw.say_extensions(&ExtensionHandshake { metadata_id: Some(9), ..ExtensionHandshake::default() }).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let payload = MetadataMessage::Request(1).encode();
        raw.say(&Message::Extended { id: OUR_METADATA_ID, payload }).await;
        let Message::Extended { id: 9, payload } = raw.hear_more().await else { panic!("an answer") };
        answers.push(MetadataMessage::decode(&payload).expect("is read").expect("is known"));
    }
    let data = MetadataMessage::Data { piece: 1, info_len: 40_000, data: info().slice(16_384..32_768) };
    assert_eq!(answers, [data.clone(), data, MetadataMessage::Reject(1)]);
}
