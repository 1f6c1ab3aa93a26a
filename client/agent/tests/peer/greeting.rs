//! Who gets a connection.

use std::time::Duration;

use pkgtorrent_agent::peer::{DialError, EVENTS_MAX, Event, FromPeer, GreetingError, Patience, bind};
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::wire::{Bitfield, ExtensionHandshake, Features, Message};
use tokio::net::TcpListener;

use super::support::{Host, PIECES, Raw, info, info_hash, pair, peer_id, settings, short, welcome};

async fn refusal(host: &mut Host) -> DialError {
    match host.event().await {
        Event::Unreachable { error, .. } => error,
        other => panic!("nobody is reached: {other:?}"),
    }
}

#[tokio::test]
async fn both_ends_know_who_the_other_is_and_what_it_has() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let called = Host::at(address, b'B', &settings(), Patience::default(), EVENTS_MAX);
        let caller = Host::new(b'A');
        caller.peers.dial(called.address, info_hash());
        let (mut caller, mut called) = (caller, called);
        let hello = called.hello().await;
        assert_eq!((hello.info_hash, hello.peer_id), (info_hash(), peer_id(b'A')));
        assert!(!hello.is_dialled && hello.is_fast && hello.address.ip().is_loopback());
        let mut some = Bitfield::none(PIECES);
        some.set(2);
        hello.welcome.send(welcome(1, some.clone())).expect("is let in");
        let other = caller.hello().await;
        assert_eq!((other.info_hash, other.peer_id), (info_hash(), peer_id(b'B')));
        assert!(other.is_dialled && other.is_fast && other.address == called.address);
        other.welcome.send(welcome(2, Bitfield::all(PIECES))).expect("is let in");
        let has = |message: &FromPeer| match message {
            FromPeer::Has(pieces) => Some(pieces.clone()),
            _ => None,
        };
        assert_eq!(caller.heard(has).await, some);
        assert_eq!(called.heard(has).await, Bitfield::all(PIECES));
    }
}

#[tokio::test]
async fn the_first_words_are_those_that_the_extensions_want() {
    let mut host = Host::new(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, welcome(1, Bitfield::none(PIECES))).await;
    assert_eq!(raw.hear().await, Message::HaveNone);
    let Message::Extended { id: 0, payload } = raw.hear().await else { panic!("an extension handshake") };
    let said = ExtensionHandshake::decode(&payload).expect("is read");
    assert_eq!(said.metadata_size, Some(info().len() as u32));
    assert_eq!(said.requests_max, Some(512));
    assert_eq!(said.port, Some(host.address.port()));
    assert_eq!(said.your_ip, Some(raw.stream.local_addr().expect("an address").ip()));
    assert_eq!(said.upload_only, Some(false));
    assert!(said.client.is_some_and(|client| client.starts_with("pkgtorrent ")));
    assert_eq!(raw.hear().await, Message::Unchoke);

    // A peer of 2001: no extension is spoken with it.
    let (mut raw, _peer) =
        Raw::let_in(&mut host, Features::default(), welcome(2, Bitfield::all(PIECES))).await;
    assert_eq!(raw.hear().await, Message::Bitfield(Bitfield::all(PIECES).to_bytes()));
    assert_eq!(raw.hear().await, Message::Unchoke);
}

#[tokio::test]
async fn a_bundle_that_is_not_shared_is_not_answered() {
    let (mut called, mut caller) = (Host::new(b'B'), Host::new(b'A'));
    let mut raw = Raw::connect(&called).await;
    raw.shake(InfoHash([9; 20]), Features::OURS).await;
    drop(called.hello().await);
    assert_eq!(raw.rest().await, b"", "not even a handshake");
    caller.peers.dial(called.address, info_hash());
    drop(called.hello().await);
    assert!(matches!(refusal(&mut caller).await, DialError::Greeting(GreetingError::Io(_))));
    assert!(called.is_left_alone().await, "nothing more is heard of those that were not let in");
}

#[tokio::test]
async fn an_agent_does_not_speak_with_itself() {
    let mut host = Host::new(b'A');
    host.peers.dial(host.address, info_hash());
    let error = refusal(&mut host).await;
    assert!(matches!(error, DialError::Greeting(_)), "{error}");
    assert!(host.is_left_alone().await, "the end that was called says nothing");
    // A peer that answers with our own name.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    host.peers.dial(listener.local_addr().expect("an address"), info_hash());
    let mut raw = Raw::of(listener.accept().await.expect("a call").0);
    let mirrored = raw.shaken().await.encode();
    raw.write(&mirrored).await;
    let error = refusal(&mut host).await;
    assert!(matches!(error, DialError::Greeting(GreetingError::Ourselves)), "{error}");
}

#[tokio::test]
async fn another_bundle_than_the_one_asked_for_is_refused() {
    let mut host = Host::new(b'A');
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    host.peers.dial(listener.local_addr().expect("an address"), info_hash());
    let mut raw = Raw::of(listener.accept().await.expect("a call").0);
    assert_eq!(raw.shaken().await.info_hash, info_hash());
    raw.shake(InfoHash([9; 20]), Features::OURS).await;
    let error = refusal(&mut host).await;
    assert!(matches!(error, DialError::Greeting(GreetingError::OtherBundle)), "{error}");
    assert_eq!(raw.rest().await, b"");
}

#[tokio::test]
async fn nobody_outside_the_networks_is_called_or_answered() {
    let mut elsewhere = settings();
    elsewhere.networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let mut host = Host::with(b'A', &elsewhere, Patience::default(), EVENTS_MAX);
    let mut raw = Raw::connect(&host).await;
    assert_eq!(raw.rest().await, b"");
    let other = Host::new(b'B');
    host.peers.dial(other.address, info_hash());
    assert!(matches!(refusal(&mut host).await, DialError::OutsideNetworks));
    assert!(host.is_left_alone().await);
}

#[tokio::test]
async fn who_does_not_say_in_time_who_it_is_is_left() {
    let mut host = Host::with(b'A', &settings(), short(), EVENTS_MAX);
    let mut silent = Raw::connect(&host).await;
    let mut slow = Raw::connect(&host).await;
    slow.write(b"\x13BitTorrent").await;
    assert_eq!(silent.rest().await, b"");
    assert_eq!(slow.rest().await, b"");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    host.peers.dial(listener.local_addr().expect("an address"), info_hash());
    let _raw = listener.accept().await.expect("a call");
    assert!(matches!(refusal(&mut host).await, DialError::TooSlow));
}

#[tokio::test]
async fn another_protocol_is_ended_at_its_first_wrong_byte() {
    let mut host = Host::new(b'A');
    let mut raw = Raw::connect(&host).await;
    raw.write(b"\x13BitTorrenX").await;
    assert_eq!(raw.rest().await, b"");
    let mut raw = Raw::connect(&host).await;
    raw.write(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(raw.rest().await, b"");
    assert!(host.is_left_alone().await);
}

#[tokio::test]
async fn there_are_no_more_connections_than_may_be() {
    let mut few = settings();
    few.connections_max = 1;
    let called = Host::with(b'B', &few, Patience::default(), EVENTS_MAX);
    let (mut caller, to_called, mut called, _to_caller) =
        pair(Host::new(b'A'), welcome(1, Bitfield::none(PIECES)), called, welcome(2, Bitfield::none(PIECES)))
            .await;
    assert!(!called.peers.has_room());
    let mut raw = Raw::connect(&called).await;
    raw.shake(info_hash(), Features::OURS).await;
    assert_eq!(raw.rest().await, b"");
    called.peers.dial(caller.address, info_hash());
    let error = loop {
        if let Event::Unreachable { error, .. } = called.event().await {
            break error;
        }
    };
    assert!(matches!(error, DialError::TooMany), "{error}");
    // The place is free again before the end is known.
    drop(to_called);
    caller.end().await;
    called.end().await;
    assert!(called.peers.has_room());
}

#[tokio::test]
async fn where_nobody_listens_nobody_is_reached() {
    let mut host = Host::new(b'A');
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("listens").local_addr().expect("an address");
    host.peers.dial(closed, info_hash());
    assert!(matches!(refusal(&mut host).await, DialError::Connect(_)));
}

#[tokio::test]
async fn a_busy_port_means_another_one() {
    let first = bind("127.0.0.1:0".parse().expect("an address")).expect("listens");
    let address = first.local_addr().expect("an address");
    let second = bind(address).expect("listens elsewhere").local_addr().expect("an address");
    assert_eq!(second.ip(), address.ip());
    assert_ne!(second.port(), address.port());
    // All addresses are those of IPv4 too.
    let all = bind("[::]:0".parse().expect("an address")).expect("listens");
    let port = all.local_addr().expect("an address").port();
    let reached =
        std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5));
    assert!(reached.is_ok());
}
