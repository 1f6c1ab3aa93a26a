//! What is summed up over some time and some hosts.

use pkgtorrent_protocol::report::{FallbackReason, InstallReport, Ledger};
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;

use super::durations::Durations;
use super::stored;

/// Sums over some time and some hosts. None of them overflows, whatever is reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Bytes by source.
    pub(super) bytes: Ledger,
    /// Installs that have ended.
    pub(super) installs: u64,
    /// Packages that these have put into place.
    pub(super) placed: u64,
    /// Packages that they have left to the package manager.
    pub(super) left: u64,
    /// The latter by reason, in the order of [`FallbackReason::ALL`].
    pub(super) fallbacks: [u64; FallbackReason::ALL.len()],
    /// How long the installs took.
    pub(super) took: Durations,
}

impl Tally {
    /// Adds what is told of one install. Its bytes are in its host's totals.
    pub(super) fn add(&mut self, install: &InstallReport) {
        self.placed += within(install.placed);
        self.left += within(install.packages.saturating_sub(install.placed));
        for fallback in &install.fallbacks {
            self.fallbacks[fallback.reason as usize] += within(fallback.packages);
        }
        self.took.add(install.took);
    }

    /// Adds all of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.bytes = each(&self.bytes, &other.bytes, u64::saturating_add);
        self.installs += other.installs;
        self.placed += other.placed;
        self.left += other.left;
        for (count, more) in self.fallbacks.iter_mut().zip(other.fallbacks) {
            *count += more;
        }
        self.took.merge(&other.took);
    }

    /// The stored form: all numbers, up to the last one that is not zero.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Ledger { origin, near, far, store, sent } = self.bytes;
        let sums = [origin, near, far, store, sent, self.installs, self.placed, self.left];
        let numbers = sums.into_iter().chain(self.fallbacks).chain(self.took.counts());
        let numbers: Vec<u64> = numbers.collect();
        let end = numbers.iter().rposition(|&number| number > 0).map_or(0, |last| last + 1);
        let mut out = vec![stored::VERSION];
        numbers[..end].iter().for_each(|&number| stored::put(&mut out, number));
        out
    }

    /// Reads the stored form; `None` when it is not one.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        stored::take_version(&mut bytes)?;
        let mut next = || if bytes.is_empty() { Some(0) } else { stored::take(&mut bytes) };
        let [origin, near, far, store, sent] = [next()?, next()?, next()?, next()?, next()?];
        let mut tally = Self {
            bytes: Ledger { origin, near, far, store, sent },
            installs: next()?,
            placed: next()?,
            left: next()?,
            ..Self::default()
        };
        for count in &mut tally.fallbacks {
            *count = next()?;
        }
        tally.took = Durations::read(&mut next)?;
        bytes.is_empty().then_some(tally)
    }
}

/// No install has more packages. With one install a nanosecond such sums have room for a year.
fn within(packages: u32) -> u64 {
    u64::from(packages).min(SET_PACKAGES_MAX as u64)
}

/// A ledger of what `f` makes of each pair of numbers.
pub(super) fn each(a: &Ledger, b: &Ledger, f: impl Fn(u64, u64) -> u64) -> Ledger {
    Ledger {
        origin: f(a.origin, b.origin),
        near: f(a.near, b.near),
        far: f(a.far, b.far),
        store: f(a.store, b.store),
        sent: f(a.sent, b.sent),
    }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::report::Fallback;

    use super::*;

    fn tally() -> Tally {
        let fallback = |reason, packages| Fallback { reason, packages, ..Fallback::default() };
        let fallbacks = vec![fallback(FallbackReason::NoPlan, 2), fallback(FallbackReason::Other, u32::MAX)];
        let install =
            InstallReport { took: 1500, packages: 10, placed: 7, fallbacks, ..InstallReport::default() };
        let bytes = Ledger { origin: 1, near: u64::MAX, far: 300, store: 4, sent: 5 };
        let mut tally = Tally { bytes, installs: 1, ..Tally::default() };
        tally.add(&install);
        tally
    }

    #[test]
    fn what_was_counted_survives_its_stored_form() {
        for tally in [Tally::default(), tally()] {
            assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
        }
        let bytes = tally().to_bytes();
        for damaged in [&[][..], &[stored::VERSION + 1], &[&bytes[..], &[0; 99]].concat()] {
            assert_eq!(Tally::from_bytes(damaged), None);
        }
        assert_eq!(Tally::default().to_bytes().len(), 1);
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut sum = tally();
        sum.merge(&tally());
        assert_eq!((sum.bytes.near, sum.bytes.far), (u64::MAX, 600));
        assert_eq!((sum.installs, sum.placed, sum.left), (2, 14, 6));
        assert_eq!((sum.fallbacks[0], sum.fallbacks[7]), (4, 2 * SET_PACKAGES_MAX as u64));
        assert_eq!(sum.took.counts().sum::<u64>(), 2);
    }
}
