//! A line's two directions.

use std::collections::VecDeque;

use crate::queue::Time;

const SECOND: u128 = 1_000_000_000;

/// How long so many bytes take.
pub(crate) fn time_of(len: u64, rate: u64) -> Time {
    // Far below 2^64 for anything that is ever sent.
    (u128::from(len) * SECOND / u128::from(rate.max(1))) as Time
}

/// What a line sends: one thing after the other, in turns for those who have something to send.
pub(crate) struct Uplink<K, P> {
    rate: u64,
    /// Who has something to send and may.
    pub(crate) ready: VecDeque<K>,
    /// What is being sent, and since when.
    current: Option<(K, P, Time)>,
    /// The bytes of messages that the next thing waits for.
    owed: u64,
}

impl<K: Copy, P: Copy> Uplink<K, P> {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, ready: VecDeque::new(), current: None, owed: 0 }
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.current.is_none()
    }

    /// A message is sent before anything else.
    pub(crate) fn message(&mut self, len: u64) {
        self.owed += len;
    }

    /// Begins to send; gives the time when it is done.
    pub(crate) fn begin(&mut self, key: K, what: P, len: u64, now: Time) -> Time {
        self.current = Some((key, what, now));
        now + time_of(len + std::mem::take(&mut self.owed), self.rate)
    }

    /// What was being sent, and since when.
    pub(crate) fn end(&mut self) -> Option<(K, P, Time)> {
        self.current.take()
    }
}

/// The line between two sites, each way: of the near one, and of the far one.
pub(crate) struct Link {
    ways: [Downlink; 2],
    /// Bytes that it has carried, both ways together.
    pub(crate) carried: u64,
}

impl Link {
    pub(crate) fn new(rate: u64) -> Self {
        Self { ways: [Downlink::new(rate), Downlink::new(rate)], carried: 0 }
    }

    /// When something that comes to it between these two times is at its other end.
    pub(crate) fn cross(&mut self, to_far: bool, len: u64, first: Time, last: Time) -> Time {
        self.carried += len;
        self.ways[usize::from(to_far)].receive(len, first, last)
    }

    /// A message takes its time, and is not waited for.
    pub(crate) fn message(&mut self, from: bool, to: bool, len: u64) {
        if from != to {
            self.carried += len;
            self.ways[usize::from(to)].message(len);
        }
    }
}

/// What a line receives: one thing after the other.
pub(crate) struct Downlink {
    rate: u64,
    free_at: Time,
}

impl Downlink {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, free_at: 0 }
    }

    /// When something is here whose first byte comes at `first` and whose last byte at `last`, behind all before it.
    pub(crate) fn receive(&mut self, len: u64, first: Time, last: Time) -> Time {
        let done = (self.free_at.max(first) + time_of(len, self.rate)).max(last);
        self.free_at = done;
        done
    }

    /// A message takes its time, and is not waited for.
    pub(crate) fn message(&mut self, len: u64) {
        self.free_at += time_of(len, self.rate);
    }
}
