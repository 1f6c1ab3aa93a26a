//! Whether bytes come fast enough to be worth waiting for.

use std::time::Duration;

/// Watches a body: within every window so many bytes have to come. A new window begins as soon as they have, so that
/// a server that falls silent is noticed one window later, however fast it was before.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    needed: u64,
    left: Duration,
    got: u64,
}

impl Pace {
    /// `min_rate` is in bytes a second; at zero any byte will do.
    pub(super) fn new(window: Duration, min_rate: u64) -> Self {
        let needed = (window.as_secs_f64() * min_rate as f64) as u64;
        Self { window, needed: needed.max(1), left: window, got: 0 }
    }

    /// For how long the next bytes are waited for.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// After `waited`, `len` bytes came.
    pub(super) fn came(&mut self, waited: Duration, len: u64) {
        self.got = self.got.saturating_add(len);
        if self.got >= self.needed {
            (self.left, self.got) = (self.window, 0);
        } else {
            self.left = self.left.saturating_sub(waited);
        }
    }

    /// What is wrong, when the time is over.
    pub(super) fn complaint(&self) -> String {
        let window = self.window.as_secs_f64();
        match self.got {
            0 => format!("nothing came for {window} s"),
            got => format!("{got} bytes came in {window} s, too few to wait for the rest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_bytes_of_one_window_have_to_come_within_it() {
        let mut pace = Pace::new(8 * SECOND, 1000);
        for _ in 0..100 {
            pace.came(7 * SECOND, 7999);
            assert_eq!(pace.left(), SECOND);
            pace.came(SECOND / 2, 1);
            assert_eq!(pace.left(), 8 * SECOND, "a new window");
        }
        pace.came(SECOND / 2, 1);
        for _ in 0..7 {
            pace.came(SECOND, 1);
        }
        assert_eq!(pace.left(), SECOND / 2);
        pace.came(SECOND, 1);
        assert_eq!(pace.left(), Duration::ZERO);
        assert!(pace.complaint().contains("9 bytes came in 8 s"), "{}", pace.complaint());
    }

    #[test]
    fn without_a_rate_one_byte_a_window_will_do() {
        let mut pace = Pace::new(SECOND, 0);
        pace.came(SECOND / 2, 1);
        assert_eq!(pace.left(), SECOND);
        pace.came(SECOND / 4, 0);
        assert_eq!(pace.left(), SECOND * 3 / 4);
        assert!(pace.complaint().contains("nothing"), "{}", pace.complaint());
    }
}
