//! Numbers as people read them.

use std::time::{Duration, UNIX_EPOCH};

/// Bytes with a unit and three digits.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // What would be written as 1000 of a unit is one of the next.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

/// A number whose thousands are set apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much of a whole, in per cent; nothing of nothing is none. Only all is 100, and only none is 0.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    if share > 0.0 && share < 1.0 {
        "< 1 %".into()
    } else if share > 99.0 && share < 100.0 {
        "> 99 %".into()
    } else {
        format!("{share:.0} %")
    }
}

/// A number of things, in a word that takes an s.
pub(super) fn count(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(count), if count == 1 { "" } else { "s" })
}

/// How long something took.
pub(super) fn milliseconds(took: u64) -> String {
    if took < 10_000 { format!("{:.1} s", took as f64 / 1e3) } else { seconds(took / 1000) }
}

/// How long something lasts, in its two largest units.
pub(super) fn seconds(seconds: u64) -> String {
    let (minute, hour, day) = (60, 3600, 24 * 3600);
    if seconds < minute {
        format!("{seconds} s")
    } else if seconds < hour {
        format!("{} min {} s", seconds / minute, seconds % minute)
    } else if seconds < day {
        format!("{} h {} min", seconds / hour, seconds % hour / minute)
    } else {
        format!("{} d {} h", seconds / day, seconds % day / hour)
    }
}

/// What a step of time is called.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        60 => "a minute".into(),
        3600 => "an hour".into(),
        86_400 => "a day".into(),
        _ => self::seconds(seconds),
    }
}

/// How long ago something was, roughly.
pub(super) fn ago(seconds: u64) -> String {
    let (minute, hour, day) = (60, 3600, 24 * 3600);
    match seconds {
        0..10 => "just now".into(),
        _ if seconds < minute => format!("{} s ago", seconds / 10 * 10),
        _ if seconds < hour => format!("{} min ago", seconds / minute),
        _ if seconds < day => format!("{} h ago", seconds / hour),
        _ => format!("{} d ago", seconds / day),
    }
}

/// The time of a day, in UTC.
pub(super) fn clock(unix_seconds: u64) -> String {
    written(unix_seconds).get(17..22).unwrap_or_default().to_owned()
}

/// A day of a month, in UTC.
pub(super) fn day(unix_seconds: u64) -> String {
    written(unix_seconds).get(5..11).unwrap_or_default().to_owned()
}

/// Like `Sun, 06 Nov 1994 08:49:37 GMT`; of what no calendar has, the last day that one has.
fn written(unix_seconds: u64) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let written = [0, 999, 1000, 99_949, 99_950, 999_499, 999_500, 1_500_000, u64::MAX].map(bytes);
        let expected =
            ["0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "999 kB", "1.0 MB", "1.5 MB", "18.4 EB"];
        assert_eq!(written, expected);
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        let shares = [(0, 0), (0, 9), (1, 1000), (1, 3), (999, 1000), (9, 9)];
        assert_eq!(
            shares.map(|(part, whole)| percent(part, whole)),
            ["0 %", "0 %", "< 1 %", "33 %", "> 99 %", "100 %"]
        );
        assert_eq!([count(1, "host"), count(1200, "host")], ["1 host", "1,200 hosts"]);
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!([59, 61, 3661, 90_061].map(seconds), ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([1234, 61_000].map(milliseconds), ["1.2 s", "1 min 1 s"]);
        assert_eq!(
            [9, 25, 60, 7200, 200_000].map(ago),
            ["just now", "20 s ago", "1 min ago", "2 h ago", "2 d ago"]
        );
        assert_eq!([60, 3600, 86_400, 120].map(span), ["a minute", "an hour", "a day", "2 min 0 s"]);
        assert_eq!((clock(784_111_777), day(784_111_777)), ("08:49".into(), "06 Nov".into()));
        assert_eq!(day(u64::MAX), "31 Dec");
    }
}
