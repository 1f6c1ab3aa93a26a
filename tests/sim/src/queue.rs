//! What is to happen, in the order of time; what is due at one time, in the order in which it was said.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Nanoseconds since the start.
pub(crate) type Time = u64;

struct Entry<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// All that is to happen.
pub(crate) struct Queue<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    number: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { entries: BinaryHeap::new(), number: 0 }
    }

    pub(crate) fn put(&mut self, at: Time, what: T) {
        self.number += 1;
        self.entries.push(Reverse(Entry { at, number: self.number, what }));
    }

    pub(crate) fn take(&mut self) -> Option<(Time, T)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }

    /// How much was ever put in.
    pub(crate) fn count(&self) -> u64 {
        self.number
    }
}
