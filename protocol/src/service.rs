//! What a service says of itself where it answers that it does not know a set.

use std::fmt;
use std::str::FromStr;

use crate::plan;

/// The header in which it stands.
pub const SERVICE_HEADER: &str = "pkgtorrent-service";

/// The longest program's version that is believed to be one.
const PROGRAM_LEN_MAX: usize = 64;

/// Which program a service is, written `0.1.0; protocol=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceVersion {
    /// Its program's version.
    pub program: String,
    /// The version of plans that it speaks.
    pub protocol: u32,
}

impl ServiceVersion {
    /// That of a program which speaks as this crate does.
    #[must_use]
    pub fn of(program: &str) -> Self {
        Self { program: program.to_owned(), protocol: plan::VERSION }
    }

    /// Whether programs of this crate understand its plans.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.protocol == plan::VERSION
    }
}

impl fmt::Display for ServiceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; protocol={}", self.program, self.protocol)
    }
}

/// A text that does not say which program a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a service's version")]
pub struct ServiceVersionError;

impl FromStr for ServiceVersion {
    type Err = ServiceVersionError;

    /// Reads what a service says. What follows the protocol's version came later, and is ignored.
    fn from_str(text: &str) -> Result<Self, ServiceVersionError> {
        let mut parts = text.split(';').map(str::trim);
        let program = parts.next().unwrap_or_default();
        let is_version = |sign: char| sign.is_ascii_alphanumeric() || ".-+~_".contains(sign);
        let is_named = (1..=PROGRAM_LEN_MAX).contains(&program.len()) && program.chars().all(is_version);
        let protocol = parts.find_map(|part| part.strip_prefix("protocol=")?.parse().ok());
        match protocol {
            Some(protocol) if is_named => Ok(Self { program: program.to_owned(), protocol }),
            _ => Err(ServiceVersionError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        let said = ServiceVersion::of("0.1.0");
        assert_eq!(said.to_string().parse(), Ok(said.clone()));
        assert_eq!("0.1.0; later=x; protocol=1; more".parse(), Ok(said.clone()));
        assert!(said.is_understood());
        assert!(!"9.0; protocol=2".parse::<ServiceVersion>().expect("reads").is_understood());
    }

    #[test]
    fn what_is_no_version_is_not_believed() {
        let long = format!("{}; protocol=1", "9".repeat(PROGRAM_LEN_MAX + 1));
        for text in [
            "",
            "0.1.0",
            "; protocol=1",
            "0.1.0; protocol=x",
            "\u{1b}[31m; protocol=1",
            "a b; protocol=1",
            &long,
        ] {
            assert_eq!(text.parse::<ServiceVersion>(), Err(ServiceVersionError), "{text:?}");
        }
    }
}
