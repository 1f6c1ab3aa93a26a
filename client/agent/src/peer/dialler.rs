//! Connections that we make to other hosts.

use std::net::SocketAddr;

use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::networks::canonical;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::event::{DialError, Event};
use super::greeting::{self, GreetingError};
use super::peers::Peers;
use super::socket;

/// Calls a peer, and goes on with it if both want that.
pub(super) async fn dial(peers: Peers, address: SocketAddr, info_hash: InfoHash) {
    let address = canonical(address);
    match connect(&peers, address, info_hash).await {
        Ok(Some(connection)) => connection.run().await,
        // The engine has said no, and knows it.
        Ok(None) => {}
        Err(error) => {
            let event = Event::Unreachable { address, info_hash, error };
            let _ = peers.shared().events.send(event).await;
        }
    }
}

async fn connect(
    peers: &Peers,
    address: SocketAddr,
    info_hash: InfoHash,
) -> Result<Option<Connection>, DialError> {
    if !peers.may_be_peer(address.ip()) {
        return Err(DialError::OutsideNetworks);
    }
    let patience = peers.shared().patience;
    let room = peers.room().ok_or(DialError::TooMany)?;
    let connected = timeout(patience.dial, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| DialError::TooSlow)?.map_err(DialError::Connect)?;
    socket::set_up(&stream).map_err(DialError::Connect)?;
    let called = timeout(patience.handshake, greeting::call(peers, stream, address, info_hash)).await;
    match greeting::enter(peers, called.map_err(|_| DialError::TooSlow)??, room).await {
        Ok(connection) => Ok(Some(connection)),
        Err(GreetingError::NotWelcome) => Ok(None),
        Err(error) => Err(DialError::Greeting(error)),
    }
}
