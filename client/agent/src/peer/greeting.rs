//! The first words on a connection: both sides say who they are, and the engine says whether it is wanted.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::wire::{Features, HANDSHAKE_LEN, Handshake, HandshakeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::connection::Connection;
use super::conversation::{Conversation, Start};
use super::event::{Command, Event, Hello, Peer, Welcome};
use super::peers::Peers;

/// Why nothing came of a connection.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The network failed, or the peer closed the connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It speaks something else.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It says too little too slowly.
    #[error("it does not say in time who it is")]
    TooSlow,
    /// It is this agent.
    #[error("it is this agent itself")]
    Ourselves,
    /// It answered for another bundle than it was asked for.
    #[error("it shares another bundle")]
    OtherBundle,
    /// There are as many connections as may be.
    #[error("there are too many connections")]
    TooMany,
    /// The engine does not want it.
    #[error("it is not wanted")]
    NotWelcome,
}

/// A peer that has said who it is.
pub(super) struct Greeted {
    stream: TcpStream,
    address: SocketAddr,
    theirs: Handshake,
    /// What came behind it.
    buffer: BytesMut,
    /// Whether we have said who we are.
    is_answered: bool,
}

/// Somebody has called: it says first who it is and what it wants. The time is for the caller to limit.
pub(super) async fn listen(
    peers: &Peers,
    mut stream: TcpStream,
    address: SocketAddr,
) -> Result<Greeted, GreetingError> {
    let (theirs, buffer) = read(peers, &mut stream).await?;
    Ok(Greeted { stream, address, theirs, buffer, is_answered: false })
}

/// We have called, and say first what we want. The time is for the caller to limit.
pub(super) async fn call(
    peers: &Peers,
    mut stream: TcpStream,
    address: SocketAddr,
    info_hash: InfoHash,
) -> Result<Greeted, GreetingError> {
    stream.write_all(&ours(peers, info_hash)).await?;
    let (theirs, buffer) = read(peers, &mut stream).await?;
    if theirs.info_hash != info_hash {
        return Err(GreetingError::OtherBundle);
    }
    Ok(Greeted { stream, address, theirs, buffer, is_answered: true })
}

/// Asks the engine whether it wants this peer. This must not be given up half-way: whom the engine welcomes, it has to
/// hear the end of.
pub(super) async fn enter(
    peers: &Peers,
    greeted: Greeted,
    room: OwnedSemaphorePermit,
) -> Result<Connection, GreetingError> {
    let (welcome, commands) = ask_engine(peers, &greeted).await?;
    Ok(connection(peers, greeted, welcome, commands, room))
}

fn ours(peers: &Peers, info_hash: InfoHash) -> [u8; HANDSHAKE_LEN] {
    Handshake { info_hash, peer_id: peers.shared().own, features: Features::OURS }.encode()
}

async fn read(peers: &Peers, stream: &mut TcpStream) -> Result<(Handshake, BytesMut), GreetingError> {
    let mut buffer = BytesMut::with_capacity(HANDSHAKE_LEN);
    loop {
        if let Some(theirs) = Handshake::decode(&mut buffer)? {
            if theirs.peer_id == peers.shared().own {
                return Err(GreetingError::Ourselves);
            }
            return Ok((theirs, buffer));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Asks the engine whether it wants this peer.
async fn ask_engine(
    peers: &Peers,
    greeted: &Greeted,
) -> Result<(Welcome, mpsc::Receiver<Command>), GreetingError> {
    let (peer, commands) = Peer::channel();
    let (welcome, answer) = oneshot::channel();
    let hello = Hello {
        info_hash: greeted.theirs.info_hash,
        peer_id: greeted.theirs.peer_id,
        address: greeted.address,
        is_dialled: greeted.is_answered,
        is_fast: greeted.theirs.features.and(Features::OURS).fast,
        peer,
        welcome,
    };
    let told = peers.shared().events.send(Event::Hello(hello)).await;
    told.map_err(|_| GreetingError::NotWelcome)?;
    let welcome = answer.await.map_err(|_| GreetingError::NotWelcome)?;
    Ok((welcome, commands))
}

fn connection(
    peers: &Peers,
    greeted: Greeted,
    welcome: Welcome,
    commands: mpsc::Receiver<Command>,
    room: OwnedSemaphorePermit,
) -> Connection {
    let handshake = (!greeted.is_answered).then(|| ours(peers, greeted.theirs.info_hash));
    let start = Start {
        info_hash: greeted.theirs.info_hash,
        peer_id: greeted.theirs.peer_id,
        features: greeted.theirs.features.and(Features::OURS),
        peer_ip: greeted.address.ip(),
        port: peers.shared().port,
        info_patience: peers.shared().patience.info,
        handshake,
    };
    let link = welcome.link;
    let conversation = Conversation::new(start, welcome);
    Connection::new(peers.clone(), link, conversation, greeted.stream, greeted.buffer, commands, room)
}
