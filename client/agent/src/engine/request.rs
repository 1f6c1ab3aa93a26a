//! One request to a web seed: bytes come in order, are cut into pieces, checked, and written.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::layout::Extent;
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_swarm::{BundleId, Outcome, RequestId};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::event::{Event, Task};
use crate::origin::{Http, RangeError, RangeRequest, read_range};
use crate::store::{Partial, piece_matches};

/// How many chunks may wait between the socket and the pieces. Both ends are in one task, so that more would win nothing;
/// and a chunk of a fast connection has some 400 KiB.
const CHUNKS_MAX: usize = 2;

/// Pieces are checked and written in batches of at least this many bytes: handing a batch to another thread costs as
/// much as hashing some 10 KiB.
const BATCH_LEN_MIN: usize = 256 << 10;

/// The most bytes, over all requests, that have arrived and are not written yet, in KiB: it bounds memory. More than
/// all connections' batches at once, and some tens of milliseconds of a disk's work.
pub(crate) const UNWRITTEN_KIB_MAX: usize = 4 << 10;

/// What a request is to bring.
pub(crate) struct Errand {
    pub(crate) request: RequestId,
    pub(crate) bundle: BundleId,
    pub(crate) url: reqwest::Url,
    pub(crate) info: Arc<BundleInfo>,
    pub(crate) extent: Extent,
    /// Pieces of the bundle.
    pub(crate) pieces: Range<u32>,
    pub(crate) partial: Partial,
}

/// Where a request's work is done.
#[derive(Clone)]
pub(crate) struct Yard {
    pub(crate) http: Http,
    pub(crate) unwritten: Arc<Semaphore>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Errand {
    fn piece_len(&self) -> u64 {
        self.info.layout().piece_len().bytes().into()
    }

    /// The bytes of the package that the pieces cover, without padding.
    fn range(&self) -> Range<u64> {
        let offset = |piece: u32| u64::from(piece - self.extent.first_piece) * self.piece_len();
        offset(self.pieces.start)..offset(self.pieces.end).min(self.extent.size)
    }

    /// Does the request and tells the engine of its pieces and its end.
    pub(crate) async fn run(self, yard: Yard) {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let wanted = RangeRequest { url: self.url.clone(), size: self.extent.size, range: self.range() };
        let request = self.request;
        let (report, ()) =
            tokio::join!(read_range(&yard.http, wanted, sender), self.take_in(receiver, &yard));
        let (outcome, reason) = match report {
            Ok(report) if report.ranges_ignored => (Outcome::NoRanges, None),
            Ok(_) => (Outcome::Complete, None),
            Err(error) => (outcome_of(&error), Some(error.to_string())),
        };
        let _ = yard.events.send(Task::Ended { request, outcome, reason }.into()).await;
    }

    /// Cuts what arrives into batches of whole pieces; returns once all of them are written or refused.
    async fn take_in(&self, mut chunks: mpsc::Receiver<Bytes>, yard: &Yard) {
        let range = self.range();
        let piece_len = self.piece_len() as usize;
        let batch_len = BATCH_LEN_MIN.next_multiple_of(piece_len);
        let mut left = (range.end - range.start) as usize;
        let mut piece = self.pieces.start;
        let mut batch = Vec::with_capacity(batch_len.min(left));
        let mut batches = Vec::new();
        while let Some(mut chunk) = chunks.recv().await {
            while !chunk.is_empty() {
                let taken = chunk.split_to(chunk.len().min(batch_len.min(left) - batch.len()));
                if taken.is_empty() {
                    // More than was asked for: the reader sees that too and says so.
                    break;
                }
                batch.extend_from_slice(&taken);
                if batch.len() == batch_len.min(left) {
                    left -= batch.len();
                    let next = Vec::with_capacity(batch_len.min(left));
                    let full = std::mem::replace(&mut batch, next);
                    let pieces = full.len().div_ceil(piece_len) as u32;
                    batches.push(self.check_and_write(piece, full, yard).await);
                    piece += pieces;
                }
            }
        }
        // The connection ended early: its whole pieces are as good as any.
        batch.truncate(batch.len() / piece_len * piece_len);
        if !batch.is_empty() {
            batches.push(self.check_and_write(piece, batch, yard).await);
        }
        for batch in batches {
            let _ = batch.await;
        }
    }

    /// Checks and writes pieces on another thread, as soon as few enough bytes wait for that.
    async fn check_and_write(&self, first_piece: u32, bytes: Vec<u8>, yard: &Yard) -> JoinHandle<()> {
        // At most UNWRITTEN_KIB_MAX: a batch is no longer than the longest piece.
        let kib = bytes.len().div_ceil(1024) as u32;
        let permit = Arc::clone(&yard.unwritten).acquire_many_owned(kib).await;
        let (request, bundle, extent) = (self.request, self.bundle, self.extent);
        let (info, partial, events) = (Arc::clone(&self.info), self.partial.clone(), yard.events.clone());
        tokio::task::spawn_blocking(move || {
            let event = match write_right_pieces(&info, extent.first_piece, first_piece, &bytes, &partial) {
                Ok(pieces) => Task::Arrived { request, partial, at: (bundle, extent.first_piece), pieces },
                Err(error) => Task::Unwritable { request, error },
            };
            drop((bytes, permit));
            let _ = events.blocking_send(event.into());
        })
    }
}

/// Writes those pieces that match their hashes, and says for each whether it did.
fn write_right_pieces(
    info: &BundleInfo,
    package_first_piece: u32,
    first_piece: u32,
    bytes: &[u8],
    partial: &Partial,
) -> std::io::Result<Vec<(u32, bool)>> {
    let piece_len = info.layout().piece_len();
    let mut pieces = Vec::new();
    for (piece, bytes) in (first_piece..).zip(bytes.chunks(piece_len.bytes() as usize)) {
        let start = piece as usize * BLOCK_HASH_LEN;
        let is_right = piece_matches(piece_len, bytes, &info.block_hashes()[start..start + BLOCK_HASH_LEN]);
        if is_right {
            partial.write_piece(piece_len, piece - package_first_piece, bytes)?;
        }
        pieces.push((piece, is_right));
    }
    Ok(pieces)
}

fn outcome_of(error: &RangeError) -> Outcome {
    match error {
        RangeError::Missing { .. } => Outcome::Missing,
        RangeError::Unreachable { .. } => Outcome::Unreachable,
        RangeError::Refused { .. } => Outcome::Refused,
        RangeError::Broken { .. } => Outcome::Broken,
    }
}
