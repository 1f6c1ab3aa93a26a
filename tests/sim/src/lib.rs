//! Crowds of hosts in virtual time.
//!
//! What decides is the real code: each host has a [`pkgtorrent_swarm::Swarm`], the service a
//! [`pkgtorrent_tracker::Tracker`]. What is modelled is everything between them: lines with a rate and a latency, the
//! web seed's connections, links between hosts, plans, info dictionaries and announces. One loop takes one event after
//! the other, so a run is the same each time it is given the same [`Scenario`], whose seed is all its randomness.
//!
//! *Goals*: thousands of hosts in seconds; every byte that the service sends is counted, of plans and announces in their
//! real encodings; a run that went wrong is replayed from its seed and looked at.
//! *Non-goals*: packets, loss, congestion. Rates are those at which payload arrives, so headers of TCP and IP, some three
//! per cent, are in none of the figures. Hashing and disks take no time.
//!
//! The model, in short:
//!
//! - A host's uplink sends one block after the other, in turns for those links that have some and whose window is open:
//!   [`WINDOW`](wire::WINDOW) bytes are on their way at most. Messages go before blocks and take their time of the line.
//! - A block arrives after the latency, when the receiver's downlink has taken it and all that arrived before.
//! - The origin shares its line among its requests in turns of 16 KiB.
//! - Whatever has vanished says nothing and answers nothing; what is refused is refused after a round trip.

mod deeds;
mod fetching;
mod happening;
mod host;
mod line;
mod moving;
mod origin;
mod outcome;
mod package;
mod queue;
mod roles;
mod scenario;
mod service;
mod talk;
mod timeline;
mod wire;
mod world;

pub use outcome::{HostOutcome, Outcome};
pub use package::{random_sizes, real_sizes};
pub use scenario::{Scenario, megabits};
pub use timeline::Timeline;
pub use world::run;
