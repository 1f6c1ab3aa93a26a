//! A peer's bytes, cut anywhere, are the same messages, and each survives its encoding. The first two bytes say how they
//! are cut and whose bundle's limits hold.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::wire::{Decoder, Handshake, Limits, Message, WireError};
use pkgtorrent_protocol::{BundleLayout, PieceLen};

/// The messages at the front, and what came of the rest.
fn decoded(decoder: &Decoder, bytes: &[u8], chunk_len: usize) -> (Vec<Message>, Result<(), WireError>) {
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(chunk_len) {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        assert!(buffer.capacity() < 1 << 20, "no length is believed that is not allowed");
    }
    (messages, Ok(()))
}

fuzz_target!(|bytes: &[u8]| {
    let [cut, limits, bytes @ ..] = bytes else { return };
    if let Ok(Some(handshake)) = Handshake::decode(&mut BytesMut::from(bytes)) {
        let again = Handshake::decode(&mut BytesMut::from(&handshake.encode()[..]));
        assert_eq!(again, Ok(Some(handshake)));
    }
    let limits = match limits % 2 {
        0 => Limits::UNKNOWN,
        _ => Limits::of(&BundleLayout::new(PieceLen::Small, [300_000]).expect("a layout")),
    };
    let decoder = Decoder::new(limits);
    let whole = decoded(&decoder, bytes, usize::MAX);
    assert_eq!(whole, decoded(&decoder, bytes, usize::from(*cut) + 1), "cuts change nothing");
    for message in whole.0 {
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        assert_eq!(decoded(&decoder, &encoded, usize::MAX), (vec![message], Ok(())));
    }
});
