//! Who is in which swarm, whom to introduce to whom, who fetches which first copies, and which bundle is a package's
//! home.
//!
//! Participants: hosts announce themselves, a plan enters its host into all of its swarms at once, the service asks
//! where packages live and registers what it builds. One [`Tracker`] answers all of them.
//!
//! *Goals*: nobody outside the peer networks is ever listed or handed out; a random graph over the whole swarm, because
//! a package spreads along it; no piece asked of the origin by two hosts at once; one live bundle per package, so that
//! hosts with different sets meet, and few of them in a plan; every table has a limit; an announce costs well under two
//! microseconds.
//! *Non-goals*: I/O, clocks, encodings. Time is an argument (the duration since an arbitrary start, never running
//! backwards), and so is the seed of all randomness: the same calls give the same answers, in the service and in a
//! simulator. One owner calls; there is no lock inside.

mod announce;
mod flood;
mod hashing;
mod homes;
mod introductions;
mod leases;
mod lid;
mod networks;
mod settings;
mod sites;
mod swarm;
mod swarms;
mod sweep;
mod tracker;
mod views;
mod walk;

pub use announce::{Announce, Asker, Event, Introduction, Lease, LeaseQuestion, Refusal, SwarmCount};
pub use flood::FloodLimit;
pub use homes::{BUNDLE_PACKAGES_MAX, Bundler, HomePackage, Share};
pub use leases::LeaseCounts;
pub use lid::LidCounts;
pub use networks::default_peer_networks;
pub use settings::Settings;
pub use sites::{SITES_MAX, Sites, SitesError};
pub use tracker::{Expired, Stats, Tracker};
pub use views::{FirstCopies, SitePeers, SwarmOverview, SwarmView};
