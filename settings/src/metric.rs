//! A number that a program shows, as documentation has it.

use std::fmt;

/// A metric. Programs declare each once, in one table; what they serve and what is written about it are made from that.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, as Prometheus has it.
    pub name: &'static str,
    /// What it does over time.
    pub kind: MetricKind,
    /// What is counted.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// The doc comment at its declaration.
    pub doc: &'static str,
}

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, until its program starts again.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often it was at most so much.
    Histogram,
}

impl Metric {
    /// What it means: one line.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.doc.trim()
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A program's metrics as a table in Markdown.
#[must_use]
pub fn table_of_metrics(metrics: &[Metric]) -> String {
    let mut table = "| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let Metric { name, kind, unit, .. } = metric;
        let (labels, meaning) = (labels.join(", "), metric.meaning());
        table.push_str(&format!("| `{name}` | {kind} | {unit} | {labels} | {meaning} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_a_row() {
        let metric = Metric {
            name: "x_total",
            kind: MetricKind::Counter,
            unit: "bytes",
            labels: &["site", "source"],
            doc: " What x was.",
        };
        let table = table_of_metrics(&[metric]);
        assert_eq!(
            table.lines().last(),
            Some("| `x_total` | counter | bytes | `site`, `source` | What x was. |")
        );
    }
}
