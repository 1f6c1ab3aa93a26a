//! An address where packets vanish, as behind a firewall that drops them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrV4, SocketType};

/// How long filling the queue may wait for the connection that does not fit any more.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// More than any kernel keeps in the shortest queue.
const CONNECTIONS: usize = 4;

/// The address. Whoever connects waits for as long as it likes.
#[derive(Debug)]
pub struct Blackhole {
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Blackhole {
    /// A listener that accepts nothing, with its queue full: then the kernel answers nobody who connects.
    #[must_use]
    pub fn open() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
        rustix::net::listen(&socket, 0).expect("it listens");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("an address");
        let connect = |_| TcpStream::connect_timeout(&address, CONNECT_LIMIT).ok();
        let queue: Vec<TcpStream> = (0..CONNECTIONS).map_while(connect).collect();
        assert!(queue.len() < CONNECTIONS, "{address} still answers");
        Self { listener, _queue: queue }
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }
}
