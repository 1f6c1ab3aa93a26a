//! One connection to a peer: what it has, what it was asked for, how fast it is, and what it asks of us.

use std::collections::VecDeque;
use std::time::Duration;

use pkgtorrent_protocol::wire::{BLOCK_LEN, Bitfield, Block};

use crate::identity::BundleId;
use crate::settings::Settings;

/// How long a rate is measured before it counts.
const RATE_WINDOW: Duration = Duration::from_millis(250);

/// How much of the older rate stays when a new one is measured: it is forgotten within a second.
const RATE_KEPT: f64 = 0.5;

/// How many blocks that are not wanted any more are remembered, in case they come nevertheless.
const CANCELLED_MAX: usize = 64;

/// A connection to a peer.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) bundle: BundleId,
    pub(crate) has: Bitfield,
    /// Its program is not ours.
    pub(crate) is_foreign: bool,
    /// It is in another site: its pieces never count as available.
    pub(crate) is_far: bool,
    /// It will ask for nothing.
    pub(crate) is_upload_only: bool,
    /// How many pieces it has that are wanted and not here.
    pub(crate) useful: u32,
    /// It answers requests.
    pub(crate) is_unchoked: bool,
    /// It was told that it has something for us.
    pub(crate) is_interesting: bool,
    /// Its pieces count among those that are available. Not while it is silent.
    pub(crate) is_counted: bool,
    /// What it was asked for, in order.
    pub(crate) asked: Vec<Block>,
    /// Pieces whose blocks it is being asked for.
    pub(crate) owns: Vec<u32>,
    cancelled: VecDeque<Block>,
    /// Since when it owes us something: the last block, or the first request after a pause.
    pub(crate) owes_since: Duration,
    /// Nothing is asked before: it did not answer.
    pub(crate) rests_until: Duration,
    /// How often in a row it did not answer.
    pub(crate) silences: u32,
    rate: Rate,
    /// What it asked of us and was not sent yet.
    pub(crate) wants: VecDeque<Block>,
    /// How many blocks are being sent to it.
    pub(crate) sending: u32,
    /// When it last took a block.
    pub(crate) took_at: Duration,
}

/// Bytes a second, lately.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    since: Duration,
    bytes: u64,
    rate: f64,
}

impl Rate {
    pub(crate) fn new(now: Duration) -> Self {
        Self { since: now, bytes: 0, rate: 0.0 }
    }

    pub(crate) fn add(&mut self, bytes: u32, now: Duration) {
        self.bytes += u64::from(bytes);
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= RATE_WINDOW {
            let measured = self.bytes as f64 / elapsed.as_secs_f64();
            self.rate = if self.rate == 0.0 {
                measured
            } else {
                RATE_KEPT * self.rate + (1.0 - RATE_KEPT) * measured
            };
            *self = Self { since: now, bytes: 0, rate: self.rate };
        }
    }

    /// Bytes a second. Before a window is over, what came so far counts as if it had taken the whole window.
    pub(crate) fn get(&self) -> f64 {
        self.rate.max(self.bytes as f64 / RATE_WINDOW.as_secs_f64() / 2.0)
    }
}

impl Link {
    pub(crate) fn new(bundle: BundleId, pieces: u32, now: Duration) -> Self {
        Self {
            bundle,
            has: Bitfield::none(pieces),
            is_foreign: false,
            is_far: false,
            is_upload_only: false,
            useful: 0,
            is_unchoked: false,
            is_interesting: false,
            is_counted: true,
            asked: Vec::new(),
            owns: Vec::new(),
            cancelled: VecDeque::new(),
            owes_since: now,
            rests_until: Duration::ZERO,
            silences: 0,
            rate: Rate::new(now),
            wants: VecDeque::new(),
            sending: 0,
            took_at: now,
        }
    }

    /// Whether it may be asked for one more block.
    pub(crate) fn has_room(&self, settings: &Settings, now: Duration) -> bool {
        self.is_unchoked && self.rests_until <= now && self.asked.len() < self.pipeline(settings)
    }

    /// How many blocks it is asked for at once: as many as it sends within the time that a request may wait, so that
    /// neither its line nor ours is ever idle between an answer and the next request.
    fn pipeline(&self, settings: &Settings) -> usize {
        let time = if self.is_foreign { settings.foreign_pipeline_time } else { settings.pipeline_time };
        let wanted = self.rate.get() * time.as_secs_f64() / f64::from(BLOCK_LEN);
        (wanted as usize).clamp(settings.pipeline_min, settings.pipeline_max)
    }

    /// It was asked for a block.
    pub(crate) fn ask(&mut self, block: Block, now: Duration) {
        if self.asked.is_empty() {
            self.owes_since = now;
        }
        self.asked.push(block);
    }

    /// A block came from it. False if it was not asked for.
    pub(crate) fn answer(&mut self, block: Block, now: Duration) -> bool {
        if !self.no_longer_asked(block) {
            let Some(late) = self.cancelled.iter().position(|other| *other == block) else { return false };
            self.cancelled.remove(late);
        }
        self.rate.add(block.len, now);
        self.owes_since = now;
        self.silences = 0;
        self.rests_until = Duration::ZERO;
        true
    }

    /// It does not owe this block any more; whether it did.
    pub(crate) fn no_longer_asked(&mut self, block: Block) -> bool {
        let Some(index) = self.asked.iter().position(|other| *other == block) else { return false };
        self.asked.remove(index);
        true
    }

    /// A block is not wanted any more; whether it had been asked for.
    pub(crate) fn cancel(&mut self, block: Block) -> bool {
        let was_asked = self.no_longer_asked(block);
        if was_asked {
            self.cancelled.push_back(block);
            if self.cancelled.len() > CANCELLED_MAX {
                self.cancelled.pop_front();
            }
        }
        was_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_follows_the_rate() {
        let settings = Settings::default();
        let mut link = Link::new(BundleId(0), 8, Duration::ZERO);
        assert_eq!(link.pipeline(&settings), settings.pipeline_min);
        for step in 1..200 {
            // A block a millisecond.
            link.rate.add(BLOCK_LEN, Duration::from_millis(step * 5));
        }
        let wanted = 200.0 * settings.pipeline_time.as_secs_f64();
        let pipeline = link.pipeline(&settings) as f64;
        assert!((pipeline - wanted).abs() <= wanted * 0.1, "{pipeline} instead of {wanted}");
    }

    #[test]
    fn who_answers_in_strokes_is_soon_asked_for_all_that_fits_into_one() {
        let settings = Settings::default();
        let mut link = Link::new(BundleId(0), 8, Duration::ZERO);
        link.is_foreign = true;
        for stroke in 1..20 {
            for _ in 0..link.pipeline(&settings) {
                link.rate.add(BLOCK_LEN, Duration::from_millis(stroke * 500));
            }
        }
        assert_eq!(link.pipeline(&settings), settings.pipeline_max);
    }

    #[test]
    fn what_was_never_asked_for_is_no_answer() {
        let mut link = Link::new(BundleId(0), 8, Duration::ZERO);
        let block = Block { piece: 1, begin: 0, len: BLOCK_LEN };
        assert!(!link.answer(block, Duration::ZERO));
        link.ask(block, Duration::ZERO);
        assert!(link.cancel(block) && !link.cancel(block));
        assert!(link.answer(block, Duration::ZERO), "it was on its way when it was cancelled");
        assert!(!link.answer(block, Duration::ZERO), "once");
    }
}
