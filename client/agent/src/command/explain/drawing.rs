//! What came when, as a picture on a terminal and as lines elsewhere.

use super::seconds;
use crate::records::{Record, Timeline, Wait};
use crate::text::bytes;

/// How high the picture is, in lines.
const HEIGHT: usize = 8;

/// The narrowest and widest picture: below the first nothing can be seen, and nobody reads beyond the second.
const COLUMNS_MIN: usize = 20;
const COLUMNS_MAX: usize = 200;

/// How wide a column may become when there are few.
const COLUMN_WIDTH_MAX: usize = 4;

/// What stands left of the picture.
const MARGIN: usize = 14;

/// How to draw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// How many signs a line has; none where lines are to be written instead of a picture.
    pub(super) width: Option<usize>,
    pub(super) is_colored: bool,
    pub(super) is_utf8: bool,
}

/// A source as it is drawn.
struct Source {
    name: &'static str,
    ascii: char,
    utf8: char,
    /// Its colour's number.
    color: u8,
}

/// In the order in which they are stacked, and of the ledger.
const SOURCES: [Source; 4] = [
    Source { name: "the mirror", ascii: 'o', utf8: '▓', color: 31 },
    Source { name: "hosts of this site", ascii: '#', utf8: '█', color: 32 },
    Source { name: "other sites", ascii: '+', utf8: '▒', color: 33 },
    Source { name: "this host", ascii: '.', utf8: '░', color: 34 },
];

/// Bytes by source.
type Column = [u64; SOURCES.len()];

impl Style {
    fn paint(&self, sign: char, color: u8) -> String {
        if self.is_colored { format!("\x1b[{color}m{sign}\x1b[0m") } else { sign.to_string() }
    }

    fn sign(&self, source: &Source) -> String {
        self.paint(if self.is_utf8 { source.utf8 } else { source.ascii }, source.color)
    }
}

/// Draws it, or writes it in lines where there is no terminal.
pub(super) fn draw(record: &Record, style: &Style) -> String {
    match style.width {
        Some(width) => picture(record, width, style),
        None => lines(&record.timeline),
    }
}

fn columns(timeline: &Timeline) -> Vec<Column> {
    let Timeline { origin, near, far, store, .. } = timeline;
    let series = [origin, near, far, store];
    let len = series.iter().map(|series| series.len()).max().unwrap_or(0);
    let at = |part: usize| series.map(|series| series.get(part).copied().unwrap_or(0));
    (0..len).map(at).collect()
}

fn sum(column: &Column) -> u64 {
    column.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

fn lines(timeline: &Timeline) -> String {
    let mut text = String::new();
    for (part, column) in columns(timeline).iter().enumerate().filter(|(_, column)| sum(column) > 0) {
        let at = part as u64 * u64::from(timeline.seconds);
        let named = SOURCES.iter().zip(column).filter(|(_, bytes)| **bytes > 0);
        let named: Vec<String> =
            named.map(|(source, count)| format!("{} from {}", bytes(*count), source.name)).collect();
        text.push_str(&format!("  {at:>5} s  {}\n", named.join(", ")));
    }
    text
}

fn picture(record: &Record, width: usize, style: &Style) -> String {
    let parts = columns(&record.timeline);
    let room = width.saturating_sub(MARGIN).clamp(COLUMNS_MIN, COLUMNS_MAX);
    let whole =
        usize::try_from(record.took / 1000 / u64::from(record.timeline.seconds.max(1))).unwrap_or(0) + 1;
    // A record may say anything.
    let whole = whole.min(10 * COLUMNS_MAX).max(parts.len());
    let each = whole.div_ceil(room);
    let count = whole.div_ceil(each);
    let merged: Vec<Column> = (0..count)
        .map(|nth| {
            let of_column = parts.iter().skip(nth * each).take(each);
            of_column.fold(Column::default(), |sum, part| {
                std::array::from_fn(|it| sum[it].saturating_add(part[it]))
            })
        })
        .collect();
    let wide = (room / count).clamp(1, COLUMN_WIDTH_MAX);
    let column_seconds = u64::from(record.timeline.seconds.max(1)).saturating_mul(each as u64);
    let highest = merged.iter().map(sum).max().unwrap_or(0).max(1);
    let stacks: Vec<[Option<usize>; HEIGHT]> = merged.iter().map(|column| stack(column, highest)).collect();
    let mut text = String::new();
    for row in (0..HEIGHT).rev() {
        let label =
            if row + 1 == HEIGHT { format!("{}/s", bytes(highest / column_seconds)) } else { String::new() };
        let cells: String = stacks.iter().map(|stack| cell(stack[row], style).repeat(wide)).collect();
        text.push_str(format!("{label:>12} |{cells}").trim_end());
        text.push('\n');
    }
    text.push_str(&waits_row(record, count, wide, column_seconds));
    let end = seconds(record.took);
    let axis = (count * wide).saturating_sub(end.len() + 3);
    text.push_str(&format!("{:MARGIN$}0 s{:axis$}{end}\n", "", ""));
    text.push_str(&legend(record, style));
    text
}

fn cell(source: Option<usize>, style: &Style) -> String {
    source.map_or_else(|| " ".into(), |source| style.sign(&SOURCES[source]))
}

/// Which source each cell of a column shows, from below. A column in which anything came has one cell at least.
fn stack(column: &Column, highest: u64) -> [Option<usize>; HEIGHT] {
    let all = sum(column);
    // No more than HEIGHT cells, as nothing is higher than the highest.
    let cells = |bytes: u64| (u128::from(bytes) * HEIGHT as u128).div_ceil(u128::from(highest)) as usize;
    let height = cells(all).min(HEIGHT);
    let mut stack = [None; HEIGHT];
    for (nth, cell) in stack.iter_mut().enumerate().take(height) {
        // What is in the middle of the cell.
        let at = (u128::from(all) * (2 * nth as u128 + 1)) / (2 * height as u128);
        let mut below = 0_u128;
        *cell = column.iter().position(|bytes| {
            below += u128::from(*bytes);
            at < below
        });
    }
    stack
}

/// The sign of a wait below the picture.
fn sign_of(why: Wait) -> char {
    match why {
        Wait::Lid => 'L',
        Wait::FirstCopy => 'f',
        Wait::Silence => 's',
        Wait::OtherInstall => 'i',
        Wait::Info | Wait::Plan => 'p',
        Wait::Placing => 'w',
        Wait::Other => '?',
    }
}

/// In which columns nothing came most of the time, and why.
fn waits_row(record: &Record, count: usize, wide: usize, column_seconds: u64) -> String {
    let len = column_seconds.saturating_mul(1000);
    let sign = |nth: usize| {
        let (from, to) = (len.saturating_mul(nth as u64), len.saturating_mul(nth as u64 + 1));
        let in_column = |from_to: (u64, u64)| from_to.1.min(to).saturating_sub(from_to.0.max(from));
        let longest = record.waits.iter().map(|wait| (in_column((wait.from, wait.to)), wait.why)).max();
        longest.filter(|(time, _)| *time > 0 && *time >= len / 2).map_or(' ', |(_, why)| sign_of(why))
    };
    let signs: String = (0..count).flat_map(|nth| std::iter::repeat_n(sign(nth), wide)).collect();
    if signs.trim().is_empty() {
        return String::new();
    }
    format!("{:>12}  {}\n", "waited", signs.trim_end())
}

fn legend(record: &Record, style: &Style) -> String {
    let parts = columns(&record.timeline);
    let brought = |nth: &usize| parts.iter().any(|column| column[*nth] > 0);
    let named = (0..SOURCES.len())
        .filter(brought)
        .map(|nth| format!("{} {}", style.sign(&SOURCES[nth]), SOURCES[nth].name));
    let named: Vec<String> = named.collect();
    if named.is_empty() { String::new() } else { format!("{:MARGIN$}{}\n", "", named.join("   ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::WaitRecord;

    const PLAIN: Style = Style { width: Some(40), is_colored: false, is_utf8: false };

    fn record(seconds: u64) -> Record {
        let timeline = Timeline { seconds: 1, ..Timeline::default() };
        Record { took: seconds * 1000, timeline, ..Record::default() }
    }

    #[test]
    fn sources_are_stacked_by_their_share() {
        let mut record = record(2);
        record.timeline.origin = vec![4000, 0];
        record.timeline.near = vec![4000, 1];
        let drawn = draw(&record, &PLAIN);
        let rows: Vec<&str> = drawn.lines().collect();
        assert_eq!(rows[0], "    8.0 kB/s |####", "{drawn}");
        assert_eq!(rows[3], "             |####");
        assert_eq!(rows[4], "             |oooo");
        assert_eq!(rows[7], "             |oooo####", "a byte is seen: {drawn}");
        assert!(rows[8].trim_start().starts_with("0 s") && rows[8].ends_with("2.0 s"), "{drawn}");
        assert!(
            rows[9].contains("o the mirror   # hosts of this site") && !rows[9].contains("other"),
            "{drawn}"
        );
    }

    #[test]
    fn a_long_install_fits_into_any_terminal() {
        let mut record = record(100_000);
        record.timeline.seconds = 512;
        record.timeline.near = (0..196).collect();
        for width in [0, 1, 30, 80, 5000] {
            let drawn = draw(&record, &Style { width: Some(width), ..PLAIN });
            let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(
                widest <= width.clamp(MARGIN + COLUMNS_MIN, MARGIN + COLUMNS_MAX),
                "{width}: {widest}\n{drawn}"
            );
        }
    }

    #[test]
    fn a_record_that_lies_is_drawn_as_well() {
        let mut record = record(u64::MAX / 1000);
        record.timeline = Timeline {
            seconds: 0,
            origin: vec![u64::MAX; 3],
            near: vec![u64::MAX; 9999],
            ..Timeline::default()
        };
        record.waits = vec![WaitRecord { from: u64::MAX, to: 0, why: Wait::Lid }; 3];
        assert!(draw(&record, &PLAIN).lines().count() > HEIGHT);
        assert!(!draw(&record, &Style { width: None, ..PLAIN }).is_empty());
    }

    #[test]
    fn waits_stand_below_the_seconds_that_they_fill() {
        let mut record = record(3);
        record.timeline.near = vec![1, 0, 0, 1];
        record.waits = vec![WaitRecord { from: 900, to: 3000, why: Wait::Lid }];
        let drawn = draw(&record, &PLAIN);
        assert!(drawn.contains("      waited      LLLLLLLL\n"), "{drawn}");
    }

    #[test]
    fn colours_and_signs_are_for_those_who_can_show_them() {
        let mut record = record(1);
        record.timeline.near = vec![1];
        assert!(draw(&record, &PLAIN).is_ascii());
        assert!(draw(&record, &Style { is_utf8: true, ..PLAIN }).contains('█'));
        assert!(draw(&record, &Style { is_colored: true, ..PLAIN }).contains("\x1b[32m#\x1b[0m"));
        let lines = draw(&record, &Style { width: None, ..PLAIN });
        assert_eq!(lines, "      0 s  1 B from hosts of this site\n");
    }
}
