//! A bundle's pieces as a picture: a square for each, or for some neighbours.

use std::fmt::Write;

use maud::{Markup, html};

use super::text;
use crate::http::api::answers::Cell;

/// How many squares stand in a row.
const COLUMNS: usize = 64;

/// How long the side of a square is with the gap behind it, and without.
const PITCH: usize = 10;
const SIDE: usize = 9;

/// What a square stands for: its class, what that means, and which cells it is for.
type Shade = (&'static str, &'static str, fn(&Cell) -> bool);

/// From nobody to everybody; the first one that fits counts.
const SHADES: [Shade; 5] = [
    ("leased", "one host is fetching it from the mirror", |cell| cell.leased > 0),
    ("absent", "no host has it", |cell| cell.absent > 0),
    ("few", "one host has it", |cell| cell.hosts == 1),
    ("some", "two to four hosts have it", |cell| cell.hosts < 5),
    ("many", "five hosts or more have it", |_| true),
];

/// The picture with what it means.
pub(super) fn pieces(cells: &[Cell]) -> Markup {
    let mut drawn = [const { String::new() }; SHADES.len()];
    for (index, cell) in cells.iter().enumerate() {
        let shade = SHADES.iter().position(|(_, _, fits)| fits(cell)).unwrap_or_default();
        let (x, y) = (index % COLUMNS * PITCH, index / COLUMNS * PITCH);
        // Writing to a string cannot fail.
        let _ = write!(drawn[shade], "M{x} {y}h{SIDE}v{SIDE}h-{SIDE}z");
    }
    let (columns, rows) = (cells.len().clamp(1, COLUMNS), cells.len().div_ceil(COLUMNS).max(1));
    let each = cells.first().map_or(1, |cell| cell.pieces);
    html! {
        figure.pieces {
            svg viewBox={ "0 0 " (columns * PITCH) " " (rows * PITCH) } role="img" aria-label=(label(cells)) {
                @for ((class, _, _), path) in SHADES.iter().zip(&drawn) {
                    @if !path.is_empty() { path class=(class) d=(path) {} }
                }
            }
            figcaption {
                p { (label(cells)) }
                ul.legend {
                    @for (class, meaning, _) in &SHADES { li { span class={ "key " (class) } {} (meaning) } }
                }
                @if each > 1 { p.about { "A square is " (each) " pieces, and shows the rarest of them." } }
            }
        }
    }
}

/// The same in words.
fn label(cells: &[Cell]) -> String {
    let sum = |of: fn(&Cell) -> u32| cells.iter().map(|cell| u64::from(of(cell))).sum::<u64>();
    let (pieces, absent, leased) = (sum(|c| c.pieces), sum(|c| c.absent), sum(|c| c.leased));
    let rarest = cells.iter().map(|cell| cell.hosts).min().unwrap_or_default();
    let out =
        format!("{} of {} have left the mirror", text::number(pieces - absent), text::count(pieces, "piece"));
    if absent > 0 {
        format!("{out}, {} on the way.", text::number(leased))
    } else {
        format!(
            "{out}; {} at least the rarest.",
            if rarest == 1 { "1 host has".into() } else { format!("{rarest} hosts have") }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(absent: u32, leased: u32, hosts: u32) -> Cell {
        Cell { first: 0, pieces: 2, absent, leased, hosts }
    }

    #[test]
    fn each_square_has_the_shade_of_its_rarest_piece() {
        let cells =
            [cell(1, 1, 0), cell(2, 0, 0), cell(0, 0, 1), cell(0, 0, 4), cell(0, 0, 5), cell(0, 0, 900)];
        let picture = pieces(&cells).into_string();
        for path in [
            r#"<path class="leased" d="M0 0h9v9h-9z">"#,
            r#"<path class="absent" d="M10 0h9v9h-9z">"#,
            r#"<path class="few" d="M20 0h9v9h-9z">"#,
            r#"<path class="some" d="M30 0h9v9h-9z">"#,
            r#"<path class="many" d="M40 0h9v9h-9zM50 0h9v9h-9z">"#,
            "9 of 12 pieces have left the mirror, 1 on the way.",
            "A square is 2 pieces",
        ] {
            assert!(picture.contains(path), "{path}: {picture}");
        }
        assert!(!pieces(&[]).into_string().contains("<path"));
    }
}
