//! How long a host goes on sharing what it has.
//!
//! All hosts of a burst are done within a minute. Were they to share for the same time, they would all leave within a
//! minute as well, and whoever comes later would find nobody. So each stays for a time of its own between the shortest and
//! the longest, and how many are left falls with the logarithm of the time: many while most of the others come, a few until
//! the end. Which of them stay is different from set to set, so that none keeps all.

use std::time::Duration;

use pkgtorrent_protocol::{PeerId, SetDigest};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// Time passes in no smaller steps here: a logarithm has to begin somewhere.
const STEP: Duration = Duration::from_secs(1);

/// The shortest and the longest time that a host shares a set after it was last wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeding {
    /// Every host stays for so long.
    pub min: Duration,
    /// None stays for longer. Less than the shortest counts as that.
    pub max: Duration,
}

impl Seeding {
    /// How long this host shares this set.
    #[must_use]
    pub fn time(&self, host: PeerId, set: SetDigest) -> Duration {
        let first = self.min.max(STEP);
        if self.max <= first {
            return self.min;
        }
        let steps = self.max.as_secs_f64() / first.as_secs_f64();
        first.mul_f64(steps.powf(share(host, set))).min(self.max)
    }
}

/// A number from 0 to 1 that is this host's for this set, and as good as random for any other.
fn share(host: PeerId, set: SetDigest) -> f64 {
    // Names begin with what is the same for all hosts, digests are random from their first bit.
    let [.., a, b, c, d, e, f, g, h] = host.0;
    let host = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let [a, b, c, d, e, f, g, h, ..] = set.0.0;
    let set = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut random = Pcg64Mcg::new(u128::from(host) << 64 | u128::from(set));
    random.next_u64();
    random.next_u64() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::Sha256Digest;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const DEFAULT: Seeding = Seeding { min: Duration::from_secs(900), max: Duration::from_secs(86_400) };

    fn host(number: u32) -> PeerId {
        let mut random = Pcg64Mcg::new(u128::from(number) << 2);
        let mut id = *b"-PT0100-............";
        random.fill_bytes(&mut id[8..]);
        PeerId(id)
    }

    fn set(number: u8) -> SetDigest {
        SetDigest(Sha256Digest([number; 32]))
    }

    /// How many of so many hosts share a set for longer than this.
    fn left(hosts: u32, number: u8, after: Duration) -> usize {
        (0..hosts).filter(|nth| DEFAULT.time(host(*nth), set(number)) > after).count()
    }

    #[test]
    fn ever_fewer_stay_and_none_beyond_the_longest() {
        let hosts = 2_000;
        assert_eq!(left(hosts, 1, DEFAULT.min - Duration::from_secs(1)), 2_000);
        assert_eq!(left(hosts, 1, DEFAULT.max), 0);
        // ln(24 h / t) / ln(24 h / 15 min) of all.
        for (after, expected) in [(30 * MINUTE, 1_696), (HOUR, 1_393), (4 * HOUR, 785), (14 * HOUR, 236)] {
            let left = left(hosts, 1, after);
            assert!(left.abs_diff(expected) < 100, "{left} of about {expected} after {after:?}");
        }
    }

    #[test]
    fn a_set_is_there_in_the_morning() {
        // Installed at six in the evening by a hundred hosts, wanted until eight in the morning.
        for number in 0..50 {
            let left = left(100, number, 14 * HOUR);
            assert!((2..=30).contains(&left), "set {number} has {left} hosts left");
        }
    }

    #[test]
    fn who_stays_differs_from_set_to_set() {
        let stays = |nth: u32, number| DEFAULT.time(host(nth), set(number)) > 4 * HOUR;
        let both = (0..1_000).filter(|nth| stays(*nth, 1) && stays(*nth, 2)).count();
        let first = (0..1_000).filter(|nth| stays(*nth, 1)).count();
        // Of a share of two fifths, again two fifths.
        assert!((330..=450).contains(&first), "{first}");
        assert!((110..=200).contains(&both), "{both}");
    }

    #[test]
    fn equal_limits_leave_nothing_to_chance() {
        for seconds in [0, 1, 900] {
            let time = Duration::from_secs(seconds);
            assert_eq!(Seeding { min: time, max: time }.time(host(1), set(1)), time);
            assert_eq!(Seeding { min: time, max: Duration::ZERO }.time(host(1), set(1)), time);
        }
        let from_nothing = Seeding { min: Duration::ZERO, max: HOUR };
        assert!((0..100).all(|nth| (STEP..=HOUR).contains(&from_nothing.time(host(nth), set(1)))));
    }
}
