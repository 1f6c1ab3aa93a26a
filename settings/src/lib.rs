//! Configuration whose keys are documented once, where they are declared.
//!
//! A program declares its keys with [`keys!`]. From that one table come the type that values are read into, the default
//! file ([`default_file`]) and the keys' part of the manual page ([`manual_section`]). A [`Configuration`] takes values
//! from files, then from the environment, then from flags: what is taken later counts more, and each value knows where
//! it is from. Whatever is unknown or wrong is refused with its place and with what would be right.
//!
//! What a program shows is documented in the same way: see [`Metric`]. How messages are written is set up here too
//! ([`start_log`]), since both programs do it alike.

mod check;
mod configuration;
mod document;
mod files;
mod log;
mod metric;
mod reload;
mod value;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub use check::check_directory;
pub use configuration::Configuration;
pub use document::{default_file, manual_of_sources, manual_section, roff};
pub use log::start_log;
pub use metric::{Metric, MetricKind, table_of_metrics};
pub use reload::Reloaded;

/// What the macro needs of other crates.
#[doc(hidden)]
pub mod of_macro {
    pub use serde::Deserialize;
    pub use toml::de::{Error, ValueDeserializer};
}

/// A key as documentation shows it.
#[derive(Debug, Clone, Copy)]
pub struct KeyDoc {
    /// Its name.
    pub name: &'static str,
    /// Its default, as it is written in the file.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What another value takes to count.
    pub takes: Takes,
}

/// What another value of a key takes to count in a program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A reload.
    Reload,
    /// A new start.
    Restart,
}

/// A program's keys, as [`keys!`] declares them.
pub trait Keys: Default + Clone {
    /// Every key with its documentation, in the order of the default file.
    const DOCS: &'static [KeyDoc];

    /// Reads a value into the key of this name.
    fn set(&mut self, name: &str, value: of_macro::ValueDeserializer<'_>) -> Result<(), of_macro::Error>;

    /// Takes the value of the key of this name from others, even if that is none.
    fn copy(&mut self, name: &str, others: &Self);
}

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file, counted from one.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// An option of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
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
    /// What is said somewhere is wrong.
    #[error("{origin}: {reason}")]
    At {
        /// Where.
        origin: Origin,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A key's value that cannot be, wherever it is from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Wrong {
    key: &'static str,
    reason: String,
}

/// Says that a key's value cannot be, and what could.
pub fn wrong(key: &'static str, reason: impl Into<String>) -> Wrong {
    Wrong { key, reason: reason.into() }
}

/// A number within what makes sense.
pub fn within<T: PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    allowed: RangeInclusive<T>,
    unit: &str,
) -> Result<T, Wrong> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(wrong(key, format!("{value} is not between {} and {}{unit}", allowed.start(), allowed.end())))
}

/// A key that counts seconds, within what makes sense.
pub fn seconds(
    key: &'static str,
    value: Option<u64>,
    default: u64,
    allowed: RangeInclusive<u64>,
) -> Result<Duration, Wrong> {
    within(key, value.unwrap_or(default), allowed, " seconds").map(Duration::from_secs)
}

/// Declares a program's keys: for each its documentation, name, type, default as it is written in the file, and what
/// another value takes.
///
/// It makes the type `Keys`, every field of it optional, and `KEY_DOCS`.
#[macro_export]
macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal => $takes:ident,)+) => {
        /// The keys of the configuration file, each of them optional.
        #[derive(Debug, Clone, Default)]
        pub struct Keys {
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        /// Every key with its documentation, in the order of the default file.
        pub const KEY_DOCS: &[$crate::KeyDoc] = &[$($crate::KeyDoc {
            name: stringify!($name),
            default: $default,
            doc: concat!($($doc, "\n"),+),
            takes: $crate::Takes::$takes,
        }),+];

        impl $crate::Keys for Keys {
            const DOCS: &'static [$crate::KeyDoc] = KEY_DOCS;

            fn set(
                &mut self,
                name: &str,
                value: $crate::of_macro::ValueDeserializer<'_>,
            ) -> Result<(), $crate::of_macro::Error> {
                match name {
                    $(stringify!($name) => {
                        self.$name = Some($crate::of_macro::Deserialize::deserialize(value)?);
                    })+
                    _ => {}
                }
                Ok(())
            }

            fn copy(&mut self, name: &str, others: &Self) {
                match name {
                    $(stringify!($name) => self.$name.clone_from(&others.$name),)+
                    _ => {}
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
