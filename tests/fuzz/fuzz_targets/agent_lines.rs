//! However the bytes of the agent's socket are cut into what arrives at once, the same messages come of them, each with
//! the file that was sent along; and what is held for them is bounded.
//!
//! The input's first line says how the rest, which is what was sent, is cut and which files go along.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use pkgtorrent_agent::control::wire::{FILES_QUEUED_MAX, Lines, Message, WireError};
use pkgtorrent_protocol::socket::{Answer, LINE_LEN_MAX, Request};

/// What a socket gives at once.
const CHUNK_LEN_MAX: usize = 64 << 10;

/// This byte, which no JSON has, stands for as much as arrives at once, where the input says so: a short input reaches
/// the longest line.
const STRETCHED: u8 = 1;

/// Without a line in it, a buffer is no larger than this.
const EMPTY_LEN_MAX: usize = 4 * CHUNK_LEN_MAX;

/// A buffer grows by doubling, and what was there when it became too long is in it too.
const HELD_LEN_MAX: usize = 2 * (LINE_LEN_MAX + CHUNK_LEN_MAX);

/// Queues of a few files and the like.
const SMALL_LEN: usize = 4 << 10;

/// What this program has allocated.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Which files go along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// One with the first byte of each line that speaks of one.
    AsPromised,
    /// None.
    None,
    /// One with everything that arrives at once.
    WithEachChunk,
}

/// What comes of one line.
#[derive(Debug, PartialEq)]
enum Line<M> {
    Message(M),
    NotUnderstood,
    /// Nothing comes after it.
    TooLong,
}

fuzz_target!(|input: &[u8]| {
    let (cuts, sent) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (&[][..], input),
    };
    match cuts {
        // This takes much longer, so that there is only one way of it.
        [b'l', cuts @ ..] => check::<Answer>(&stretched(sent), cuts, Files::AsPromised),
        [b'n', cuts @ ..] => check_all(sent, cuts, Files::None),
        [b'c', cuts @ ..] => check_all(sent, cuts, Files::WithEachChunk),
        _ => check_all(sent, cuts, Files::AsPromised),
    }
});

fn check_all(sent: &[u8], cuts: &[u8], files: Files) {
    for cuts in [cuts, &[]] {
        check::<Request>(sent, cuts, files);
        check::<Answer>(sent, cuts, files);
    }
}

fn stretched(bytes: &[u8]) -> Vec<u8> {
    let mut stretched = Vec::new();
    for byte in bytes {
        match *byte {
            STRETCHED => stretched.resize(stretched.len() + CHUNK_LEN_MAX, b'x'),
            byte => stretched.push(byte),
        }
        // Beyond the longest line there is nothing new.
        if stretched.len() > LINE_LEN_MAX + 2 * CHUNK_LEN_MAX {
            break;
        }
    }
    stretched
}

/// What should come of all lines, and where those begin that carry a file. The last one has no end yet: something is
/// known of it only if it is too long already.
fn expected<M: Message>(sent: &[u8]) -> (Vec<Line<M>>, Vec<usize>) {
    let (mut lines, mut carriers) = (Vec::new(), Vec::new());
    let mut begin = 0;
    while begin < sent.len() {
        let end = sent[begin..].iter().position(|byte| *byte == b'\n').map(|ahead| begin + ahead);
        if end.unwrap_or(sent.len()) - begin > LINE_LEN_MAX {
            lines.push(Line::TooLong);
            break;
        }
        let Some(end) = end else { break };
        match serde_json::from_slice::<M>(&sent[begin..end]) {
            Ok(message) => {
                if message.carries_file() {
                    carriers.push(begin);
                }
                lines.push(Line::Message(message));
            }
            Err(_) => lines.push(Line::NotUnderstood),
        }
        begin = end + 1;
    }
    (lines, carriers)
}

fn check<M: Message + PartialEq + Debug>(sent: &[u8], cuts: &[u8], files: Files) {
    let (expected, carriers) = expected::<M>(sent);
    let mut left = expected.iter();
    // A kernel gives no two files at once: what arrives ends where another file comes along.
    let is_carrier = |at: usize| files == Files::AsPromised && carriers.binary_search(&at).is_ok();
    let next_carrier = |at: usize| {
        let next = carriers.partition_point(|carrier| *carrier <= at);
        carriers.get(next).copied().filter(|_| files == Files::AsPromised).unwrap_or(sent.len())
    };
    let mut cuts = cuts.iter().cycle();
    // What is stretched is not sent byte by byte.
    let len_min = sent.len() / 2048;
    let mut lines = Lines::new();
    let mut queued = VecDeque::with_capacity(2 * FILES_QUEUED_MAX);
    let held_before = HELD.load(Ordering::Relaxed);
    let mut begin = 0;
    while begin < sent.len() {
        let len = cuts.next().map_or(CHUNK_LEN_MAX, |cut| 1 + usize::from(*cut).pow(2)).max(len_min);
        let end = next_carrier(begin).min(begin + len);
        let file = (files == Files::WithEachChunk || is_carrier(begin)).then(open_file);
        queued.extend(file.as_ref().map(AsRawFd::as_raw_fd));
        match lines.push(&sent[begin..end], file) {
            Ok(()) => {}
            Err(WireError::TooManyFiles) => {
                assert!(files == Files::WithEachChunk && queued.len() > FILES_QUEUED_MAX);
                return;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(queued.len() <= FILES_QUEUED_MAX);
        if !take_all(&mut lines, &mut left, &mut queued, files) {
            break;
        }
        begin = end;
        let held = HELD.load(Ordering::Relaxed).saturating_sub(held_before);
        assert!(held <= HELD_LEN_MAX + SMALL_LEN, "{held} bytes are held");
    }
    assert_eq!(left.next(), None, "nothing came of it");
    assert!(files == Files::WithEachChunk || queued.is_empty(), "a file was not handed over");
    if !lines.is_amid_line() {
        lines.push(b"", None).expect("nothing can be wrong with nothing");
        let held = HELD.load(Ordering::Relaxed).saturating_sub(held_before);
        assert!(held <= EMPTY_LEN_MAX + SMALL_LEN, "{held} bytes are held for nothing");
    }
}

/// Takes every whole line; false when nothing comes after it.
fn take_all<M: Message + PartialEq + Debug>(
    lines: &mut Lines,
    expected: &mut std::slice::Iter<'_, Line<M>>,
    queued: &mut VecDeque<RawFd>,
    files: Files,
) -> bool {
    loop {
        let taken = match lines.next::<M>() {
            Ok(None) => return true,
            Ok(Some((message, file))) => {
                assert_eq!(file.is_some(), message.carries_file());
                if let Some(file) = file {
                    assert_eq!(queued.pop_front(), Some(file.as_raw_fd()), "files come in their order");
                }
                Line::Message(message)
            }
            Err(WireError::FileMissing) => {
                assert!(files != Files::AsPromised && queued.is_empty());
                let line = expected.next();
                assert!(matches!(line, Some(Line::Message(message)) if message.carries_file()));
                continue;
            }
            Err(WireError::NotUnderstood { .. }) => Line::NotUnderstood,
            Err(WireError::LineTooLong) => Line::TooLong,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(expected.next(), Some(&taken));
        if taken == Line::TooLong {
            return false;
        }
    }
}

fn open_file() -> OwnedFd {
    File::open("/dev/null").expect("a file").into()
}
