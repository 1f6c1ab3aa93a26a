//! What several pages are made of.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::text;
use crate::http::api::parameters::Paging;

/// A number that stands out, what it is, and what is said about it.
pub(super) fn figure(name: &str, value: &str, about: &Markup) -> Markup {
    html! {
        div.figure {
            dt { (name) }
            dd { strong { (value) } span.about { (about) } }
        }
    }
}

/// Shares of a whole, side by side; each has a class and what it counts.
pub(super) fn bar(parts: &[(&str, u64)], label: &str) -> Markup {
    let whole = parts.iter().map(|(_, part)| *part).fold(0, u64::saturating_add);
    let share = |part: u64| if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    let placed = parts.iter().scan(0.0, |end, (class, part)| {
        let (at, width) = (*end, share(*part));
        *end += width;
        Some((class, at, width))
    });
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.track width="100" height="8" {}
            @for (class, at, width) in placed {
                rect class=(class) x=(format!("{at:.2}")) width=(format!("{width:.2}")) height="8" {}
            }
        }
    }
}

/// A table that can be scrolled by itself where it is wider than the screen, also with a keyboard.
pub(super) fn table(label: &str, columns: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { @for (column, is_number) in columns {
                    th scope="col" class=[is_number.then_some("number")] { (column) }
                } } }
                tbody { (rows) }
            }
        }
    }
}

/// A cell with a number.
pub(super) fn number(value: u64) -> Markup {
    html! { td.number { (text::number(value)) } }
}

/// A cell with bytes.
pub(super) fn bytes(value: u64) -> Markup {
    html! { td.number { (text::bytes(value)) } }
}

/// A link as a query: this page with these parameters, without those that are empty.
pub(super) fn query(parameters: &[(&str, &str)], fragment: &str) -> String {
    let pairs = parameters.iter().filter(|(_, value)| !value.is_empty());
    let pairs = pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    format!("?{}#{fragment}", pairs.collect::<Vec<_>>().join("&"))
}

/// Where one stands in a list, and the ways on and back. `link` makes one to the rows from an offset on.
pub(super) fn pager(paging: Paging, rows: usize, matching: usize, link: impl Fn(usize) -> String) -> Markup {
    let (first, end) = (paging.offset, paging.offset + rows);
    html! {
        nav.pager aria-label="Rows" {
            @if first > 0 {
                a rel="prev" href=(link(first.saturating_sub(paging.limit))) { "← Previous" }
            }
            @if rows > 0 {
                span {
                    (text::number(first as u64 + 1)) "–" (text::number(end as u64))
                    " of " (text::number(matching as u64))
                }
            }
            @if end < matching {
                a rel="next" href=(link(end)) { "Next →" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_markup() {
        let rows = html! { tr { td { ("<script>&\"") } } };
        let table = table("a\"><b", &[("<i>", true)], &rows).into_string();
        assert!(table.contains("&lt;script&gt;&amp;") && table.contains("&lt;i&gt;"), "{table}");
        assert!(table.contains(r#"aria-label="a&quot;&gt;&lt;b""#), "{table}");
        assert_eq!(query(&[("q", "a&b=\"<"), ("order", "")], "swarms"), "?q=a%26b%3D%22%3C#swarms");
    }

    #[test]
    fn a_bar_is_full_when_there_is_anything() {
        let bar = bar(&[("origin", 1), ("near", 3)], "sources").into_string();
        assert!(bar.contains(r#"<rect class="near" x="25.00" width="75.00""#), "{bar}");
    }
}
