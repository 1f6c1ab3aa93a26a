//! What a peer says in messages of extensions, when it is understood, survives its encoding.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pkgtorrent_protocol::wire::{ExtensionHandshake, MetadataMessage};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(said) = ExtensionHandshake::decode(bytes) {
        assert_eq!(ExtensionHandshake::decode(&said.encode()).as_ref(), Ok(&said));
    }
    if let Ok(Some(message)) = MetadataMessage::decode(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(MetadataMessage::decode(&message.encode()), Ok(Some(message)));
    }
});
