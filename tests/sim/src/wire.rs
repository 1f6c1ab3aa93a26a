//! One connection between two hosts, for one bundle.

use std::collections::VecDeque;

use pkgtorrent_protocol::wire::{Bitfield, Block};

use crate::queue::Time;

/// How many bytes of one connection are on their way at most: what TCP's window lets through.
pub(crate) const WINDOW: u32 = 256 << 10;

/// Before a piece's data: length, kind, piece and offset.
pub(crate) const BLOCK_HEAD_LEN: u64 = 13;

/// Both handshakes of one side.
pub(crate) const HANDSHAKE_LEN: u64 = 68 + 120;

/// A connection.
pub(crate) struct Wire {
    pub(crate) bundle: u32,
    pub(crate) hosts: [u32; 2],
    /// Whether each end still holds the connection for open.
    pub(crate) is_open: [bool; 2],
    /// Whether each end has said that the other has something that it needs.
    pub(crate) is_interested: [bool; 2],
    /// What each end sends.
    pub(crate) ways: [Way; 2],
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Way {
    /// Blocks that were handed over and wait for the line.
    pub(crate) blocks: VecDeque<Block>,
    /// Bytes that have left and not come.
    pub(crate) under_way: u32,
    /// It is in the line's queue, or being sent from.
    pub(crate) is_queued: bool,
    /// Have messages that wait.
    pub(crate) haves: Vec<u32>,
    /// Until when they wait for others.
    pub(crate) haves_rest_until: Time,
    /// What was said to have been here before the receiver knew the bundle's layout.
    pub(crate) early: Option<Box<Bitfield>>,
    /// The same for that it will ask for nothing.
    pub(crate) is_upload_only: bool,
}

impl Wire {
    pub(crate) fn new(bundle: u32, hosts: [u32; 2]) -> Self {
        Self { bundle, hosts, is_open: [true; 2], is_interested: [false; 2], ways: Default::default() }
    }

    /// Which end a host is.
    pub(crate) fn end_of(&self, host: u32) -> usize {
        usize::from(self.hosts[1] == host)
    }
}
