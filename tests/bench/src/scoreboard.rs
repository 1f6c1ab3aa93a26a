//! The table that a run ends with: one line per figure, what it is and whether that is enough.

use std::fmt;

use crate::sample::{Sample, Unit};

/// How far a figure has to come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// More is better.
    AtLeast(f64),
    /// Less is better, and this much is too much.
    Under(f64),
    /// Nothing is asked: the value explains another one.
    None,
}

impl Target {
    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {}", unit.show(bound)),
            Self::Under(bound) => format!("under {}", unit.show(bound)),
            Self::None => "-".into(),
        }
    }

    fn verdict(self, value: f64) -> Verdict {
        match self {
            Self::AtLeast(bound) if value >= bound => Verdict::Met,
            Self::Under(bound) if value < bound => Verdict::Met,
            Self::None => Verdict::Told,
            _ => Verdict::Missed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    /// There was no target.
    Told,
    /// There is no value.
    NotMeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Told => "",
            Self::NotMeasured => "NOT MEASURED",
        })
    }
}

#[derive(Debug)]
struct Row {
    figure: &'static str,
    what: String,
    measured: String,
    target: String,
    verdict: Verdict,
}

/// What has been measured so far.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    rows: Vec<Row>,
    tables: Vec<String>,
}

impl Scoreboard {
    /// Adds a measured figure. It is judged by its median.
    pub(crate) fn add(
        &mut self,
        figure: &'static str,
        what: impl Into<String>,
        sample: &Sample,
        target: Target,
    ) {
        let row = Row {
            figure,
            what: what.into(),
            measured: sample.to_string(),
            target: target.show(sample.unit()),
            verdict: target.verdict(sample.median()),
        };
        // A run takes minutes: each line is worth seeing as soon as it is known.
        eprintln!("  {}: {} {}", row.what, row.measured, row.verdict);
        self.rows.push(row);
    }

    /// Adds a figure that could not be measured, with the reason.
    pub(crate) fn add_failure(&mut self, figure: &'static str, reason: &anyhow::Error) {
        eprintln!("  {figure} could not be measured: {reason:#}");
        self.rows.push(Row {
            figure,
            what: format!("{reason:#}"),
            measured: "-".into(),
            target: "-".into(),
            verdict: Verdict::NotMeasured,
        });
    }

    /// Adds a table that stands by itself.
    pub(crate) fn add_table(&mut self, title: &str, table: &str) {
        self.tables.push(format!("{title}\n{table}"));
    }

    /// Whether some figure has no value.
    pub(crate) fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::NotMeasured)
    }

    /// Whether some figure falls short of its target.
    pub(crate) fn has_misses(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Missed)
    }
}

impl fmt::Display for Scoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: fn(&Row) -> &str, title: &str| {
            let cells = self.rows.iter().map(|row| column(row).chars().count());
            cells.chain([title.len()]).max().unwrap_or_default()
        };
        let figure = width(|row| row.figure, "figure");
        let what = width(|row| &row.what, "what");
        let measured = width(|row| &row.measured, "measured");
        let target = width(|row| &row.target, "target");
        writeln!(
            f,
            "{:figure$}  {:what$}  {:measured$}  {:target$}",
            "figure", "what", "measured", "target"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:figure$}  {:what$}  {:measured$}  {:target$}  {}",
                row.figure, row.what, row.measured, row.target, row.verdict
            )?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median_and_its_direction() {
        let mut board = Scoreboard::default();
        let ratios = Sample::new(Unit::Ratio, [0.7, 0.9, 0.8]);
        board.add("build", "throughput", &ratios, Target::AtLeast(0.8));
        let times = Sample::new(Unit::Milliseconds, [4.0, 9.0, 4.9]);
        board.add("seen", "p99", &times, Target::Under(5.0));
        assert!(!board.has_misses());
        board.add("seen", "p99", &times, Target::Under(4.9));
        assert!(board.has_misses());
        assert!(!board.has_failures());
        let text = board.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1].join(" "), "build throughput 0.80x (0.70 to 0.90 in 3) at least 0.80x met");
        assert_eq!(lines[3].join(" "), "seen p99 4.90 ms (4.00 to 9.00 in 3) under 4.90 ms MISSED");
    }
}
