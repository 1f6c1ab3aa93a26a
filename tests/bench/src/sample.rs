//! The values that several rounds gave, and how one is made of them.

use std::fmt;

/// What a value counts, which decides how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// This side's value over the other side's.
    Ratio,
    /// Hundredths.
    Percent,
    /// Things.
    Number,
    /// Things done in a second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Thousands of bytes.
    Kilobytes,
    /// Millions of bytes.
    Megabytes,
    /// Gigabits (10^9) in a second.
    GbitPerSecond,
    /// Gigabytes (10^9) in a second.
    GbytePerSecond,
    /// Seconds of processor time for a gigabyte (10^9).
    CpuPerGbyte,
}

impl Unit {
    /// Writes one value with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.suffix())
    }

    /// As many decimals as a difference could be seen in.
    fn number(self, value: f64) -> String {
        let decimals = match self {
            Self::Number | Self::PerSecond | Self::Megabytes => 0,
            Self::GbitPerSecond => 1,
            Self::Ratio
            | Self::Percent
            | Self::Kilobytes
            | Self::Milliseconds
            | Self::Seconds
            | Self::GbytePerSecond => 2,
            Self::CpuPerGbyte => 3,
        };
        format!("{value:.decimals$}")
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Ratio => "x",
            Self::Percent => " %",
            Self::Number => "",
            Self::PerSecond => "/s",
            Self::Milliseconds => " ms",
            Self::Seconds => " s",
            Self::Kilobytes => " kB",
            Self::Megabytes => " MB",
            Self::GbitPerSecond => " Gbit/s",
            Self::GbytePerSecond => " GB/s",
            Self::CpuPerGbyte => " CPU s/GB",
        }
    }
}

/// One value a round. The median speaks for them: on a shared machine the mean tells more about the neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    unit: Unit,
    sorted: Vec<f64>,
}

impl Sample {
    /// A sample of at least one value.
    pub(crate) fn new(unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        assert!(!sorted.is_empty(), "a sample without values");
        sorted.sort_by(f64::total_cmp);
        Self { unit, sorted }
    }

    /// What the values count.
    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// The middle value, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let half = self.sorted.len() / 2;
        if self.sorted.len().is_multiple_of(2) {
            self.sorted[half - 1].midpoint(self.sorted[half])
        } else {
            self.sorted[half]
        }
    }

    /// The value that this share of the values does not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let rank = (self.sorted.len() as f64 * percent / 100.0).ceil() as usize;
        self.sorted[rank.clamp(1, self.sorted.len()) - 1]
    }
}

impl fmt::Display for Sample {
    /// The median, and behind it the spread: what a reader needs to see whether a difference is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.unit.show(self.median()))?;
        if let [least, .., most] = self.sorted[..] {
            let (least, most) = (self.unit.number(least), self.unit.number(most));
            write!(f, " ({least} to {most} in {})", self.sorted.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_a_percentile_is_a_value() {
        let sample = |values: &[f64]| Sample::new(Unit::Ratio, values.iter().copied());
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(sample(&hundred).percentile(99.0), 99.0);
        assert_eq!(sample(&hundred).percentile(100.0), 100.0);
        assert_eq!(sample(&[7.0]).percentile(50.0), 7.0);
    }
}
