//! Numbers as people read them.

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
    }
}
