//! The origin: the service that makes plans, and the web seeds that have every package.
//!
//! *Participants*: the engine, which asks and decides; [`Http`], which holds connections; the service and its web seeds,
//! which are believed nothing that is not checked.
//!
//! *What is checked*: a plan answers the set that was asked for and sends this host nowhere that its own settings do not
//! allow ([`check`]); an info dictionary has the hash that the plan names ([`info`]); an answer to a range is that range
//! of a file of that size ([`read_range`]). Whether the bytes are right is not known here: pieces are verified by who
//! receives them.
//!
//! *Goals*: every wait ends, however the other side behaves: slow, silent, endless or garbled. No memory is held beyond
//! what the checked lengths say. Plain HTTP never reads the system's certificates.
//! *Non-goals*: retries, and the choice among web seeds. Both are the swarm's.

mod announce;
mod errors;
mod http;
mod info;
mod looking;
mod pace;
mod plan;
mod range;
mod service;

pub use announce::announce;
pub use errors::{OriginError, PlanError, RequestError, ServiceUrlError, Trouble};
pub use http::Http;
pub use info::{Info, info, package_url, read_info};
pub use looking::{Look, look};
pub use plan::{
    BUNDLES_MAX, CheckedBundle, CheckedPlan, FIRST_PEERS_MAX, INFOS_LEN_MAX, WEB_SEEDS_MAX, ask, check,
};
pub use range::{RangeError, RangeReport, RangeRequest, read_range};
pub use service::ServiceUrl;
