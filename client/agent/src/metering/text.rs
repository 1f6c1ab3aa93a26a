//! Metrics as Prometheus reads them.

use std::fmt::{Display, Write};

use pkgtorrent_settings::Metric;

/// The text, as it grows.
#[derive(Debug, Default)]
pub(crate) struct MetricsText(String);

impl MetricsText {
    /// A metric without labels.
    pub(crate) fn one(&mut self, metric: &Metric, value: impl Display) {
        debug_assert!(metric.labels.is_empty());
        self.head(metric);
        self.line(format_args!("{} {value}", metric.name));
    }

    /// A metric with a label, and a value for each of what that is. These are words of this program, never a caller's.
    pub(crate) fn by<'a, V: Display>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        debug_assert_eq!(metric.labels.len(), 1);
        self.head(metric);
        for (label, value) in samples {
            self.line(format_args!("{}{{{}=\"{label}\"}} {value}", metric.name, metric.labels[0]));
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, metric: &Metric) {
        self.line(format_args!("# HELP {} {}", metric.name, metric.meaning()));
        self.line(format_args!("# TYPE {} {}", metric.name, metric.kind));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BYTES, UPTIME};
    use super::*;

    #[test]
    fn a_metric_has_its_meaning_and_a_line_for_each_label() {
        let mut text = MetricsText::default();
        text.one(&UPTIME, 2.5);
        text.by(&BYTES, [("near", 1), ("far", 2)]);
        let samples = "pkgtorrent_agent_bytes_total{source=\"near\"} 1\npkgtorrent_agent_bytes_total{source=\"far\"} 2\n";
        let text = text.finish();
        assert!(text.contains(
            "# HELP pkgtorrent_agent_uptime_seconds For how long it has run.\n\
             # TYPE pkgtorrent_agent_uptime_seconds gauge\n\
             pkgtorrent_agent_uptime_seconds 2.5\n"
        ));
        assert!(text.ends_with(samples), "{text}");
    }
}
