//! Hosts of a swarm that are no agents of ours: they listen, have themselves named by the tracker, and behave as a test
//! wants. And one connection of theirs, of which the test says every message.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pkgtorrent_protocol::announce::GetAnnounce;
use pkgtorrent_protocol::wire::{Decoder, Features, Handshake, Limits, Message};
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_test_support::{Agent, ask};

/// How long a message is waited for that is expected to come.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// What a garbling peer sends instead of messages: more than any message's head.
const GARBAGE: [u8; 4096] = [0xa5; 4096];

/// How a peer behaves to those that call it. Unless said otherwise it says that it has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nobody listens.
    Absent,
    /// The kernel takes connections, and nobody looks at them.
    NeverAccepts,
    /// It takes connections and says nothing.
    NeverSpeaks,
    /// It never lets anybody ask.
    NeverUnchokes,
    /// It lets others ask, and answers nothing.
    NeverSends,
    /// Behind its handshake comes no message.
    Garbles,
    /// It answers with other bytes than the right ones.
    Lies,
}

/// A peer that listens on 127.0.0.1. Dropping it ends it.
#[derive(Debug)]
pub struct FakePeer {
    address: SocketAddr,
    peer_id: PeerId,
    shared: Arc<Shared>,
    // Of one that never accepts, or does not even listen: the port is its own as long as it lives.
    _listener: Option<TcpListener>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    requests: AtomicUsize,
    ends: AtomicBool,
}

impl FakePeer {
    /// A peer with such manners. The name tells it from others.
    #[must_use]
    pub fn start(name: u8, manner: Manner) -> Self {
        let listener = match manner {
            Manner::Absent => bound().expect("a free port on 127.0.0.1"),
            _ => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1"),
        };
        let address = listener.local_addr().expect("its address");
        let (peer_id, shared) = (PeerId([name; 20]), Arc::new(Shared::default()));
        let kept = match manner {
            Manner::Absent | Manner::NeverAccepts => Some(listener),
            _ => {
                let of_thread = Arc::clone(&shared);
                thread::spawn(move || accept(&listener, peer_id, manner, &of_thread));
                None
            }
        };
        Self { address, peer_id, shared, _listener: kept }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the tracker that it has all of this bundle.
    pub fn join(&self, service: SocketAddr, info_hash: InfoHash) {
        let announce = GetAnnounce {
            info_hash,
            peer_id: self.peer_id,
            port: self.address.port(),
            left: 0,
            event: None,
            wanted: Some(0),
        };
        let _ = ask::announce(service, &announce);
    }

    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// How many blocks it was asked for.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// A socket that has a port and does not listen: calls are refused, and no other test's agent takes the port meanwhile.
fn bound() -> std::io::Result<TcpListener> {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, peer_id: PeerId, manner: Manner, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        shared.calls.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        // A connection that the caller ends is over.
        thread::spawn(move || behave(stream, peer_id, manner, &shared).unwrap_or_default());
    }
}

fn behave(mut stream: TcpStream, peer_id: PeerId, manner: Manner, shared: &Shared) -> io::Result<()> {
    if manner == Manner::NeverSpeaks {
        return stream.read_to_end(&mut Vec::new()).map(drop);
    }
    let mut wire = Wire::answer(stream, peer_id)?;
    if manner == Manner::Garbles {
        return wire.stream.write_all(&GARBAGE);
    }
    wire.say(&Message::HaveAll)?;
    if manner != Manner::NeverUnchokes {
        wire.say(&Message::Unchoke)?;
    }
    loop {
        let Message::Request(block) = wire.hear()? else { continue };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        if manner == Manner::Lies {
            let data = Bytes::from(vec![0xa5; block.len as usize]);
            wire.say(&Message::Piece { piece: block.piece, begin: block.begin, data })?;
        }
    }
}

/// A connection to an agent, after both have said who they are.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    /// Calls an agent for a bundle. An agent that does not want the caller ends the connection.
    pub fn call(agent: &Agent, info_hash: InfoHash, peer_id: PeerId) -> io::Result<Self> {
        let port = agent.status().and_then(|status| status.port).expect("an agent listens");
        let mut wire = Self::of(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)?;
        wire.shake(info_hash, peer_id)?;
        let theirs = wire.shaken()?;
        assert_eq!(theirs.info_hash, info_hash);
        Ok(wire)
    }

    fn answer(stream: TcpStream, peer_id: PeerId) -> io::Result<Self> {
        let mut wire = Self::of(stream)?;
        let theirs = wire.shaken()?;
        wire.shake(theirs.info_hash, peer_id)?;
        // The agent may say nothing for as long as it likes.
        wire.stream.set_read_timeout(None)?;
        Ok(wire)
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MESSAGE_LIMIT))?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    fn shake(&mut self, info_hash: InfoHash, peer_id: PeerId) -> io::Result<()> {
        let features = Features { extended: false, fast: true };
        self.stream.write_all(&Handshake { info_hash, peer_id, features }.encode())
    }

    fn shaken(&mut self) -> io::Result<Handshake> {
        loop {
            if let Some(theirs) = Handshake::decode(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(theirs);
            }
            self.read()?;
        }
    }

    /// Says a message.
    pub fn say(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        self.stream.write_all(&bytes)
    }

    /// The next message.
    pub fn hear(&mut self) -> io::Result<Message> {
        let decoder = Decoder::new(Limits::UNKNOWN);
        loop {
            if let Some(message) = decoder.decode(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(message);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => {
                self.buffer.extend_from_slice(&chunk[..len]);
                Ok(())
            }
        }
    }
}
