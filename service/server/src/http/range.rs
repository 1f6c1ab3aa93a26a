//! The Range header (RFC 9110, section 14).

use std::ops::Range;

/// The most ranges that one answer has. librepo asks for up to 256 at once when it updates zchunk metadata.
pub(crate) const RANGES_MAX: usize = 256;

/// What a Range header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// All of it: the header is missing, not understood, or asks for what is better sent whole.
    Whole,
    /// These parts, none of them empty.
    Parts(Vec<Range<u64>>),
    /// Nothing that there is.
    Unsatisfiable,
}

/// Reads the header's value for a file of this length.
pub(crate) fn parse(value: &str, len: u64) -> Ranges {
    let Some(specs) = value.trim().strip_prefix("bytes=") else {
        return Ranges::Whole;
    };
    let mut parts = Vec::new();
    for spec in specs.split(',') {
        match parse_one(spec.trim(), len) {
            // What is not understood makes the whole header void.
            None => return Ranges::Whole,
            Some(part) if part.is_empty() => {}
            Some(_) if parts.len() == RANGES_MAX => return Ranges::Whole,
            Some(part) => parts.push(part),
        }
    }
    // Overlapping ranges would let a small request ask for the file many times over.
    let asked: u64 = parts.iter().map(|part| part.end - part.start).fold(0, u64::saturating_add);
    if parts.is_empty() {
        Ranges::Unsatisfiable
    } else if parts.len() > 1 && asked > len {
        Ranges::Whole
    } else {
        Ranges::Parts(parts)
    }
}

/// One range, empty when it lies beyond the end; none when it is not one.
fn parse_one(spec: &str, len: u64) -> Option<Range<u64>> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number too large for any file lies beyond the end of this one.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?.min(len);
        return Some(len - suffix..len);
    }
    let first = number(first)?;
    let end = if last.is_empty() { len } else { number(last)?.saturating_add(1).min(len) };
    if !last.is_empty() && number(last)? < first {
        return None;
    }
    Some(if first < len { first..end } else { 0..0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
    fn ranges_are_read_as_the_standard_says() {
        let parts = |ranges: &[Range<u64>]| Ranges::Parts(ranges.to_vec());
        for (value, expected) in [
            ("bytes=0-0", parts(&[0..1])),
            ("bytes=0-499", parts(&[0..500])),
            ("bytes=500-", parts(&[500..1000])),
            ("bytes=-1", parts(&[999..1000])),
            ("bytes=-5000", parts(&[0..1000])),
            ("bytes=990-5000", parts(&[990..1000])),
            ("bytes=0-1, 5-6,-2", parts(&[0..2, 5..7, 998..1000])),
            ("bytes=0-18446744073709551615", parts(&[0..1000])),
            ("bytes=0-99999999999999999999999", parts(&[0..1000])),
            ("bytes=1000-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=99999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=2000-,5-6", parts(&[5..7])),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("lines=1-2", Ranges::Whole),
            ("bytes=0-,0-", Ranges::Whole),
        ] {
            assert_eq!(parse(value, 1000), expected, "{value}");
        }
        let many = |n| format!("bytes={}", (0..n).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(","));
        assert!(matches!(parse(&many(RANGES_MAX), 1000), Ranges::Parts(_)));
        assert_eq!(parse(&many(RANGES_MAX + 1), 1000), Ranges::Whole);
        assert_eq!(parse("bytes=0-", 0), Ranges::Unsatisfiable);
    }
}
