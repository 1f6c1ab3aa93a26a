//! What a peer can take of this host's time, memory and line.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use pkgtorrent_agent::peer::{
    CloseReason, Command, EVENTS_MAX, Event, FromPeer, Patience, REQUESTS_MAX, Welcome,
};
use pkgtorrent_agent::settings::PeerSettings;
use pkgtorrent_protocol::wire::{BLOCK_LEN, Bitfield, Block, Features, Message};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::support::{Host, PIECES, Raw, blind_welcome, pair, settings, short, tell, welcome};

fn all() -> Welcome {
    welcome(1, Bitfield::all(PIECES))
}

fn block(begin: u32) -> Block {
    Block { piece: 0, begin, len: 1 }
}

#[tokio::test]
async fn a_length_that_cannot_be_is_not_waited_for() {
    for head in [&b"\xff\xff\xff\xff\x07"[..], b"\0\0\x80\x0a\x07", b"\0\0\0\x03\x05", b"\0\x01\0\0\x14"] {
        let mut host = Host::new(b'A');
        let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, all()).await;
        raw.write(head).await;
        assert!(matches!(host.end().await, CloseReason::Wire(_)), "{head:?}");
    }
}

#[tokio::test]
async fn who_asks_for_more_than_may_wait_is_told_so() {
    let mut host = Host::new(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, all()).await;
    for begin in 0..=REQUESTS_MAX as u32 {
        raw.say(&Message::Request(block(begin))).await;
        // Twice the same is once.
        raw.say(&Message::Request(block(begin.min(5)))).await;
    }
    assert_eq!(raw.hear_more().await, Message::Reject(block(REQUESTS_MAX as u32)));
    // There is no way to say so without the fast extension.
    let mut host = Host::new(b'A');
    let slow = Features { extended: true, fast: false };
    let (mut raw, _peer) = Raw::let_in(&mut host, slow, all()).await;
    for begin in 0..=REQUESTS_MAX as u32 {
        raw.say(&Message::Request(block(begin))).await;
    }
    assert!(matches!(host.end().await, CloseReason::TooManyRequests));
}

#[tokio::test]
async fn who_never_reads_what_it_causes_is_left() {
    let mut host = Host::new(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, blind_welcome(1)).await;
    let mut requests = BytesMut::new();
    (0..10_000).for_each(|begin| Message::Request(block(begin)).encode(&mut requests));
    let flood = async {
        // The kernel's buffers take some megabytes of answers.
        while raw.stream.write_all(&requests).await.is_ok() {}
    };
    timeout(Duration::from_secs(20), flood).await.expect("it is ended");
    assert!(matches!(host.end().await, CloseReason::NotReading));
}

#[tokio::test]
async fn while_the_engine_is_behind_nothing_more_is_read() {
    let mut host = Host::with(b'A', &settings(), Patience::default(), 2);
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, all()).await;
    let mut piece = BytesMut::new();
    let data = vec![7; BLOCK_LEN as usize].into();
    Message::Piece { piece: 0, begin: 0, data }.encode(&mut piece);
    let (mut written, enough) = (0, 64 << 20);
    let flood = async {
        while written < enough {
            written += raw.stream.write(&piece[written % piece.len()..]).await.expect("is written");
        }
    };
    assert!(timeout(Duration::from_secs(2), flood).await.is_err(), "nothing holds it back");
    // All of it comes once the engine listens.
    let blocks = written / piece.len();
    let mut came = 0;
    while came < blocks {
        if let Event::Messages { messages, .. } = host.event().await {
            came += messages.iter().filter(|message| matches!(message, FromPeer::Block { .. })).count();
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_for_too_long_is_left_and_one_that_says_something_is_not() {
    let patience = Patience { keep_alive: Duration::from_millis(100), ..short() };
    let host = |name| Host::with(name, &settings(), patience, EVENTS_MAX);
    let (mut caller, _to_called, _called, _to_caller) = pair(host(b'A'), all(), host(b'B'), all()).await;
    let kept = timeout(Duration::from_secs(1), caller.end()).await;
    assert!(kept.is_err(), "signs of life count");
    let mut host = host(b'A');
    let (mut raw, _peer) = Raw::let_in(&mut host, Features::OURS, all()).await;
    let began = Instant::now();
    assert!(matches!(host.end().await, CloseReason::Silent));
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!(raw.hear_more().await, Message::KeepAlive);
}

/// How long 240 KiB take from a host to another.
async fn transfer(sender: &PeerSettings, receiver: &PeerSettings) -> Duration {
    let host = |name, settings| Host::with(name, settings, Patience::default(), EVENTS_MAX);
    let (mut caller, to_called, mut called, to_caller) =
        pair(host(b'A', receiver), welcome(2, Bitfield::none(PIECES)), host(b'B', sender), all()).await;
    let wanted: Vec<Block> = (0..15)
        .map(|number| Block {
            piece: number / 2 % PIECES,
            begin: number % 2 * BLOCK_LEN + number / 12,
            len: BLOCK_LEN - 1,
        })
        .collect();
    let began = Instant::now();
    tell(&to_called, Command::Request(wanted.clone()));
    let mut asked = 0;
    while asked < wanted.len() {
        if let Event::Messages { messages, .. } = called.event().await {
            for message in messages {
                if let FromPeer::Request(block) = message {
                    let data = vec![1; block.len as usize].into();
                    tell(&to_caller, Command::Block { block, data });
                    asked += 1;
                }
            }
        }
    }
    let mut came = 0;
    while came < wanted.len() {
        if let Event::Messages { messages, .. } = caller.event().await {
            came += messages.iter().filter(|message| matches!(message, FromPeer::Block { .. })).count();
        }
    }
    began.elapsed()
}

#[tokio::test]
async fn limits_hold_for_what_is_sent_and_for_what_is_taken() {
    let limited = |upload_limit, download_limit| PeerSettings { upload_limit, download_limit, ..settings() };
    let free = settings();
    // 240 KiB at 300,000 bytes a second take 0.8 seconds, less what may go at once.
    let least = Duration::from_millis(600);
    assert!(transfer(&free, &free).await < least);
    for (sender, receiver) in [(limited(300_000, 0), free.clone()), (free.clone(), limited(0, 300_000))] {
        let took = transfer(&sender, &receiver).await;
        assert!(took > least && took < Duration::from_secs(3), "{took:?}");
    }
    // The limits are each for one direction.
    assert!(transfer(&limited(0, 300_000), &limited(300_000, 0)).await < least);
}
