//! Numbers as people read them.

/// A number of bytes with a decimal unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    // 999.96 would be written as 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number of seconds in its two largest units.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A text that somebody else wrote, without what a terminal or a reader could take for more than text.
#[must_use]
pub fn harmless(text: &str) -> String {
    // These change the direction of what is written beside them.
    let turns = |sign: char| matches!(sign, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|sign| if sign.is_control() || turns(sign) { '?' } else { sign }).collect()
}

/// The beginning of a text, of so many bytes at most.
#[must_use]
pub fn beginning(text: &str, len_max: usize) -> &str {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A text of so many bytes at most: one that is longer loses its middle, as reasons end with what caused them.
#[must_use]
pub fn shortened(text: &str, len_max: usize) -> String {
    const GAP: &str = " ... ";
    if text.len() <= len_max {
        return text.to_owned();
    }
    let half = len_max.saturating_sub(GAP.len()) / 2;
    let mut end = text.len() - half;
    while !text.is_char_boundary(end) {
        end += 1;
    }
    format!("{}{GAP}{}", beginning(text, half), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_no_text() {
        assert_eq!(harmless("a\u{1b}[2Jé\u{9b}31m\r\n\u{202e}中"), "a?[2Jé?31m???中");
    }

    #[test]
    fn what_is_too_long_loses_its_middle() {
        assert_eq!(shortened("short", 5), "short");
        let long = shortened(&format!("why{}503é", "é".repeat(200)), 100);
        assert!(long.starts_with("why") && long.ends_with("503é") && long.len() <= 100, "{long}");
    }

    #[test]
    fn a_beginning_ends_between_signs() {
        assert_eq!((beginning("aéb", 2), beginning("aéb", 3), beginning("aéb", 9)), ("a", "aé", "aéb"));
    }

    #[test]
    fn units_fit_the_numbers() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (32_000_000, "32.0 MB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        for (seconds, text) in [(0, "0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
