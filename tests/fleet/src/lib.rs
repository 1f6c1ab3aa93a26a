//! A fleet on one machine: an origin and up to [`HOSTS_MAX`] hosts, each in a network namespace of its own, joined by
//! a router in one more, or by two with a thin line between them, with every line shaped both ways. Nothing of the machine's own network is touched.
//!
//! *Participants*: [`Network`] is the fleet's lines, [`Wanted`] the packages of a real repository, a [`Client`] a
//! program that downloads them, ours or a foreign one, and a [`Crowd`] what happens when all hosts want them in the
//! same moment: when each was done, and what it cost.
//! *Rule*: everything that a run made is gone after it, also after a panic, and processes are ended by their ids.
//! *Non-goal*: virtual time. Real programs run on this machine's cores, which bounds how fast a crowd's lines may be.

mod client;
mod clients;
mod crowd;
mod lines;
mod namespace;
mod network;
mod nginx;
mod origin;
pub mod usage;
mod wanted;
mod web_seed;

pub use client::{Client, Told};
pub use clients::libtorrent::command as libtorrent_client;
pub use crowd::{Crowd, HostOutcome, Outcome};
pub use lines::{FarSite, Lines, Rate, floor};
pub use namespace::Namespace;
pub use network::{HOSTS_MAX, Network, Station, Traffic};
pub use nginx::Nginx;
pub use wanted::{Wanted, WantedPackage};
pub use web_seed::WebSeed;
