//! What the test crates share.
//!
//! *Participants*: repositories of real packages that createrepo_c indexed, the service as a process, a plain HTTP
//! client that can also misbehave, and foreign programs with a time limit.
//! *Rule*: everything here panics with what it was doing and what went wrong, since a test can do nothing better; only
//! what a test may provoke on purpose (a closed connection) is an error value.
//! *Non-goal*: anything that the product needs. Nothing outside of tests depends on this crate.

pub mod agent;
pub mod ask;
pub mod blackhole;
pub mod browser;
pub mod disk;
pub mod dnf;
pub mod fake_agent;
pub mod fleet_host;
pub mod http;
pub mod machine;
pub mod manager;
pub mod metadata;
pub mod package;
pub mod process;
pub mod proxy;
pub mod repository;
pub mod server;
pub mod service;
pub mod stand_in;
pub mod trial;
pub mod user;

pub use agent::Agent;
pub use browser::Browser;
pub use disk::Disk;
pub use dnf::Host;
pub use fleet_host::FleetHost;
pub use machine::Machine;
pub use manager::Manager;
pub use package::Rpm;
pub use repository::{Compression, Package, Repository};
pub use server::Server;
pub use service::{Launch, Service};
pub use stand_in::StandIn;
pub use trial::{Mirror, Trial};
