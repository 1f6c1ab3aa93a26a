//! Ranges of pieces, as hosts write them and as they are reckoned with.

use pkgtorrent_protocol::announce::PieceRange;

/// The pieces from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Range {
    pub(super) fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }
}

/// What a host has named, cut off at the bundle's end, ascending, without overlaps or neighbours.
pub(super) fn within(named: &[PieceRange], pieces: u32) -> Vec<Range> {
    let cut_off =
        named.iter().map(|&(first, len)| Range { start: first, end: first.saturating_add(len).min(pieces) });
    let mut ranges: Vec<Range> = cut_off.filter(|range| range.len() > 0).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let joins = next.start <= range.end;
        if joins {
            range.end = range.end.max(next.end);
        }
        joins
    });
    ranges
}

/// Ascending ranges as a host reads them, neighbours as one.
pub(super) fn merged(ranges: impl Iterator<Item = Range>) -> Vec<PieceRange> {
    let mut merged: Vec<PieceRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some((first, len)) if *first + *len == range.start => *len += range.len(),
            _ => merged.push((range.start, range.len())),
        }
    }
    merged
}

/// The parts of one range that lie in any of these, which are ascending and do not overlap.
pub(super) fn overlaps(ranges: &[Range], whole: Range) -> impl Iterator<Item = Range> + '_ {
    let first = ranges.partition_point(|range| range.end <= whole.start);
    ranges[first..]
        .iter()
        .take_while(move |range| range.start < whole.end)
        .map(move |range| Range { start: range.start.max(whole.start), end: range.end.min(whole.end) })
}

/// The first so many pieces of these ranges.
pub(super) fn first(ranges: impl IntoIterator<Item = Range>, mut pieces: u32) -> Vec<Range> {
    let mut first = Vec::new();
    for range in ranges {
        let part = Range { end: range.end.min(range.start + pieces), ..range };
        pieces -= part.len();
        if part.len() > 0 {
            first.push(part);
        }
    }
    first
}
