//! Why a package is left to the package manager: of which kind, and in words.

use std::io;

use pkgtorrent_protocol::report::FallbackReason;

use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setback {
    pub(crate) reason: FallbackReason,
    pub(crate) text: String,
}

impl Setback {
    pub(crate) fn new(reason: FallbackReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// The service did not answer, or not with a plan that makes sense.
    pub(crate) fn no_plan(text: impl Into<String>) -> Self {
        Self::new(FallbackReason::NoPlan, text)
    }

    /// What there is of it is not the package.
    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        Self::new(FallbackReason::Wrong, text)
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::new(FallbackReason::Other, text)
    }

    /// The store's disk failed; `what` goes before the reason.
    pub(crate) fn of_disk(what: &str, error: &io::Error) -> Self {
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let reason = if is_full { FallbackReason::NoRoom } else { FallbackReason::Other };
        Self::new(reason, format!("{what}: {error}"))
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        let reason = match error {
            StoreError::NoSpace { .. } | StoreError::Full { .. } | StoreError::OverLimit { .. } => {
                FallbackReason::NoRoom
            }
            _ => FallbackReason::Other,
        };
        Self::new(reason, error.to_string())
    }
}
