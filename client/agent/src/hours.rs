//! Times of day, as an operator writes them.

use serde::Deserialize;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// The most windows of one day.
const WINDOWS_MAX: usize = 24;

/// When something is allowed: at any time if there is no window. A window may go over midnight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Hours(Vec<Window>);

/// From one minute of the day until another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: u16,
    until: u16,
}

impl Hours {
    /// Whether a minute of the day is within them.
    #[must_use]
    pub fn contain(&self, minute: u16) -> bool {
        let within = |window: &Window| {
            let Window { from, until } = *window;
            if from < until { (from..until).contains(&minute) } else { minute >= from || minute < until }
        };
        self.0.is_empty() || self.0.iter().any(within)
    }

    /// Whether this minute, by the host's own clock and time zone, is within them.
    #[must_use]
    pub fn contain_now(&self) -> bool {
        // The time zone is a file: it is not read for nothing.
        self.0.is_empty() || {
            let now = jiff::Zoned::now();
            // An hour is below 24, a minute below 60.
            self.contain(now.hour().unsigned_abs() as u16 * 60 + now.minute().unsigned_abs() as u16)
        }
    }
}

impl TryFrom<Vec<String>> for Hours {
    type Error = String;

    fn try_from(windows: Vec<String>) -> Result<Self, Self::Error> {
        if windows.len() > WINDOWS_MAX {
            return Err(format!("{} windows, at most {WINDOWS_MAX} are allowed", windows.len()));
        }
        let read = |text: &String| {
            window(text)
                .ok_or_else(|| format!("{text:?} is no window of a day: write it like \"22:00-06:00\""))
        };
        windows.iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn window(text: &str) -> Option<Window> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minute(from)?, minute(until)?);
    // A day ends at 24:00 and begins at 00:00. What begins where it ends could mean all or nothing.
    (from < MINUTES_OF_DAY && from != until).then_some(Window { from, until })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse::<u16>().ok() } else { None }
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES_OF_DAY).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(windows: &[&str]) -> Result<Hours, String> {
        windows.iter().map(ToString::to_string).collect::<Vec<_>>().try_into()
    }

    #[test]
    fn a_window_has_a_first_minute_and_ends_before_its_last() {
        for (windows, minute, expected) in [
            (&[][..], 0, true),
            (&["08:00-18:30"], 8 * 60, true),
            (&["08:00-18:30"], 8 * 60 - 1, false),
            (&["08:00-18:30"], 18 * 60 + 29, true),
            (&["08:00-18:30"], 18 * 60 + 30, false),
            (&["22:00-06:00"], 23 * 60, true),
            (&["22:00-06:00"], 0, true),
            (&["22:00-06:00"], 6 * 60, false),
            (&["22:00-24:00"], 23 * 60 + 59, true),
            (&["22:00-24:00"], 0, false),
            (&["00:00-01:00", "03:00-04:00"], 3 * 60 + 1, true),
            (&["00:00-01:00", "03:00-04:00"], 2 * 60, false),
        ] {
            assert_eq!(hours(windows).expect("windows").contain(minute), expected, "{windows:?} at {minute}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "8-18",
            "8:00-18:00",
            "08:00",
            "08:00-08:00",
            "24:00-06:00",
            "08:60-09:00",
            "00:00-24:01",
            "08:00-18:00 ",
            "+8:00-18:00",
            "08:00-18:00-19:00",
        ] {
            assert!(hours(&[text]).expect_err(text).contains("22:00-06:00"), "{text}");
        }
        assert!(hours(&["08:00-09:00"; 25]).is_err());
    }
}
