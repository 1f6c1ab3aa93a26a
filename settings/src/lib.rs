//! Configuration files whose keys are documented once, where they are declared.
//!
//! A program declares its keys with [`keys!`]. From that one table come the type that a file is read into, the default
//! file ([`default_file`]) and the keys' part of the manual page ([`manual_section`]). Unknown keys are refused. A file
//! `x.toml` is overridden by its drop-ins, `x.toml.d/*.toml`.

mod document;
mod file;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub use document::{default_file, manual_section, roff};
pub use file::{read_if_there, read_with_drop_ins};

/// A key as documentation shows it.
#[derive(Debug, Clone, Copy)]
pub struct KeyDoc {
    /// Its name.
    pub name: &'static str,
    /// Its default, as it is written in the file.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
    /// A file does not say what it should.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A key has a value that makes no sense.
    #[error("{key}: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Says that a key's value makes no sense.
pub fn wrong(key: &'static str, reason: impl Into<String>) -> SettingsError {
    SettingsError::Value { key, reason: reason.into() }
}

/// A key that counts seconds, within what makes sense.
pub fn seconds(
    key: &'static str,
    value: Option<u64>,
    default: u64,
    allowed: RangeInclusive<u64>,
) -> Result<Duration, SettingsError> {
    let value = value.unwrap_or(default);
    if allowed.contains(&value) {
        return Ok(Duration::from_secs(value));
    }
    Err(wrong(key, format!("{value} is not between {} and {} seconds", allowed.start(), allowed.end())))
}

/// Declares a program's keys: for each its documentation, name, type and default as it is written in the file.
///
/// It makes the type `Keys`, every field of it optional, and `KEY_DOCS`. The crate that uses it depends on serde.
#[macro_export]
macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal,)+) => {
        /// The keys of the configuration file, each of them optional.
        #[derive(Debug, Clone, Default, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Keys {
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        /// Every key with its documentation, in the order of the default file.
        pub const KEY_DOCS: &[$crate::KeyDoc] = &[$($crate::KeyDoc {
            name: stringify!($name),
            default: $default,
            doc: concat!($($doc, "\n"),+),
        }),+];

        impl Keys {
            /// These keys, and for those that are not set, the others'.
            #[must_use]
            pub fn or(self, others: Self) -> Self {
                Self { $($name: self.$name.or(others.$name),)+ }
            }

            /// Reads the file that is named, or else the default one if it is there, each with its drop-ins.
            pub fn read(
                named: Option<&::std::path::Path>,
                default: &::std::path::Path,
            ) -> Result<Self, $crate::SettingsError> {
                match named {
                    Some(path) => $crate::read_with_drop_ins(path, Self::or),
                    None => $crate::read_if_there(default, Self::or),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_default_and_bounds() {
        let asked = |value| seconds("pause", value, 5, 1..=9).map_err(|error| error.to_string());
        assert_eq!(asked(None), Ok(Duration::from_secs(5)));
        assert_eq!(asked(Some(1)), Ok(Duration::from_secs(1)));
        assert_eq!(asked(Some(9)), Ok(Duration::from_secs(9)));
        for value in [0, 10, u64::MAX] {
            assert_eq!(asked(Some(value)), Err(format!("pause: {value} is not between 1 and 9 seconds")));
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_by_its_key() {
        assert_eq!(wrong("colour", "too loud").to_string(), "colour: too loud");
    }
}
