//! What connections and the engine tell each other, in two closed lists.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::wire::{Bitfield, BitfieldError, Block, ExtensionError, WireError};
use pkgtorrent_protocol::{BundleLayout, InfoHash, PeerId};
use pkgtorrent_swarm::LinkId;
use tokio::sync::{mpsc, oneshot};

use super::greeting::GreetingError;
use super::info::InfoError;

/// Commands that wait for a connection, which takes them whenever it runs. One that is so far behind is given up.
const COMMANDS_MAX: usize = 1024;

/// What the engine is told of peers.
#[derive(Debug)]
pub enum Event {
    /// Somebody is at the other end, and waits to be let in.
    Hello(Hello),
    /// Nobody could be reached where the engine wanted a connection.
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// For which bundle.
        info_hash: InfoHash,
        /// Why.
        error: DialError,
    },
    /// What one read brought, in order.
    Messages {
        /// From where.
        link: LinkId,
        /// What was said.
        messages: Vec<FromPeer>,
    },
    /// These blocks have left the connection: they were handed to the network, or the peer does not want them any more.
    Sent {
        /// From where.
        link: LinkId,
        /// Which.
        blocks: Vec<Block>,
    },
    /// What [`Command::FetchInfo`] brought: the info dictionary, whose hash is right.
    Info {
        /// From where.
        link: LinkId,
        /// What came.
        result: Result<Bytes, InfoError>,
    },
    /// The connection is over.
    Closed {
        /// Which.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a peer says, as far as it is the engine's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromPeer {
    /// All that it has, not before the bundle's layout is known. Comes when that is news, later as well; who never says it
    /// began with nothing.
    Has(Bitfield),
    /// It has got these pieces too.
    Have(Vec<u32>),
    /// It answers no requests from now on. Without the fast extension those that wait are forgotten by it.
    Choke,
    /// It answers requests.
    Unchoke,
    /// It wants something of ours, or no longer does.
    Interested(bool),
    /// It wants this block.
    Request(Block),
    /// It does not want this block any more. Nothing has to be answered.
    Cancel(Block),
    /// It will not send this block.
    Reject(Block),
    /// A block, asked for or not.
    Block {
        /// The piece.
        piece: u32,
        /// Where in it the bytes begin.
        begin: u32,
        /// The bytes.
        data: Bytes,
    },
    /// It will ask for nothing (BEP 21), or asks again.
    UploadOnly(bool),
    /// It gives its info dictionary, which it says has this length: [`Command::FetchInfo`] may bring it.
    HasInfo(u32),
    /// Its name and version, for the log.
    Client(String),
}

/// What the engine tells a connection.
#[derive(Debug)]
pub enum Command {
    /// Say whether the peer has something that is missing here.
    Interested(bool),
    /// Ask for these blocks.
    Request(Vec<Block>),
    /// Ask no longer for this block. It may come nevertheless.
    Cancel(Block),
    /// Say that these pieces are here now.
    Have(Vec<u32>),
    /// Send a block that was asked for. [`Event::Sent`] follows, also when the peer has cancelled it meanwhile.
    Block {
        /// Which.
        block: Block,
        /// Its bytes, as many as it says.
        data: Bytes,
    },
    /// A block that was asked for will not be sent.
    Reject(Block),
    /// Whether this host will ask for nothing from now on.
    UploadOnly(bool),
    /// The bundle has become known after the connection was made.
    Bundle {
        /// Where its pieces lie.
        layout: Arc<BundleLayout>,
        /// Its info dictionary, which is given to whoever asks.
        info: Bytes,
    },
    /// Ask for the info dictionary, which has this length. [`Event::Info`] follows, once.
    FetchInfo {
        /// The length that the plan says.
        len: usize,
    },
}

/// Both sides have said who they are. Dropped, the connection ends without a further word.
#[derive(Debug)]
pub struct Hello {
    /// The bundle that it is about.
    pub info_hash: InfoHash,
    /// Who it is. Never this agent itself.
    pub peer_id: PeerId,
    /// Where it is, in the one form of an address.
    pub address: SocketAddr,
    /// Whether we called it.
    pub is_dialled: bool,
    /// Whether both sides know the fast extension: only then are requests rejected instead of forgotten.
    pub is_fast: bool,
    /// The way to it.
    pub peer: Peer,
    /// Where to let it in. Whoever is welcomed, [`Event::Closed`] will be the last of it.
    pub welcome: oneshot::Sender<Welcome>,
}

/// What a connection begins with.
#[derive(Debug)]
pub struct Welcome {
    /// Its number, given once in the agent's life.
    pub link: LinkId,
    /// Where the bundle's pieces lie, once that is known.
    pub layout: Option<Arc<BundleLayout>>,
    /// The info dictionary, once it is here.
    pub info: Option<Bytes>,
    /// The pieces that are here. Without a layout none are.
    pub pieces: Option<Bitfield>,
    /// Whether this host will ask for nothing.
    pub is_upload_only: bool,
}

/// The engine's hold of a connection. When it is dropped the connection ends.
#[derive(Debug)]
pub struct Peer {
    commands: mpsc::Sender<Command>,
}

/// A connection takes no more commands: it is over or hopelessly behind. The engine drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more commands")]
pub struct Lost;

impl Peer {
    /// A connection's two ends.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        (Self { commands }, queue)
    }

    /// Tells the connection to do something. Never waits.
    pub fn send(&self, command: Command) -> Result<(), Lost> {
        self.commands.try_send(command).map_err(|_| Lost)
    }
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The engine dropped it.
    #[error("it was no longer wanted")]
    Unwanted,
    /// The peer ended it.
    #[error("the peer closed the connection")]
    ByPeer,
    /// The network failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Nothing came for too long, not even a sign of life.
    #[error("the peer has been silent for too long")]
    Silent,
    /// The peer takes nothing of what it is sent.
    #[error("the peer does not read what it is sent")]
    NotReading,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Wire(#[from] WireError),
    /// The peer broke an extension.
    #[error("the peer broke the protocol: {0}")]
    Extension(#[from] ExtensionError),
    /// The peer's pieces are not of this bundle.
    #[error("the peer broke the protocol: {0}")]
    Bitfield(#[from] BitfieldError),
    /// The peer asked for more than anybody may at once.
    #[error("the peer asks for too many blocks at once")]
    TooManyRequests,
}

/// Why there is no connection to an address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It is in none of the networks that peers are in.
    #[error("it is outside peer_networks")]
    OutsideNetworks,
    /// There are as many connections as may be.
    #[error("there are too many connections")]
    TooMany,
    /// It could not be reached.
    #[error("{0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("it takes too long")]
    TooSlow,
    /// Somebody is there, and nothing came of it.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
}

impl DialError {
    /// Whether the host is there and ended the connection before it said who it is, as one does that does not share the
    /// bundle.
    #[must_use]
    pub fn is_hang_up(&self) -> bool {
        let Self::Greeting(GreetingError::Io(error)) = self else { return false };
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
    }
}
