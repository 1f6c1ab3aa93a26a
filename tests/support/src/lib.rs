//! What the test crates share.
//!
//! *Participants*: repositories of real packages that createrepo_c indexed, the service as a process, a plain HTTP
//! client that can also misbehave, and foreign programs with a time limit.
//! *Rule*: everything here panics with what it was doing and what went wrong, since a test can do nothing better; only
//! what a test may provoke on purpose (a closed connection) is an error value.
//! *Non-goal*: anything that the product needs. Nothing outside of tests depends on this crate.

pub mod ask;
pub mod http;
pub mod metadata;
pub mod package;
pub mod process;
pub mod repository;
pub mod service;

pub use package::Rpm;
pub use repository::{Compression, Package, Repository};
pub use service::{Launch, Service};
