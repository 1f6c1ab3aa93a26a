//! How fast the lines are, and how fast a crowd on them could be at best.

use std::time::Duration;

/// How much a line carries in a second, each way.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate {
    bits_per_second: f64,
}

impl Rate {
    /// So many millions of bits in a second.
    #[must_use]
    pub fn mbit(mbit: f64) -> Self {
        Self { bits_per_second: mbit * 1e6 }
    }

    /// Bytes in a second.
    #[must_use]
    pub fn bytes_per_second(self) -> f64 {
        self.bits_per_second / 8.0
    }

    /// As `tc` writes it.
    #[must_use]
    pub fn to_tc(self) -> String {
        format!("{:.0}bit", self.bits_per_second)
    }
}

/// The lines of a fleet, before there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// The origin's line.
    pub origin: Rate,
    /// The line of each host.
    pub hosts: Vec<Rate>,
    /// The site of the last hosts, if they have one of their own.
    pub far: Option<FarSite>,
}

/// A second site, without an origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarSite {
    /// How many hosts are there.
    pub hosts: usize,
    /// The line to it.
    pub link: Rate,
}

impl Lines {
    /// So many hosts and an origin on equal lines.
    #[must_use]
    pub fn even(hosts: usize, rate: Rate) -> Self {
        Self { origin: rate, hosts: vec![rate; hosts], far: None }
    }

    /// With another line for the origin.
    #[must_use]
    pub fn origin(mut self, rate: Rate) -> Self {
        self.origin = rate;
        self
    }

    /// With another line for the first host.
    #[must_use]
    pub fn straggler(mut self, rate: Rate) -> Self {
        if let Some(first) = self.hosts.first_mut() {
            *first = rate;
        }
        self
    }

    /// With the last so many hosts in a site of their own, behind a line of this rate.
    #[must_use]
    pub fn far(mut self, hosts: usize, link: Rate) -> Self {
        self.far = Some(FarSite { hosts, link });
        self
    }

    /// How long it takes at best until all hosts have so many bytes; see [`floor`]. A far site gets them over its line.
    #[must_use]
    pub fn floor(&self, bytes: u64) -> Duration {
        let rates = self.hosts.iter().map(|rate| rate.bytes_per_second());
        let slowest = rates.clone().fold(f64::INFINITY, f64::min);
        let seconds =
            floor(bytes, self.hosts.len(), self.origin.bytes_per_second(), slowest, rates.sum::<f64>());
        Duration::from_secs_f64(seconds.max(self.crossing(bytes)))
    }

    /// The seconds that so many bytes take over the line to the far site.
    fn crossing(&self, bytes: u64) -> f64 {
        self.far.map_or(0.0, |far| bytes as f64 / far.link.bytes_per_second())
    }

    /// The same when each host wants so many bytes, of so many that are wanted in all: what anybody wants has to leave the
    /// origin once, each host has to receive its own, and all of it has to be sent by somebody.
    #[must_use]
    pub fn floor_of(&self, all: u64, wanted: &[u64]) -> Duration {
        let origin = self.origin.bytes_per_second();
        let own = self.hosts.iter().zip(wanted).map(|(rate, &bytes)| bytes as f64 / rate.bytes_per_second());
        let sending = origin + self.hosts.iter().map(|rate| rate.bytes_per_second()).sum::<f64>();
        let sent = wanted.iter().sum::<u64>() as f64 / sending;
        let shared = sent.max(all as f64 / origin).max(self.crossing(all));
        Duration::from_secs_f64(own.fold(shared, f64::max))
    }
}

/// The least time, in seconds, in which so many hosts can have the same `bytes` (Kumar and Ross 2006): all of it has to
/// leave the origin once, the slowest host has to receive it, and all copies have to be sent by somebody. The rates are
/// bytes in a second: what the origin sends, what the slowest host receives, what all hosts together send.
///
/// The bytes are payload and the rates are those of the lines, so that what TCP, IP and Ethernet add (4 % with full
/// packets) counts against whoever is measured.
#[must_use]
pub fn floor(bytes: u64, hosts: usize, origin: f64, slowest: f64, all_hosts: f64) -> f64 {
    let bytes = bytes as f64;
    (bytes / origin).max(bytes / slowest).max(hosts as f64 * bytes / (origin + all_hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: u64 = 32_000_000;

    fn seconds(lines: &Lines) -> f64 {
        lines.floor(SET).as_secs_f64()
    }

    #[test]
    fn equal_lines_are_bound_by_one_copy_on_one_line() {
        assert_eq!(seconds(&Lines::even(20, Rate::mbit(50.0))), 5.12);
        assert_eq!(seconds(&Lines::even(20, Rate::mbit(20.0))), 12.8);
        assert_eq!(seconds(&Lines::even(1, Rate::mbit(20.0))), 12.8);
    }

    #[test]
    fn a_slow_origin_bounds_everybody() {
        let lines = Lines::even(20, Rate::mbit(20.0)).origin(Rate::mbit(4.0));
        assert_eq!(seconds(&lines), 64.0);
    }

    #[test]
    fn a_thin_line_bounds_the_site_behind_it() {
        assert_eq!(seconds(&Lines::even(20, Rate::mbit(20.0)).far(10, Rate::mbit(5.0))), 51.2);
        assert_eq!(seconds(&Lines::even(20, Rate::mbit(20.0)).far(10, Rate::mbit(50.0))), 12.8);
    }

    #[test]
    fn the_slowest_host_bounds_itself() {
        let lines = Lines::even(20, Rate::mbit(20.0)).straggler(Rate::mbit(2.0));
        assert_eq!(seconds(&lines), 128.0);
    }

    #[test]
    fn hosts_that_receive_faster_than_they_send_are_bound_by_all_copies() {
        // Nine hosts that send nothing share the origin; with a ninth of its rate each they double what there is.
        assert_eq!(floor(1_000, 9, 100.0, 1_000.0, 0.0), 90.0);
        assert_eq!(floor(1_000, 9, 100.0, 1_000.0, 100.0), 45.0);
    }

    #[test]
    fn hosts_that_want_different_packages_are_bound_by_all_of_them_or_by_the_largest_set() {
        let lines = Lines::even(4, Rate::mbit(20.0));
        assert_eq!(lines.floor_of(SET, &[SET; 4]), lines.floor(SET));
        assert_eq!(lines.floor_of(SET, &[SET / 2; 4]).as_secs_f64(), 12.8, "the origin sends each once");
        let fast = lines.clone().origin(Rate::mbit(80.0));
        assert_eq!(fast.floor_of(SET, &[SET / 4, SET / 2, 0, 0]).as_secs_f64(), 6.4);
        let slow = Lines::even(4, Rate::mbit(2.5)).origin(Rate::mbit(10.0));
        assert_eq!(slow.floor_of(SET / 8, &[SET / 8; 4]).as_secs_f64(), 12.8);
    }

    #[test]
    fn tc_gets_whole_bits() {
        assert_eq!(Rate::mbit(2.5).to_tc(), "2500000bit");
    }
}
