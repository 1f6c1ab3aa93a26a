//! No byte of an unverified piece is ever served: a host that is asked for what it does not have says no.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::wire::{BLOCK_LEN, Bitfield, Block, Message};
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_system_tests::fake_peer::Wire;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::{Answer, Received, Then};
use pkgtorrent_test_support::{Agent, Server, ask};

/// The length of the bundle's pieces.
const PIECE_LEN: usize = 32_768;

/// One package of one bundle: thirty pieces and some bytes.
const PACKAGE_LEN: usize = 30 * PIECE_LEN + 1000;

/// What the origin sends of it before it falls silent: two batches of whole pieces, as they are checked and written, and
/// half a piece.
const SENT_PIECES: u32 = 16;
const SENT_LEN: usize = SENT_PIECES as usize * PIECE_LEN + 20_000;

/// The piece of which the origin sends other bytes.
const WRONG_PIECE: u32 = 3;

/// How long an agent may take to have what was sent.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// The pieces that an agent says to have. It says so before anything else.
fn said(wire: &mut Wire, pieces: u32) -> Bitfield {
    loop {
        match wire.hear().expect("a message") {
            Message::Bitfield(bits) => return Bitfield::parse(pieces, &bits).expect("a bitfield"),
            Message::HaveNone => return Bitfield::none(pieces),
            Message::HaveAll => return Bitfield::all(pieces),
            _ => {}
        }
    }
}

/// What comes of asking for a block: its bytes, or none if it is refused.
fn answer(wire: &mut Wire, block: Block) -> Option<Vec<u8>> {
    wire.say(&Message::Request(block)).expect("it listens");
    loop {
        match wire.hear().expect("an answer") {
            Message::Piece { piece, begin, data } if (piece, begin) == (block.piece, block.begin) => {
                return Some(data.to_vec());
            }
            Message::Reject(refused) if refused == block => return None,
            Message::Have(_) | Message::Unchoke | Message::KeepAlive | Message::Extended { .. } => {}
            other => panic!("{other:?} is no answer to {block:?}"),
        }
    }
}

fn call(agent: &Agent, info_hash: InfoHash) -> Wire {
    Wire::call(agent, info_hash, PeerId([b'x'; 20])).expect("it lets a peer in")
}

/// An origin that sends the beginning of a package, with one piece wrong, and nothing that it sent before.
fn origin(site: &Site) -> Server {
    let sent: Mutex<BTreeSet<usize>> = Mutex::default();
    proxy::before(site.service.addr(), move |request, answer| match (Part::of(request), answer) {
        (Part::Package, Answer::Response { status, headers, mut body }) => {
            let start = first_asked(request);
            let is_new = sent.lock().expect("no panic").insert(start);
            // Of the wrong piece alone.
            if start > SENT_LEN || !is_new || start == WRONG_PIECE as usize * PIECE_LEN {
                return Answer::Hang;
            }
            let wrong = WRONG_PIECE as usize * PIECE_LEN;
            if let Some(byte) = wrong.checked_sub(start).and_then(|offset| body.get_mut(offset)) {
                *byte ^= 1;
            }
            let missing = (start + body.len()).saturating_sub(SENT_LEN);
            let answer = Answer::Response { status, headers, body };
            if missing > 0 { answer.cut(missing, Then::Hang) } else { answer }
        }
        (_, answer) => answer,
    })
}

/// Where the bytes begin that a request is for.
fn first_asked(request: &Received) -> usize {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn only_verified_pieces_are_given_while_a_package_is_on_its_way() {
    let site = Site::start(&[("a.rpm", PACKAGE_LEN)], "");
    let info_hash = site.plan().bundles[0].info_hash;
    let info = BundleInfo::parse(&ask::bundle_info(site.service.addr(), info_hash)).expect("a bundle");
    let pieces = info.layout().pieces();
    let origin = origin(&site);
    let agent = Agent::with_config("stall_timeout = 60\n");
    let mut fetching = agent.start_fetch(&origin.url("/"), &agent.wants(&site.packages));
    fetching.wait_for_progress(1);
    let expected: Vec<u32> = (0..SENT_PIECES).filter(|piece| *piece != WRONG_PIECE).collect();
    let mut wire = wait_for("all pieces that were sent", ARRIVES_WITHIN, || {
        let mut wire = call(&agent, info_hash);
        (said(&mut wire, pieces).count() as usize >= expected.len()).then_some(wire)
    });
    wire.say(&Message::Interested).expect("it listens");
    let bytes = site.packages[0].bytes();
    let mut given = Vec::new();
    for (piece, right) in (0..).zip(bytes.chunks(PIECE_LEN)) {
        let len = BLOCK_LEN.min(right.len() as u32);
        if let Some(data) = answer(&mut wire, Block { piece, begin: 0, len }) {
            assert!(data == right[..len as usize], "piece {piece} is another");
            given.push(piece);
        }
    }
    assert_eq!(given, expected);
}
