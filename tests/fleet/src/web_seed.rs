//! What the web seed sends over time.

use std::time::Duration;

/// How much it had sent at each look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebSeed {
    looks: Vec<(Duration, u64)>,
}

impl WebSeed {
    pub(crate) fn look(&mut self, at: Duration, sent: u64) {
        self.looks.push((at, sent));
    }

    /// The most that it sent for so long, in bytes a second; nothing if it was not looked at for so long.
    #[must_use]
    pub fn rate_max(&self, lasting: Duration) -> Option<f64> {
        let rates = self.looks.iter().enumerate().filter_map(|(index, (from, before))| {
            let (at, sent) = self.looks[index..].iter().find(|(at, _)| *at - *from >= lasting)?;
            Some((sent - before) as f64 / (*at - *from).as_secs_f64())
        });
        rates.max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_worst_window_counts() {
        let mut web_seed = WebSeed::default();
        for (at, sent) in [(0, 0), (1, 10), (2, 50), (3, 90), (4, 100), (5, 110)] {
            web_seed.look(at * SECOND, sent);
        }
        assert_eq!(web_seed.rate_max(2 * SECOND), Some(40.0));
        assert_eq!(web_seed.rate_max(5 * SECOND), Some(22.0));
        assert_eq!(web_seed.rate_max(6 * SECOND), None);
    }
}
