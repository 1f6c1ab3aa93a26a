//! What peers say to the tracker, and what it answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};
use pkgtorrent_protocol::{InfoHash, PeerId, PieceLen};

/// What a peer says about itself and one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The name that the peer gave itself; nothing proves it.
    pub peer_id: PeerId,
    /// The connection's own IP with the port that the peer says it listens on; port 0 means that it does not listen.
    pub address: SocketAddr,
    /// Whether it has all it wants: such a peer needs nobody who has it too.
    pub complete: bool,
    /// What happened since it last announced, if anything.
    pub event: Option<Event>,
    /// How many peers it wants; the settings bound it.
    pub wanted: usize,
}

/// Why a peer announces outside its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It has just come.
    Started,
    /// It has just become complete.
    Completed,
    /// It is leaving, and wants no peers.
    Stopped,
}

/// Who asks for peers without being entered: itself is never among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The connection's IP, and the port it listens on, or 0.
    pub address: SocketAddr,
    /// Its name, when it has said one: a host with two addresses is known by it.
    pub peer_id: Option<PeerId>,
    /// Whether it has everything, and so needs only peers that do not.
    pub complete: bool,
}

/// What a listed peer says of leases in one swarm. It is heard after its announce, and costs none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseQuestion<'a> {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The name that the peer announces with.
    pub peer_id: PeerId,
    /// The address that it announces with.
    pub address: SocketAddr,
    /// How many pieces the swarm's bundle has.
    pub pieces: u32,
    /// How long they are.
    pub piece_len: PieceLen,
    /// What it says.
    pub wish: &'a LeaseWish,
}

/// What a peer is told of leases in one swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// All that it holds now.
    pub pieces: Vec<PieceRange>,
    /// When it may ask for more. Only where there is a lid on what hosts take from the origin.
    pub ask_again: Option<Duration>,
}

/// The answer to an announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// When to announce again: the settings' interval and up to a quarter more, at random.
    pub interval: Duration,
    /// How soon the peer may announce again of its own accord.
    pub min_interval: Duration,
    /// How many peers of the swarm have everything.
    pub complete: u32,
    /// How many do not.
    pub incomplete: u32,
    /// Whether the asker is now handed out to others. It is not when it does not listen, has stopped, or a limit on
    /// the number of peers was met.
    pub listed: bool,
    /// Other peers, in random order: those of the asker's address family first.
    pub peers: Vec<SocketAddr>,
}

/// The numbers that a scrape asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwarmCount {
    /// How many peers have everything.
    pub complete: u32,
    /// How many do not.
    pub incomplete: u32,
    /// How many peers have said that they became complete.
    pub downloaded: u64,
}

/// Why the tracker does not answer with peers. The texts are fit for a client's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Swarms are made by plans, never by announces.
    #[error("this tracker does not know the torrent {0}")]
    UnknownSwarm(InfoHash),
    /// The asker's address is in none of the peer networks.
    #[error("{0} is outside the networks whose hosts this tracker introduces to each other")]
    OutsideNetworks(IpAddr),
    /// The asker's address has used up its announces.
    #[error("too many announces from this address: try again in {} ms", retry_after.as_millis().max(1))]
    TooManyAnnounces {
        /// When the next one will be answered.
        retry_after: Duration,
    },
}
