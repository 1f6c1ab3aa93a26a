//! A rate as an operator writes it, such as `8 Mbit/s`.

use serde::Deserialize;

/// Below this a single stretch of what a host fetches at once takes more than ten seconds.
const RATE_MIN: u64 = 100_000 / 8;

/// A terabit a second: more than any mirror has.
const RATE_MAX: u64 = 1_000_000_000_000 / 8;

const UNITS: &[(&str, f64)] = &[("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];

/// Bytes in a second, or none where nothing is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MaxRate(pub Option<u64>);

impl TryFrom<String> for MaxRate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let parsed = UNITS.iter().find_map(|(unit, bits)| {
            let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            Some(number * bits / 8.0)
        });
        // What is not a number is in no range.
        match parsed {
            Some(rate) if (RATE_MIN as f64..=RATE_MAX as f64).contains(&rate) => Ok(Self(Some(rate as u64))),
            Some(_) => Err(format!("{text:?} is not between 100 kbit/s and 1000 Gbit/s")),
            None => {
                Err(format!("{text:?} is no rate: write it like \"8 Mbit/s\", in kbit/s, Mbit/s or Gbit/s"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        let read = |text: &str| MaxRate::try_from(text.to_owned());
        assert_eq!(read(""), Ok(MaxRate(None)));
        for (text, rate) in [
            ("8 Mbit/s", 1_000_000),
            ("2.5Gbit/s", 312_500_000),
            ("100 kbit/s", 12_500),
            ("1000 Gbit/s", RATE_MAX),
        ] {
            assert_eq!(read(text), Ok(MaxRate(Some(rate))), "{text}");
        }
        for text in [
            "8",
            "Mbit/s",
            "8 MB/s",
            "8 mbit/s",
            "0 Mbit/s",
            "99 kbit/s",
            "-1 Mbit/s",
            "NaN Mbit/s",
            "1001 Gbit/s",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
