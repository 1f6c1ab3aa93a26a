//! Decides what a host downloads from whom.
//!
//! Participants: *files* are wanted of *bundles*, the torrents that a plan named; *sources*, web seeds, have all of them;
//! peers, each over a *link* for one bundle, have some pieces and want others; the *tracker* says which first copies are this
//! host's to fetch. [`Swarm`] is told what happens ([`Event`]) and says what is to be done ([`Action`]). The caller
//! fetches, checks every piece against its hash, keeps it, sends, and reports.
//!
//! ```text
//!                ┌──request──> requested ──────verified─────┐
//!   wanted ──> missing                                      ├──> here ── all of a file ──> whole
//!                ├──ask──> assembling ── all blocks, right ──┘                               │
//!                └<────────── ended, silent, gone or wrong, or the digest did not match <────┘
//! ```
//!
//! *Goals*: each byte is asked for once if nothing goes wrong, and no padding ever; the first copy of a piece leaves the
//! origin once; no line is idle while it could carry something; whatever sources, peers and tracker do, every wanted
//! file ends as whole or given up, with a reason, as long as every request ends; a file that cannot be had holds up no
//! other.
//! *Non-goals*: I/O, clocks, hashing, digests of whole files, addresses. Time is an argument (the duration since an
//! arbitrary start, never running backwards), and so is the seed of all randomness: the same events give the same
//! actions, in the agent and in a simulator. One owner calls; there is no lock inside.
//!
//! Each decision is one method: what to ask peers for (`picking.rs`, `rarity.rs`), how much (`link.rs`), whom to give
//! (`uploads.rs`), when the origin is asked although there are peers (`guide.rs`, `lid.rs`), what peers of other sites are
//! asked for (`far.rs`), which file and source are next (`asking.rs`, `sources.rs`), how much of it (`share.rs`), how long
//! a source is left alone (`source.rs`), who is to blame (`peers.rs`), when a file is given up (`report.rs`), how long it is
//! shared (`seeding.rs`). What was decided is in the journal (`journal.rs`).

mod action;
mod asking;
mod assembly;
mod check;
mod crowd;
mod event;
mod far;
mod file;
mod files;
mod guide;
mod identity;
mod journal;
mod lid;
mod link;
mod peers;
mod picking;
mod piece;
mod rarity;
mod report;
mod request;
mod seeding;
mod settings;
mod share;
mod source;
mod sources;
mod swarm;
mod uploads;

pub use action::{Action, Failure, FailureCause, GiveUpReason, PartReason, Wish};
pub use event::{Event, Outcome};
pub use identity::{BundleId, FileIndex, LinkId, RequestId, SourceId};
pub use journal::{Happening, Note};
pub use seeding::Seeding;
pub use settings::Settings;
pub use swarm::Swarm;

#[cfg(test)]
mod tests;
