//! Where there is a lid on what hosts take from the origin.
//!
//! A host that has others to wait for takes what it is leased and nothing else, and asks for more when the tracker said
//! that it may. But no install stops because of a lid: who has got nothing from anybody for a while takes one stretch
//! unasked, and waits again. Where the tracker has fallen silent each host takes one as often as it was to ask: together
//! that is about what the lid allowed.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::guide::{Guidance, Guide};

/// Nothing has come for so many hold-offs: ten to fifteen seconds, each host another time. So a thousand hosts that lids
/// hold back are no flood, and no package manager loses patience.
const HOLD_OFFS_MAX: u32 = 5;

/// Those who wait are told to ask twice as often as there is something for them. Some were told a short time because they
/// had just got something: no time is shorter than a hold-off.
const ASKS_PER_STRETCH: u32 = 2;

/// No tracker is waited for longer than this before it is asked again.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What is held back is on its way as long as anything came within this time.
const MOVING: Duration = Duration::from_secs(30);

/// What a host knows of the lid.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lid {
    /// When the tracker may be asked for more.
    pub(crate) ask_at: Duration,
    /// How long that was when it said so.
    interval: Duration,
    /// The tracker was last asked for more in vain.
    is_held_back: bool,
    /// One stretch may be taken without a lease.
    pub(crate) is_impatient: bool,
}

impl Guide {
    /// The tracker has leased something new or not, and said when it may be asked again if there is a lid. True if this host
    /// is held back from now on.
    pub(crate) fn told_of_lid(&mut self, ask_again: Option<Duration>, has_got: bool, now: Duration) -> bool {
        let known = self.lid.take().unwrap_or_default();
        self.lid = ask_again.map(|interval| {
            let interval = interval.min(ASK_AGAIN_MAX);
            let ask_at = now.saturating_add(interval);
            Lid { ask_at, interval, is_held_back: !has_got, ..known }
        });
        ask_again.is_some() && !has_got && !known.is_held_back
    }

    /// Looks whether this host has waited under a lid for long enough.
    pub(crate) fn loses_patience(&mut self, now: Duration) -> bool {
        let hold_off = self.hold_off();
        let Some(lid) = &mut self.lid else { return false };
        let (came, patience) = match self.guidance {
            Guidance::None => (self.asked_at, lid.interval.max(hold_off).saturating_mul(ASKS_PER_STRETCH)),
            _ => (Some(self.brought), hold_off.saturating_mul(HOLD_OFFS_MAX)),
        };
        let since = came.max(self.fetched).unwrap_or_default();
        lid.is_impatient = now.saturating_sub(since) >= patience;
        lid.is_impatient
    }
}

impl Crowd {
    /// Whether the tracker is to be asked for more now that it may be.
    pub(crate) fn is_lease_due(&self, lid: &Lid, now: Duration) -> bool {
        lid.ask_at <= now && (self.guide.is_starved || self.lacks_others_pieces())
    }

    /// Whether there is a lid, and something came lately.
    pub(crate) fn is_moving_under_lid(&self, now: Duration) -> bool {
        self.guide.lid.is_some() && now.saturating_sub(self.guide.brought) < MOVING
    }
}
