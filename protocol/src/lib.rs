//! What both sides of pkgtorrent must agree on.
//!
//! Hosts, the service, foreign BitTorrent clients and the package manager's shim exchange digests, bundles, plans and
//! announces. Their forms live here and nowhere else.
//!
//! *Goals*: a value that exists is valid (parsed once, at the edge); every length from outside has a named limit; one
//! encoding for one value.
//! *Non-goals*: I/O, clocks, randomness, async. This crate decides nothing and touches nothing.

pub mod announce;
pub mod bencode;
pub mod control;
pub mod digest;
pub mod group;
pub mod identity;
pub mod layout;
pub mod metainfo;
pub mod networks;
pub mod path;
pub mod peers;
pub mod plan;
pub mod report;
pub mod service;
pub mod set;
pub mod socket;
pub mod wire;

pub use digest::{Algorithm, DigestError, PackageDigest, Sha256Digest};
pub use group::HostGroup;
pub use identity::{InfoHash, PeerId};
pub use layout::{BundleLayout, PieceLen};
pub use path::FileName;
pub use set::{PackageSet, SetDigest};

mod hex;
