//! The protocol's types as the API's document has them: the protocol itself knows nothing of such documents.

use utoipa::ToSchema;

/// Bytes by where they came from, and how many went to others.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Ledger {
    /// From the service's web seeds.
    origin: u64,
    /// From hosts of the same site; from all hosts where there are no sites.
    near: u64,
    /// From hosts of other sites.
    far: u64,
    /// What hosts had already.
    store: u64,
    /// What other hosts got.
    sent: u64,
}

/// Packages that were left to the package manager for the same reason.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Fallback {
    /// `no_plan`, `unknown`, `not_brought`, `wrong`, `no_room`, `not_placed`, `interrupted` or `other`.
    reason: String,
    /// How many packages.
    packages: u32,
    /// What was said of one of them.
    example: String,
}
