//! What happened over time, as bars: drawn here, so that it is there without a script, and told as a table as well.

use std::fmt::Write;

use maud::{Markup, html};

use super::parts::table;
use super::text;

/// How wide a bar is with the gap behind it, and without.
const PITCH: usize = 4;
const WIDTH: usize = 3;

/// How high the highest bar is.
const HEIGHT: f64 = 100.0;

/// The most rows of the table: of more bars several are one row.
const ROWS_MAX: usize = 31;

/// A span beyond which bars are told by their day, and not by their time.
const DAY: u64 = 24 * 3600;

/// Bars of some parts each, one for each step.
pub(super) struct Chart<const PARTS: usize> {
    /// What it shows, in a few words.
    pub(super) label: &'static str,
    /// Each part's class and name, from the bottom.
    pub(super) parts: [(&'static str, &'static str); PARTS],
    /// How an amount is written.
    pub(super) written: fn(u64) -> String,
    /// When the first bar begins, in seconds since 1970.
    pub(super) since: u64,
    /// How many seconds a bar is.
    pub(super) step: u64,
    pub(super) bars: Vec<[u64; PARTS]>,
}

/// Amounts at their times, put into so many bars from a time on; what lies outside is left out.
pub(super) fn bars<const PARTS: usize>(
    since: u64,
    step: u64,
    count: usize,
    amounts: impl Iterator<Item = (u64, [u64; PARTS])>,
) -> Vec<[u64; PARTS]> {
    let mut bars = vec![[0_u64; PARTS]; count];
    for (at, parts) in amounts {
        let Some(behind) = at.checked_sub(since) else { continue };
        let bar = usize::try_from(behind / step).ok().and_then(|index| bars.get_mut(index));
        if let Some(bar) = bar {
            bar.iter_mut().zip(parts).for_each(|(sum, part)| *sum = sum.saturating_add(part));
        }
    }
    bars
}

impl<const PARTS: usize> Chart<PARTS> {
    pub(super) fn draw(&self) -> Markup {
        let most = self.bars.iter().map(whole).max().unwrap_or_default();
        let all = self.bars.iter().map(whole).fold(0, u64::saturating_add);
        let (all, highest) = ((self.written)(all), (self.written)(most));
        let told = format!("{}: {all} in all, at most {highest} in {}.", self.label, text::span(self.step));
        let middle = self.since + self.step * (self.bars.len() as u64 / 2);
        html! {
            figure.chart {
                p.about { (told) }
                svg viewBox={ "0 0 " (self.bars.len() * PITCH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(told) {
                    @for ((class, _), path) in self.parts.iter().zip(self.paths(most)) {
                        @if !path.is_empty() { path class=(class) d=(path) {} }
                    }
                }
                div.axis aria-hidden="true" {
                    span { (self.time(self.since)) } span { (self.time(middle)) } span { "now" }
                }
                ul.legend {
                    @for (class, name) in &self.parts { li { span class={ "key " (class) } {} (name) } }
                }
                details {
                    summary { "As a table" }
                    (self.as_table())
                }
            }
        }
    }

    /// The rectangles of each part, one path for all of them.
    fn paths(&self, most: u64) -> [String; PARTS] {
        let mut paths = [const { String::new() }; PARTS];
        for (index, bar) in self.bars.iter().enumerate() {
            let mut top = HEIGHT;
            for (path, part) in paths.iter_mut().zip(bar) {
                if *part > 0 {
                    let height = *part as f64 * HEIGHT / most as f64;
                    top -= height;
                    // Writing to a string cannot fail.
                    let _ = write!(path, "M{} {top:.2}h{WIDTH}v{height:.2}h-{WIDTH}z", index * PITCH);
                }
            }
        }
        paths
    }

    fn as_table(&self) -> Markup {
        let of_row = self.bars.len().div_ceil(ROWS_MAX).max(1);
        let columns: Vec<(&str, bool)> =
            [("From", false)].into_iter().chain(self.parts.map(|(_, name)| (name, true))).collect();
        let rows = html! { @for (row, bars) in self.bars.chunks(of_row).enumerate() {
            tr {
                th scope="row" { (self.time(self.since + self.step * (row * of_row) as u64)) }
                @for part in 0..PARTS {
                    td.number { ((self.written)(bars.iter().map(|bar| bar[part]).fold(0, u64::saturating_add))) }
                }
            }
        } };
        table(self.label, &columns, &rows)
    }

    fn time(&self, at: u64) -> String {
        let span = self.step * self.bars.len() as u64;
        if span > DAY { text::day(at) } else { format!("{} UTC", text::clock(at)) }
    }
}

fn whole<const PARTS: usize>(bar: &[u64; PARTS]) -> u64 {
    bar.iter().copied().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_drawn_where_and_as_high_as_they_are() {
        let amounts = [(59, [9, 9]), (60, [1, 0]), (119, [0, 1]), (180, [4, 0]), (240, [7, 7])];
        let bars = bars(60, 60, 3, amounts.into_iter());
        assert_eq!(bars, [[1, 1], [0, 0], [4, 0]]);
        let parts = [("origin", "the mirror"), ("near", "hosts")];
        let chart = Chart { label: "Bytes", parts, written: text::bytes, since: 60, step: 60, bars };
        let drawn = chart.draw().into_string();
        for part in [
            r#"<path class="origin" d="M0 75.00h3v25.00h-3zM8 0.00h3v100.00h-3z">"#,
            r#"<path class="near" d="M0 50.00h3v25.00h-3z">"#,
            "Bytes: 6 B in all, at most 4 B in a minute.",
            r#"<th scope="row">00:03 UTC</th><td class="number">4 B</td><td class="number">0 B</td>"#,
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
    }

    #[test]
    fn a_long_table_takes_bars_together_and_nothing_is_too_much() {
        let bars = vec![[u64::MAX]; 180];
        let chart =
            Chart { label: "Bytes", parts: [("near", "x")], written: text::number, since: 0, step: 60, bars };
        let drawn = chart.draw().into_string();
        assert_eq!(drawn.matches("<tr>").count(), 31);
    }
}
