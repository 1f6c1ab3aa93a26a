//! Groups that operators put hosts in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name.
pub const GROUP_LEN_MAX: usize = 64;

/// A group of hosts that a service has rules for, such as `laptops`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostGroup(String);

/// Why a text names no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no group: write one to {GROUP_LEN_MAX} letters, digits, dots, dashes and underscores")]
pub struct NoGroup(String);

impl FromStr for HostGroup {
    type Err = NoGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for HostGroup {
    type Error = NoGroup;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=GROUP_LEN_MAX).contains(&text.len()) && text.bytes().all(is_fine) {
            return Ok(Self(text));
        }
        // What a stranger sends is shown to be recognised, not to fill a log.
        Err(NoGroup(text.chars().take(GROUP_LEN_MAX).collect()))
    }
}

impl From<HostGroup> for String {
    fn from(group: HostGroup) -> Self {
        group.0
    }
}

impl fmt::Display for HostGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for text in ["a", "laptops", "vpn-2.west_1", &"x".repeat(64)] {
            assert_eq!(text.parse::<HostGroup>().map(|group| group.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a&b", "é", "a/b", &"x".repeat(65)] {
            assert!(text.parse::<HostGroup>().is_err(), "{text}");
        }
    }
}
