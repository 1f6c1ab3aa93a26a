//! What is to be sent to one peer, and in which order.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use pkgtorrent_protocol::wire::{Block, Message, piece_header};

/// Haves are said at most this often on their own account; more come together, or with something that is sent anyway. A
/// piece of 32 KiB takes thirteen milliseconds at 20 Mbit/s; a have alone in a packet costs as much as ten together.
const HAVES_INTERVAL: Duration = Duration::from_millis(20);

/// So many haves wait for no others: on a fast line that is sooner.
const HAVES_MAX: usize = 4;

/// How much is made ready for one write: what is ready cannot be cancelled any more.
const READY_LEN_MAX: usize = 64 << 10;

/// How many small messages' bytes may wait. All that a peer can make us say, at once, is a tenth of it: one that lets
/// this much wait does not read.
const SMALL_LEN_MAX: usize = 256 << 10;

/// The most buffers in one write: the header and the bytes of the shortest blocks that make sense.
pub(super) const SLICES_MAX: usize = 32;

/// What is to be sent to one peer. Small messages go before blocks: they are what keeps the other direction busy.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Whole messages.
    small: BytesMut,
    haves: Vec<u32>,
    /// When the haves are to be said at the latest, or were.
    haves_at: Option<Instant>,
    blocks: VecDeque<(Block, Bytes)>,
    /// In this order on their way. With the last bytes of a block stands which block is sent with them.
    ready: VecDeque<(Bytes, Option<Block>)>,
    ready_len: usize,
}

impl Outbox {
    /// Adds a small message.
    pub(super) fn say(&mut self, message: &Message) {
        message.encode(&mut self.small);
    }

    /// Adds what comes before all messages.
    pub(super) fn begin(&mut self, handshake: &[u8]) {
        self.small.extend_from_slice(handshake);
    }

    /// Adds a piece that is here now. It is said at once after a silence, else a little later together with others.
    pub(super) fn have(&mut self, piece: u32, now: Instant) {
        if self.haves.is_empty() {
            let earliest = self.haves_at.map(|at| at.min(now) + HAVES_INTERVAL);
            self.haves_at = Some(earliest.map_or(now, |at| at.max(now)));
        }
        self.haves.push(piece);
        if self.haves.len() >= HAVES_MAX {
            self.haves_at = Some(now);
        }
    }

    /// Adds a block.
    pub(super) fn send(&mut self, block: Block, data: Bytes) {
        self.blocks.push_back((block, data));
    }

    /// Takes a block out that is not on its way yet, and says whether it was there.
    pub(super) fn cancel(&mut self, block: Block) -> bool {
        let found = self.blocks.iter().position(|(waiting, _)| *waiting == block);
        found.is_some_and(|at| self.blocks.remove(at).is_some())
    }

    /// Whether this block is on its way: it cannot be cancelled any more.
    pub(super) fn is_on_its_way(&self, block: Block) -> bool {
        self.ready.iter().any(|(_, ready)| *ready == Some(block))
    }

    /// Whether no small message waits.
    pub(super) fn is_idle(&self) -> bool {
        self.small.is_empty()
    }

    /// Whether more small messages wait than any peer that reads lets wait.
    pub(super) fn is_overfull(&self) -> bool {
        self.small.len() > SMALL_LEN_MAX
    }

    /// Whether there is something to write now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.ready.is_empty()
            || !self.small.is_empty()
            || !self.blocks.is_empty()
            || self.due_at().is_some_and(|at| at <= now)
    }

    /// When the haves are to be said at the latest.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.haves_at.filter(|_| !self.haves.is_empty())
    }

    /// Makes at most `len` bytes ready, or one block if that is longer.
    pub(super) fn make_ready(&mut self, len: usize) {
        if !self.ready.is_empty() {
            return;
        }
        for piece in self.haves.drain(..) {
            Message::Have(piece).encode(&mut self.small);
        }
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.push(small, None);
        }
        while self.ready.len() + 2 <= SLICES_MAX
            && self.blocks.front().is_some_and(|(_, data)| {
                self.ready_len == 0 || self.ready_len + data.len() <= len.min(READY_LEN_MAX)
            })
            && let Some((block, data)) = self.blocks.pop_front()
        {
            let header = piece_header(block.piece, block.begin, data.len());
            self.push(Bytes::copy_from_slice(&header), None);
            self.push(data, Some(block));
        }
    }

    fn push(&mut self, bytes: Bytes, block: Option<Block>) {
        self.ready_len += bytes.len();
        self.ready.push_back((bytes, block));
    }

    /// What is ready, for one write.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for ((bytes, _), slice) in self.ready.iter().zip(slices) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// So many bytes were written; `sent` gets the blocks that ended among them. Says how many of them were no block's.
    pub(super) fn wrote(&mut self, mut len: usize, sent: &mut Vec<Block>) -> usize {
        self.ready_len -= len;
        let mut messages_len = 0;
        while let Some((bytes, block)) = self.ready.front_mut() {
            let written = len.min(bytes.len());
            if block.is_none() {
                messages_len += written;
            }
            if written < bytes.len() {
                bytes.advance(written);
                break;
            }
            len -= written;
            sent.extend(*block);
            self.ready.pop_front();
        }
        messages_len
    }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::wire::{Decoder, Limits};
    use proptest::prelude::*;

    use super::*;

    fn block(piece: u32, len: u32) -> Block {
        Block { piece, begin: 0, len }
    }

    fn data(len: u32) -> Bytes {
        Bytes::from(vec![1; len as usize])
    }

    impl Outbox {
        /// What waits of blocks.
        fn blocks_len(&self) -> usize {
            let ready = self.ready.iter().filter(|(_, block)| block.is_some()).map(|(bytes, _)| bytes.len());
            ready.chain(self.blocks.iter().map(|(_, data)| data.len())).sum()
        }
    }

    /// Writes all of it, so many bytes at a time: the messages, and the blocks that were said to be sent. What was said
    /// to be no block's is all the rest.
    fn written(outbox: &mut Outbox, step: usize) -> (Vec<Message>, Vec<Block>) {
        let (mut bytes, mut sent) = (BytesMut::new(), Vec::new());
        let (mut rest_len, before) = (0, outbox.blocks_len());
        while outbox.is_due(Instant::now() + HAVES_INTERVAL) {
            outbox.make_ready(READY_LEN_MAX);
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = outbox.slices(&mut slices);
            let ready: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let len = step.min(ready.len());
            bytes.extend_from_slice(&ready[..len]);
            rest_len += outbox.wrote(len, &mut sent);
        }
        assert_eq!(rest_len, bytes.len() - before);
        let decoder = Decoder::new(Limits::UNKNOWN);
        let messages = std::iter::from_fn(|| decoder.decode(&mut bytes).expect("messages")).collect();
        (messages, sent)
    }

    proptest! {
        #[test]
        fn everything_is_written_once_however_little_goes_at_a_time(
            blocks in proptest::collection::vec(1_u32..40_000, 0..30), haves in 0_u32..30, step in 1_usize..200_000,
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (piece, len) in (0..).zip(&blocks) {
                outbox.send(block(piece, *len), data(*len));
                expected.push(block(piece, *len));
            }
            for piece in 0..haves {
                outbox.have(piece, Instant::now());
            }
            outbox.say(&Message::Interested);
            let (messages, sent) = written(&mut outbox, step);
            prop_assert_eq!(sent, expected.clone());
            prop_assert_eq!(messages.len(), blocks.len() + haves as usize + 1);
            let pieces = messages.into_iter().filter_map(|message| match message {
                Message::Piece { piece, begin, data } => Some(Block { piece, begin, len: data.len() as u32 }),
                _ => None,
            });
            prop_assert_eq!(pieces.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_is_cancelled_before_it_is_on_its_way_is_not_sent() {
        let mut outbox = Outbox::default();
        for piece in 0..6 {
            outbox.send(block(piece, 16_384), data(16_384));
        }
        outbox.make_ready(READY_LEN_MAX);
        let mut sent = Vec::new();
        outbox.wrote(1, &mut sent);
        assert!(!outbox.cancel(block(0, 16_384)), "it is on its way");
        assert!(outbox.cancel(block(5, 16_384)));
        assert!(!outbox.cancel(block(5, 16_384)));
        outbox.wrote(outbox.ready_len, &mut sent);
        sent.extend(written(&mut outbox, 100_000).1);
        assert_eq!(sent.iter().map(|block| block.piece).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn small_messages_overtake_blocks_and_haves_go_with_them() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.have(6, now);
        written(&mut outbox, 1000);
        outbox.have(7, now);
        assert!(!outbox.is_due(now));
        outbox.send(block(1, 5), data(5));
        outbox.say(&Message::Interested);
        assert!(outbox.is_due(now));
        let (messages, _) = written(&mut outbox, 1000);
        let piece = Message::Piece { piece: 1, begin: 0, data: data(5) };
        assert_eq!(messages, [Message::Interested, Message::Have(7), piece]);
        assert_eq!(outbox.due_at(), None);
    }

    #[test]
    fn a_have_after_a_silence_goes_at_once_and_the_next_wait_for_company() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let said = |outbox: &mut Outbox| written(outbox, 1000).0.len();
        outbox.have(0, start);
        assert!(outbox.is_due(start));
        assert_eq!(said(&mut outbox), 1);
        let now = start + HAVES_INTERVAL / 4;
        outbox.have(1, now);
        assert_eq!(outbox.due_at(), Some(start + HAVES_INTERVAL));
        outbox.have(2, now);
        assert_eq!(outbox.due_at(), Some(start + HAVES_INTERVAL));
        (3..5).for_each(|piece| outbox.have(piece, now));
        assert!(outbox.is_due(now), "they are enough");
        assert_eq!(said(&mut outbox), 4);
        outbox.have(5, start + 2 * HAVES_INTERVAL);
        assert!(outbox.is_due(start + 2 * HAVES_INTERVAL), "there was a silence");
    }
}
