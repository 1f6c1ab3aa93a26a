//! Which addresses may be peers: the same rule as on the hosts.

pub use pkgtorrent_protocol::networks::default_peer_networks;
pub(crate) use pkgtorrent_protocol::networks::{canonical, contain};
