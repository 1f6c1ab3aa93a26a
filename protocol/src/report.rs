//! What a host tells the service about itself, along with an announce: so that somebody can see what the swarm does.
//!
//! Totals count from the start of the agent, whose name is the announce's peer id: a report that is lost loses nothing
//! but time. Installs are told one by one, each by a number, so that one that is told twice counts once.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::control::Sources;
use crate::set::SetDigest;

/// The most installs of one report: those of a script that installs packages one by one. Of more only the number is told.
pub const INSTALLS_MAX: usize = 8;

/// The most bytes of a text in a report.
pub const TEXT_LEN_MAX: usize = 200;

/// The most bytes of a report's JSON: all its texts are full of what has to be escaped, and then half as much again.
pub const REPORT_LEN_MAX: usize = 64 << 10;

/// Bytes by where they came from, and how many went to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Bytes from the service's web seeds.
    pub origin: u64,
    /// Bytes from hosts of the same site; from all hosts where there are no sites.
    pub near: u64,
    /// Bytes from hosts of other sites.
    pub far: u64,
    /// Bytes that this host had already.
    pub store: u64,
    /// Bytes that other hosts got.
    pub sent: u64,
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, more: Self) {
        let Self { origin, near, far, store, sent } = more;
        self.origin = self.origin.saturating_add(origin);
        self.near = self.near.saturating_add(near);
        self.far = self.far.saturating_add(far);
        self.store = self.store.saturating_add(store);
        self.sent = self.sent.saturating_add(sent);
    }
}

impl From<Ledger> for Sources {
    fn from(Ledger { origin, near, far, store, .. }: Ledger) -> Self {
        Self { peers: near.saturating_add(far), origin, store }
    }
}

/// What a host tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Its program's version.
    pub program: String,
    /// All of the agent's run.
    pub bytes: Ledger,
    /// Installs that have ended since the last report that was answered, the oldest first, at most [`INSTALLS_MAX`].
    pub installs: Vec<InstallReport>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub installs_left_out: u32,
}

/// One install that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstallReport {
    /// Counts up within the agent's run.
    pub number: u64,
    /// The set that was asked for, if a service was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<SetDigest>,
    /// Seconds since it ended.
    pub ended_ago: u32,
    /// How many milliseconds it took.
    pub took: u32,
    /// For how many of them something was held back on purpose.
    #[serde(skip_serializing_if = "is_zero")]
    pub waited: u32,
    /// How many packages were asked for.
    pub packages: u32,
    /// How many of them are in place.
    pub placed: u32,
    /// Where their bytes came from; nothing is sent by an install.
    pub bytes: Ledger,
    /// Why the others were left to the package manager.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
}

/// Packages that were left to the package manager for the same reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fallback {
    /// Why.
    pub reason: FallbackReason,
    /// How many packages.
    pub packages: u32,
    /// What was said of one of them.
    pub example: String,
}

/// Why a package is left to the package manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// The service did not answer, or not with a plan.
    NoPlan,
    /// The service does not have the package.
    Unknown,
    /// Neither peers nor the origin gave it in time.
    NotBrought,
    /// What was brought is not the package.
    Wrong,
    /// There is no room for it.
    NoRoom,
    /// It could not be put into its place.
    NotPlaced,
    /// The package manager did not wait for it.
    Interrupted,
    /// Anything else, or a reason of a later version.
    #[default]
    #[serde(other)]
    Other,
}

impl FallbackReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoPlan,
        Self::Unknown,
        Self::NotBrought,
        Self::Wrong,
        Self::NoRoom,
        Self::NotPlaced,
        Self::Interrupted,
        Self::Other,
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPlan => "no_plan",
            Self::Unknown => "unknown",
            Self::NotBrought => "not_brought",
            Self::Wrong => "wrong",
            Self::NoRoom => "no_room",
            Self::NotPlaced => "not_placed",
            Self::Interrupted => "interrupted",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A report that says more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the report has {got} {what}, at most {max}")]
pub struct ReportTooLong {
    what: &'static str,
    got: usize,
    max: usize,
}

impl Report {
    /// Refuses lists and texts that are too long.
    pub fn check(&self) -> Result<(), ReportTooLong> {
        let within = |what, got, max| if got > max { Err(ReportTooLong { what, got, max }) } else { Ok(()) };
        let text = |text: &str| within("bytes in a text", text.len(), TEXT_LEN_MAX);
        text(&self.program)?;
        within("installs", self.installs.len(), INSTALLS_MAX)?;
        for install in &self.installs {
            within("reasons for an install", install.fallbacks.len(), FallbackReason::ALL.len())?;
            install.fallbacks.iter().try_for_each(|fallback| text(&fallback.example))?;
        }
        Ok(())
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_a_later_version_is_another_one() {
        for reason in FallbackReason::ALL {
            assert_eq!(serde_json::to_string(&reason).expect("encodes"), format!("\"{reason}\""));
        }
        let later: FallbackReason = serde_json::from_str("\"eclipse\"").expect("parses");
        assert_eq!(later, FallbackReason::Other);
    }

    #[test]
    fn what_is_not_said_is_nothing() {
        let report: Report =
            serde_json::from_str(r#"{"installs":[{"number":1,"later":true}]}"#).expect("parses");
        let install = InstallReport { number: 1, ..InstallReport::default() };
        assert_eq!(report, Report { installs: vec![install], ..Report::default() });
    }

    #[test]
    fn a_report_has_an_end() {
        let fallback = Fallback { example: "x".repeat(TEXT_LEN_MAX), ..Fallback::default() };
        let install = InstallReport { fallbacks: vec![fallback; 8], ..InstallReport::default() };
        let full = Report { installs: vec![install; INSTALLS_MAX], ..Report::default() };
        assert_eq!(full.check(), Ok(()));
        let quotes = Fallback { example: "\"".repeat(TEXT_LEN_MAX), ..Fallback::default() };
        let install = InstallReport { fallbacks: vec![quotes; 8], ..InstallReport::default() };
        let longest = Report { installs: vec![install; INSTALLS_MAX], ..Report::default() };
        assert!(serde_json::to_vec(&longest).expect("encodes").len() * 3 / 2 < REPORT_LEN_MAX);
        let mut long = full.clone();
        long.installs.push(InstallReport::default());
        let mut text = full.clone();
        text.installs[7].fallbacks[7].example.push('y');
        let mut reasons = full;
        reasons.installs[0].fallbacks.push(Fallback::default());
        for report in [long, text, reasons] {
            assert!(report.check().is_err());
        }
    }
}
