//! Connections to other hosts.
//!
//! *Participants*: the engine, which decides everything; [`Peers`], which dials, accepts and counts; one task for each
//! connection, which speaks the protocol; the peers, of any make, which are believed nothing.
//!
//! ```text
//!                 Event::Hello (who it is, and its Peer) ──────────────────────────┐
//!   listener ──┐                                                                   v
//!              ├─> connection task ── Event::{Messages, Sent, Info, Closed} ──> engine
//!   dialler ───┘         ^                                                         │
//!                        └──────────────── Peer::send(Command) ────────────────────┘
//! ```
//!
//! A connection's life: both sides say who they are (at most [`Patience::handshake`]); the engine answers [`Hello`] with a
//! [`Welcome`], which has the link's number and what is here at this very moment, or by dropping it; from then on it may
//! send commands, so that nothing that becomes here is missed. When its [`Peer`] is dropped the connection ends. Whoever
//! ends it, [`Event::Closed`] is the last that is heard of a link.
//!
//! *Who may connect*: hosts in `peer_networks` whose bundle the engine knows; never this agent itself; one connection
//! for each peer and bundle ([`Known`] is that rule).
//!
//! *Goals*: nothing is kept of a peer beyond named limits, however it behaves: what it sent is not read on while the
//! engine is behind, what it asked for is at most [`REQUESTS_MAX`] blocks, what it does not take stays with us and can
//! still be cancelled. A block's bytes are not copied on their way. An idle connection has no buffer.
//! *Non-goals*: what to ask of whom, whom to send what; DHT, peer exchange, local discovery, encryption.

mod block_len;
mod connection;
mod conversation;
mod dialler;
mod event;
mod greeting;
mod info;
mod known;
mod listener;
mod outbox;
mod peers;
mod possession;
mod socket;
mod throttle;

pub use conversation::REQUESTS_MAX;
pub use event::{CloseReason, Command, DialError, Event, FromPeer, Hello, Lost, Peer, Welcome};
pub use greeting::GreetingError;
pub use info::InfoError;
pub use known::{Known, Verdict};
pub use listener::{bind, is_free};
pub use peers::{Patience, Peers};

/// Events of peers that wait for the engine; connections wait when it is full. Each has what one read brought, at most
/// 128 KiB, so that this is 8 MiB of what has not been looked at.
pub const EVENTS_MAX: usize = 64;
