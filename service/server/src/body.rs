//! The body of an answer that comes from a file: read as the client takes it, never mixed from two versions.
//!
//! What the kernel has in memory is read at once, on the connection's own thread; what it must fetch from the disk is
//! read on another. After every read the file is looked at again: one that was rewritten in place ends the answer early,
//! and the client learns that it has not got all.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use crate::fingerprint::Look;

/// How much is read at once when few answers are under way: the longer, the fewer turns through kernel and connection.
const CHUNK_LEN_MAX: usize = 256 << 10;

/// And when there are very many.
const CHUNK_LEN_MIN: usize = 16 << 10;

/// What all answers together may hold in buffers, about: a thousand slow clients must not take a gigabyte.
const BUFFERS_LEN_MAX: usize = 128 << 20;

/// How often a file that seems rewritten is looked at. The kernel changes the number of a file's names and its time of
/// change one after the other, and a look may fall in between: the next one sees both.
const LOOKS: usize = 2;

/// Answers that are under way.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

static ZEROS: [u8; CHUNK_LEN_MAX] = [0; CHUNK_LEN_MAX];

/// How much to read at once now. Each chunk is held twice: in its answer's buffer and in the connection's.
fn chunk_len() -> usize {
    let share = BUFFERS_LEN_MAX / 2 / UNDER_WAY.load(Ordering::Relaxed).max(1);
    share.clamp(CHUNK_LEN_MIN, CHUNK_LEN_MAX)
}

/// One stretch of a body.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Bytes from the file: from, and up to but without.
    File(u64, u64),
    /// Bytes as they are.
    Bytes(Bytes),
    /// So many zeros.
    Zeros(u64),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::File(from, to) => to - from,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }
}

/// A client that takes less than this is not served any longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes in a second, on average since the answer began.
    pub(crate) min_rate: u64,
    /// How long the answer may take whatever the rate.
    pub(crate) grace: Duration,
}

/// The file, and what it looked like when it was looked at last.
struct Source {
    file: Arc<File>,
    look: Look,
}

impl Source {
    fn new((file, look): (File, Look)) -> Self {
        Self { file: Arc::new(file), look }
    }

    /// Whether what was read since the last look is of one version with all before.
    fn is_unchanged(&mut self) -> io::Result<bool> {
        let before = self.look;
        for _ in 0..LOOKS {
            self.look = Look::of(&self.file.metadata()?);
            if self.look.has_bytes_of(&before) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A body made of parts.
pub(crate) struct PartsBody {
    source: Option<Source>,
    parts: VecDeque<Part>,
    len: u64,
    buffer: BytesMut,
    reading: Option<JoinHandle<io::Result<BytesMut>>>,
    pace: Pace,
    started: Option<Instant>,
    sent: u64,
    counter: metrics::Counter,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the file changed while it was sent")]
    Changed,
    #[error("the client is too slow")]
    TooSlow,
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

impl PartsBody {
    /// `counter` counts what is sent.
    pub(crate) fn new(
        source: Option<(File, Look)>,
        parts: impl IntoIterator<Item = Part>,
        pace: Pace,
        counter: metrics::Counter,
    ) -> Self {
        let parts: VecDeque<Part> = parts.into_iter().collect();
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self {
            source: source.map(Source::new),
            len: parts.iter().map(Part::len).sum(),
            parts,
            buffer: BytesMut::new(),
            reading: None,
            pace,
            started: None,
            sent: 0,
            counter,
        }
    }

    /// The same length with nothing in it: the answer to a HEAD.
    pub(crate) fn without_content(mut self) -> Self {
        self.parts.clear();
        self
    }

    /// Whether the client has taken what came before fast enough to get more.
    fn check_pace(&mut self) -> Result<(), BodyError> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let late = started.elapsed().saturating_sub(self.pace.grace);
        let owed = late.as_secs().saturating_mul(self.pace.min_rate);
        if self.sent < owed { Err(BodyError::TooSlow) } else { Ok(()) }
    }

    fn next_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(reading) = &mut self.reading {
            let Poll::Ready(read) = Pin::new(reading).poll(cx) else {
                return Poll::Pending;
            };
            self.reading = None;
            let read = read.unwrap_or_else(|e| Err(io::Error::other(e)));
            return Poll::Ready(Some(read.map_err(BodyError::from).and_then(|buffer| self.checked(buffer))));
        }
        match self.parts.front_mut() {
            None => Poll::Ready(None),
            Some(Part::Bytes(bytes)) => {
                let bytes = std::mem::take(bytes);
                self.parts.pop_front();
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Part::Zeros(left)) => {
                let now = (*left).min(CHUNK_LEN_MAX as u64);
                *left -= now;
                if *left == 0 {
                    self.parts.pop_front();
                }
                Poll::Ready(Some(Ok(Bytes::from_static(&ZEROS[..now as usize]))))
            }
            Some(&mut Part::File(from, to)) => self.next_from_file(cx, from, to),
        }
    }

    fn next_from_file(
        &mut self,
        cx: &mut Context<'_>,
        from: u64,
        to: u64,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let len = (to - from).min(chunk_len() as u64) as usize;
        if len == 0 {
            self.parts.pop_front();
            return self.next_chunk(cx);
        }
        let Some(Source { file, .. }) = &self.source else {
            return Poll::Ready(Some(Err(BodyError::Changed)));
        };
        let file = Arc::clone(file);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(len, 0);
        let in_memory =
            rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut buffer)], from, ReadWriteFlags::NOWAIT);
        match in_memory {
            Ok(n) if n > 0 => {
                buffer.truncate(n);
                Poll::Ready(Some(self.checked(buffer)))
            }
            Ok(_) => Poll::Ready(Some(Err(BodyError::Changed))),
            Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.reading = Some(tokio::task::spawn_blocking(move || {
                    std::os::unix::fs::FileExt::read_exact_at(&*file, &mut buffer, from)?;
                    Ok(buffer)
                }));
                self.next_chunk(cx)
            }
            Err(errno) => Poll::Ready(Some(Err(BodyError::Io(errno.into())))),
        }
    }

    /// What was read, if the file is still the same.
    fn checked(&mut self, mut read: BytesMut) -> Result<Bytes, BodyError> {
        if !self.source.as_mut().ok_or(BodyError::Changed)?.is_unchanged()? {
            return Err(BodyError::Changed);
        }
        if let Some(Part::File(from, to)) = self.parts.front_mut() {
            *from += read.len() as u64;
            if from >= to {
                self.parts.pop_front();
            }
        }
        // The rest of the buffer comes back into use once the connection has copied these bytes.
        let bytes = read.split().freeze();
        self.buffer = read;
        Ok(bytes)
    }
}

impl Drop for PartsBody {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MessageBody for PartsBody {
    type Error = BodyError;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.len)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Err(error) = self.check_pace() {
            return Poll::Ready(Some(Err(error)));
        }
        let chunk = self.next_chunk(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &chunk {
            self.sent += bytes.len() as u64;
            self.counter.increment(bytes.len() as u64);
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PACE: Pace = Pace { min_rate: 1, grace: Duration::from_secs(60) };

    fn body(file: &File, parts: Vec<Part>) -> PartsBody {
        let source = file.try_clone().expect("cloned");
        let look = Look::of(&source.metadata().expect("metadata"));
        PartsBody::new(Some((source, look)), parts, PACE, metrics::Counter::noop())
    }

    async fn next(body: &mut PartsBody) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await
    }

    #[actix_web::test]
    async fn parts_come_in_order_and_whole() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).expect("written");
        let parts = vec![
            Part::Bytes("head".into()),
            Part::File(10, 200_010),
            Part::Zeros(100_000),
            Part::File(299_999, 300_000),
        ];
        let body = body(&file, parts);
        assert_eq!(body.size(), BodySize::Sized(4 + 200_000 + 100_000 + 1));
        let all = actix_web::body::to_bytes(body).await.expect("all of it");
        let expected = [b"head", &content[10..200_010], &[0; 100_000][..], &content[299_999..]].concat();
        assert_eq!(all, expected);
    }

    #[actix_web::test]
    async fn a_file_that_changes_under_the_answer_ends_it() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[1; 1_000_000]).expect("written");
        std::thread::sleep(Duration::from_millis(30));
        let mut body = body(&file, vec![Part::File(0, 1_000_000)]);
        assert!(matches!(next(&mut body).await, Some(Ok(_))));
        std::os::unix::fs::FileExt::write_at(&file, b"x", 950_000).expect("written");
        assert!(matches!(next(&mut body).await, Some(Err(BodyError::Changed))));
    }

    #[actix_web::test]
    async fn a_file_that_is_replaced_once_it_was_opened_is_sent_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        std::fs::write(&old, [1; 1000]).expect("written");
        let file = File::open(&old).expect("opened");
        let look = Look::of(&file.metadata().expect("metadata"));
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write(&new, [2; 1000]).expect("written");
        // The answer's head is made meanwhile.
        std::fs::rename(&new, &old).expect("replaced");
        let body = PartsBody::new(Some((file, look)), [Part::File(0, 1000)], PACE, metrics::Counter::noop());
        assert_eq!(actix_web::body::to_bytes(body).await.expect("all of it"), [1; 1000][..]);
    }

    #[actix_web::test]
    async fn a_file_that_is_rewritten_once_it_was_opened_is_not_sent() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&[1; 1000]).expect("written");
        let look = Look::of(&file.as_file().metadata().expect("metadata"));
        let modified = file.as_file().metadata().and_then(|m| m.modified()).expect("a time");
        std::thread::sleep(Duration::from_millis(30));
        std::os::unix::fs::FileExt::write_at(file.as_file(), &[2; 1000], 0).expect("written");
        file.as_file().set_modified(modified).expect("its time is put back");
        let opened = file.reopen().expect("opened");
        let mut body =
            PartsBody::new(Some((opened, look)), vec![Part::File(0, 1000)], PACE, metrics::Counter::noop());
        assert!(matches!(next(&mut body).await, Some(Err(BodyError::Changed))));
    }

    #[actix_web::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[1; 1_000_000]).expect("written");
        let mut body = body(&file, vec![Part::File(0, 1_000_000)]);
        body.pace = Pace { min_rate: 1 << 30, grace: Duration::ZERO };
        assert!(matches!(next(&mut body).await, Some(Ok(_))));
        std::thread::sleep(Duration::from_millis(1100));
        assert!(matches!(next(&mut body).await, Some(Err(BodyError::TooSlow))));
    }
}
