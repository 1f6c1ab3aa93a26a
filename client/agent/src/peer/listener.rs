//! Connections that other hosts make to us.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::networks::canonical;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::greeting::{self, GreetingError};
use super::peers::Peers;
use super::socket;

/// Connections that wait in the kernel to be accepted: a crowd that starts at once.
const BACKLOG: i32 = 1024;

/// How long to wait when a connection cannot be accepted, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on this address, or on another port if that one is taken. The address of all interfaces is that of IPv4 too,
/// and of IPv4 alone on a host that has no other.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let any_port = SocketAddr::new(address.ip(), 0);
    match listen_on(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() != 0 => listen_on(any_port),
        Err(error) if is_without_v6(&error) && address.ip().is_unspecified() && address.is_ipv6() => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result,
    }
}

/// Whether [`bind`] would have this very address.
pub fn is_free(address: SocketAddr) -> io::Result<()> {
    match listen_on(address) {
        Err(error) if is_without_v6(&error) && address.ip().is_unspecified() && address.is_ipv6() => {
            is_free(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result.map(drop),
    }
}

fn is_without_v6(error: &io::Error) -> bool {
    let codes = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn listen_on(address: SocketAddr) -> io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an agent that has just ended do not keep its port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

impl Peers {
    /// Accepts peers for as long as it is polled.
    pub async fn listen(&self, listener: StdListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        // Whoever takes all descriptors must not fill the log as well.
        let mut is_short = false;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    is_short = false;
                    self.accepted(stream, canonical(address));
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_short, true) {
                        tracing::warn!("accepting a peer: {error}; not told again until it works");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, address: SocketAddr) {
        if !self.may_be_peer(address.ip()) {
            tracing::debug!("{address} is outside peer_networks");
            return;
        }
        let Ok(stranger) = Arc::clone(&self.shared().strangers).try_acquire_owned() else {
            tracing::debug!("{address}: too many strangers");
            return;
        };
        let peers = self.clone();
        tokio::spawn(async move {
            if let Err(reason) = peers.meet(stream, address, stranger).await {
                tracing::debug!("{address}: {reason}");
            }
        });
    }

    /// Hears who it is, and goes on with it if the engine wants that.
    async fn meet(
        self,
        stream: TcpStream,
        address: SocketAddr,
        stranger: OwnedSemaphorePermit,
    ) -> Result<(), GreetingError> {
        socket::set_up(&stream)?;
        let limit = self.shared().patience.handshake;
        let greeted = timeout(limit, greeting::listen(&self, stream, address)).await;
        let greeted = greeted.map_err(|_| GreetingError::TooSlow)??;
        let room = self.room().ok_or(GreetingError::TooMany)?;
        let connection = greeting::enter(&self, greeted, room).await?;
        drop(stranger);
        connection.run().await;
        Ok(())
    }
}
