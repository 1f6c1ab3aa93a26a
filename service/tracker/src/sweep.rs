//! Forgets peers that stopped announcing.
//!
//! No answer waits for this: a peer whose time is up is skipped at once, to the millisecond. The sweep frees its memory
//! and corrects the counts. It goes round all swarms, a bounded number of steps per call, so that the owner's pause is
//! short however many peers left at once.

use std::time::Duration;

use crate::swarm::Swarm;
use crate::swarms::Swarms;

/// The work of one call. Looking at a peer is one step, about a nanosecond as the vectors are read in order. Called
/// every second, all of 200,000 peers are looked at each time, and a million in five seconds; a hundred thousand that
/// vanished together are gone from the counts after six calls of four milliseconds.
const SWEEP_STEPS_MAX: usize = 200_000;

/// Forgetting a peer is a few look-ups in cold maps, about 200 nanoseconds. It counts for less than it costs: the first
/// calls after a fleet has left are longer, and its memory comes back sooner.
pub(crate) const REMOVAL_STEPS: usize = 10;

/// Where the sweep goes on: in this slot and vector, below this position.
///
/// Positions are visited downwards. A removal puts the vector's last peer in the place of the one that left, and from
/// above that is always one that was seen already or is fresh: so no stale peer is ever missed, whatever happens
/// between two calls.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    slot: usize,
    pool: usize,
    /// `None`: the whole vector is still to be seen.
    below: Option<usize>,
}

impl Cursor {
    fn advance(&mut self, slots: &[Swarm]) {
        self.below = None;
        self.pool += 1;
        if slots.get(self.slot).is_none_or(|swarm| self.pool >= swarm.pools()) {
            self.pool = 0;
            self.slot += 1;
        }
        if self.slot >= slots.len() {
            self.slot = 0;
        }
    }
}

impl Swarms {
    /// Sweeps on for one call's work, at most once round; returns how many peers were forgotten.
    pub(crate) fn sweep(&mut self, now: Duration) -> usize {
        self.sweep_steps(now, SWEEP_STEPS_MAX)
    }

    pub(crate) fn sweep_steps(&mut self, now: Duration, steps_max: usize) -> usize {
        let fresh_since = self.fresh_since(now);
        let mut forgotten = 0;
        let mut steps_left = steps_max;
        // One more than all vectors, to finish the one in which the last call stopped.
        let pools: usize = self.slots.iter().map(|swarm| swarm.pools().max(1)).sum();
        for _ in 0..=pools {
            let (seen_whole, removed) = self.sweep_pool(fresh_since, &mut steps_left);
            forgotten += removed;
            if !seen_whole {
                break;
            }
            self.cursor.advance(&self.slots);
        }
        self.listed -= forgotten;
        forgotten
    }

    /// Sweeps the cursor's vector: whether it was seen to its end, and how many peers left it.
    fn sweep_pool(&mut self, fresh_since: u64, steps_left: &mut usize) -> (bool, usize) {
        let Some(left) = steps_left.checked_sub(1) else {
            return (false, 0);
        };
        *steps_left = left;
        let pool = self.cursor.pool;
        let Some(swarm) = self.slots.get_mut(self.cursor.slot) else {
            return (true, 0);
        };
        let len = swarm.pool(pool).len();
        let mut position = self.cursor.below.map_or(len, |below| below.min(len));
        let mut removed = 0;
        while position > 0 {
            if *steps_left == 0 {
                self.cursor.below = Some(position);
                return (false, removed);
            }
            position -= 1;
            let mut cost = 1;
            if swarm.is_stale(pool, position, fresh_since) {
                swarm.remove(pool, position);
                removed += 1;
                cost = REMOVAL_STEPS;
            }
            *steps_left = steps_left.saturating_sub(cost);
        }
        (true, removed)
    }
}
