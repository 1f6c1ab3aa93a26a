//! A lid on what hosts take from the origin, all of them together.
//!
//! Whoever is leased pieces fetches them at once, so what is leased in a second is what the origin sends in it. There
//! is a little of it left at any time, which leases draw on, whatever swarm they are of: first copies down to nothing
//! and one stretch beyond, what others have already only down to half. So a stretch is late rather than cut up, and a
//! host that starves goes after one that feeds others.
//!
//! What leaves the origin without a lease, for who has nobody to wait for or does not know of leases, is a debt: most
//! of what comes in pays for it until it is paid, and the rest keeps everybody moving.

use std::time::Duration;

use rand_pcg::Pcg64Mcg;

use crate::walk::below;

/// What is not leased is kept for so long: hosts come one after the other, and what several leave is not lost. More would
/// go out at once after a pause, above the lid.
const KEPT: Duration = Duration::from_millis(250);

/// One of so many parts of what comes in is leased whatever was taken without a lease. This is the floor.
const FLOOR_DIVISOR: u64 = 8;

/// The debt is what comes in within so long at most: what a large download of a single host took is not to hold back
/// others for long after its end.
const DEBT_MAX: Duration = Duration::from_secs(5);

/// What was leased and has not left the origin within some of this never will: a peer brought it, or its holder is gone.
const UNSENT_TIME: Duration = Duration::from_secs(10);

/// Hosts that wait are told to ask twice as often as there is something for them: not all of them still want it then.
const ASKS_PER_STRETCH: u64 = 2;

/// How soon and how late a host may ask again. A thousand that wait are then a hundred requests a second at most.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(200);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);

/// What comes in is reckoned in steps of this.
const STEP: Duration = Duration::from_millis(10);

/// What was asked of the lid, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LidCounts {
    /// What hosts could have been leased, each at most its share each time that it asked.
    pub asked: u64,
    /// What they were leased.
    pub granted: u64,
    /// What left the origin without a lease.
    pub unasked: u64,
}

/// What a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nobody has it.
    FirstCopy,
    /// Its holder starves.
    Relief,
}

/// The lid.
#[derive(Debug)]
pub(crate) struct Lid {
    /// Bytes in a second.
    rate: u64,
    /// What may be leased now; less than nothing where the last stretch was longer than what was left.
    left: i64,
    debt: u64,
    /// What was leased and is not known to have been sent.
    unsent: u64,
    /// When the last of those who wait is to ask again.
    turn: Duration,
    /// Up to when it is reckoned.
    at: Duration,
    pub(crate) counts: LidCounts,
}

impl Lid {
    pub(crate) fn new(rate: u64) -> Self {
        let (left, debt, unsent) = (0, 0, 0);
        let (turn, at, counts) = (Duration::ZERO, Duration::ZERO, LidCounts::default());
        let mut lid = Self { rate: rate.max(1), left, debt, unsent, turn, at, counts };
        lid.left = lid.kept();
        lid
    }

    /// Goes by another rate from now on; what was leased and sent before stays counted.
    pub(crate) fn set_rate(&mut self, rate: u64) {
        self.rate = rate.max(1);
    }

    /// The origin has sent so much more.
    pub(crate) fn sent(&mut self, bytes: u64, now: Duration) {
        self.reckon(now);
        let unasked = bytes.saturating_sub(self.unsent);
        self.unsent = self.unsent.saturating_sub(bytes);
        self.debt = (self.debt + unasked).min(part(self.rate, DEBT_MAX));
        self.counts.unasked += unasked;
    }

    /// How many bytes a host may be leased that wants so many, in stretches of this length: all, up to a share.
    pub(crate) fn draw(&mut self, wanted: u64, stretch: u64, purpose: Purpose, now: Duration) -> u64 {
        self.reckon(now);
        let is_open = match purpose {
            Purpose::FirstCopy => self.left > 0,
            Purpose::Relief => self.left > 0 && self.left >= self.kept() / 2,
        };
        // Half of what is left, so that there is something for who comes next, in whole stretches.
        let share = (self.left.max(0) as u64 / 2 / stretch).max(1) * stretch;
        let asked = wanted.min(share);
        let granted = if is_open { asked } else { 0 };
        self.left -= granted as i64;
        self.unsent += granted;
        self.counts.asked += asked;
        self.counts.granted += granted;
        granted
    }

    /// When a host may ask again: soon if it got something, else when those who have waited for longer were here.
    pub(crate) fn ask_again(
        &mut self,
        is_in_vain: bool,
        stretch: u64,
        now: Duration,
        random: &mut Pcg64Mcg,
    ) -> Duration {
        let mut wait = ASK_AGAIN_MIN;
        if is_in_vain {
            let turn =
                Duration::from_nanos(stretch.saturating_mul(1_000_000_000) / (self.rate * ASKS_PER_STRETCH));
            self.turn = (self.turn.max(now) + turn).min(now + ASK_AGAIN_MAX);
            wait = wait.max(self.turn - now);
        }
        wait * 3 / 4 + Duration::from_millis(below(random, wait.as_millis() as u64 / 2))
    }

    /// Takes in what has come since the last time. Shorter times come to no whole bytes at low rates, and are left for later.
    fn reckon(&mut self, now: Duration) {
        let since = now.saturating_sub(self.at);
        if since < STEP {
            return;
        }
        self.at = now;
        let income = part(self.rate, since);
        let paid = self.debt.min(income - income / FLOOR_DIVISOR);
        self.debt -= paid;
        self.left = self.left.saturating_add((income - paid) as i64).min(self.kept());
        self.unsent -=
            (self.unsent as f64 * (since.as_secs_f64() / UNSENT_TIME.as_secs_f64()).min(1.0)) as u64;
    }

    fn kept(&self) -> i64 {
        part(self.rate, KEPT) as i64
    }
}

/// What a rate makes in a time.
fn part(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_nanos() / 1_000_000_000).min(i64::MAX as u128 / 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u64 = 1_000_000;
    const STRETCH: u64 = 128 << 10;
    const SECOND: Duration = Duration::from_secs(1);

    /// What a crowd that always wants more is leased within a time, which begins now.
    fn leased_within(lid: &mut Lid, from: Duration, time: Duration) -> u64 {
        let steps = time.as_millis() as u64 / 20;
        let draw =
            |step| lid.draw(u64::MAX, STRETCH, Purpose::FirstCopy, from + Duration::from_millis(20 * step));
        (0..steps).map(draw).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Whoever asks when, within no time is more leased than comes in, what is kept, and a stretch.
        #[test]
        fn nothing_goes_above_the_lid(
            asks in proptest::collection::vec((0_u64..400, 0_u64..1_000_000, any::<bool>()), 1..120),
            rate in 10_000_u64..100_000_000,
        ) {
            let mut lid = Lid::new(rate);
            let (mut now, mut grants) = (Duration::ZERO, Vec::new());
            for (pause, wanted, is_first) in asks {
                now += Duration::from_millis(pause);
                let purpose = if is_first { Purpose::FirstCopy } else { Purpose::Relief };
                grants.push((now, lid.draw(wanted, STRETCH, purpose, now)));
            }
            for (index, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for (at, granted) in &grants[index..] {
                    sum += granted;
                    prop_assert!(sum <= part(rate, *at - *from + KEPT + STEP) + STRETCH, "{sum} by {at:?}");
                }
            }
        }
    }

    #[test]
    fn all_that_comes_in_is_leased() {
        let leased = leased_within(&mut Lid::new(RATE), Duration::ZERO, 10 * SECOND);
        assert!((10_000_000..10_500_000).contains(&leased), "{leased}");
    }

    #[test]
    fn another_rate_holds_from_then_on() {
        let mut lid = Lid::new(RATE);
        leased_within(&mut lid, Duration::ZERO, SECOND);
        lid.set_rate(5 * RATE);
        let leased = leased_within(&mut lid, SECOND, 10 * SECOND);
        assert!((49_000_000..52_000_000).contains(&leased), "{leased}");
    }

    #[test]
    fn what_was_leased_is_no_debt_when_it_is_sent() {
        let mut lid = Lid::new(RATE);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            let granted = lid.draw(u64::MAX, STRETCH, Purpose::FirstCopy, now);
            now += SECOND / 5;
            lid.sent(granted, now);
        }
        let LidCounts { granted, unasked, .. } = lid.counts;
        assert!(unasked < granted / 20, "{unasked} of {granted}");
    }

    #[test]
    fn what_was_taken_without_a_lease_is_paid_for_and_a_floor_stays() {
        let mut lid = Lid::new(RATE);
        leased_within(&mut lid, Duration::ZERO, 30 * SECOND);
        lid.sent(1_000_000_000, 60 * SECOND);
        let floor = leased_within(&mut lid, 60 * SECOND, 4 * SECOND);
        assert!((500_000..1_000_000).contains(&floor), "{floor}");
        let later = leased_within(&mut lid, 70 * SECOND, 4 * SECOND);
        assert!(later >= 4_000_000, "a debt has an end: {later}");
    }

    #[test]
    fn who_waits_asks_about_as_often_as_there_is_something() {
        let (mut lid, random) = (Lid::new(RATE), &mut Pcg64Mcg::new(1));
        let mut in_vain = |hosts: u32, at: Duration| {
            let waits: Vec<Duration> = (0..hosts).map(|_| lid.ask_again(true, STRETCH, at, random)).collect();
            waits.iter().max().copied().unwrap_or_default()
        };
        assert!(in_vain(1, SECOND) < 2 * ASK_AGAIN_MIN);
        let per_second = 40.0 / in_vain(40, 60 * SECOND).as_secs_f64();
        assert!((12.0..18.0).contains(&per_second), "{per_second} asks, for 7.6 stretches a second");
        assert!(in_vain(10_000, 120 * SECOND) <= ASK_AGAIN_MAX * 5 / 4);
        assert!(in_vain(1, 180 * SECOND) < 2 * ASK_AGAIN_MIN, "who waited has been here");
        assert!(lid.ask_again(false, STRETCH, 180 * SECOND, random) < 2 * ASK_AGAIN_MIN);
    }

    #[test]
    fn a_share_is_half_of_what_is_left_in_whole_stretches() {
        let mut lid = Lid::new(100 * RATE);
        let shares: Vec<u64> = (0..3)
            .map(|_| lid.draw(u64::MAX, STRETCH, Purpose::FirstCopy, Duration::ZERO) / STRETCH)
            .collect();
        assert_eq!(shares, [95, 47, 24], "of 190 stretches");
        assert_eq!(lid.counts.granted, 166 * STRETCH);
    }

    #[test]
    fn asked_is_what_was_granted_and_what_was_not() {
        let mut lid = Lid::new(RATE);
        let granted: u64 = (0..5).map(|_| lid.draw(STRETCH, STRETCH, Purpose::FirstCopy, SECOND)).sum();
        assert_eq!(granted, 2 * STRETCH, "what is kept is a little less than two stretches");
        assert_eq!(lid.counts, LidCounts { asked: 5 * STRETCH, granted, unasked: 0 });
    }
}
