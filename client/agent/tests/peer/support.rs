//! Hosts with an engine that the test plays, and peers of which the test says every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pkgtorrent_agent::peer::{
    CloseReason, Command, EVENTS_MAX, Event, FromPeer, Hello, Patience, Peer, Peers, Welcome, bind,
};
use pkgtorrent_agent::settings::PeerSettings;
use pkgtorrent_protocol::networks::default_peer_networks;
use pkgtorrent_protocol::wire::{
    Bitfield, Decoder, ExtensionHandshake, Features, HANDSHAKE_LEN, Handshake, Limits, Message,
};
use pkgtorrent_protocol::{BundleLayout, InfoHash, PeerId, PieceLen};
use pkgtorrent_swarm::LinkId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything may take that is expected to happen.
const LIMIT: Duration = Duration::from_secs(10);

/// The pieces of the bundle that all tests share.
pub(crate) const PIECES: u32 = 6;

pub(crate) fn layout() -> Arc<BundleLayout> {
    let layout = BundleLayout::new(PieceLen::Small, [100_000, 50_000]).expect("a layout");
    assert_eq!(layout.pieces(), PIECES);
    Arc::new(layout)
}

/// Stands for an info dictionary: nobody here reads what is in it.
pub(crate) fn info() -> Bytes {
    (0..40_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) fn info_hash() -> InfoHash {
    InfoHash::of(&info())
}

pub(crate) fn peer_id(name: u8) -> PeerId {
    PeerId([name; 20])
}

pub(crate) fn settings() -> PeerSettings {
    let networks = default_peer_networks();
    PeerSettings { networks, connections_max: 200, upload_limit: 0, download_limit: 0 }
}

/// Waits that end while a test runs.
pub(crate) fn short() -> Patience {
    let short = Duration::from_millis(300);
    Patience { handshake: short, silence: short, info: short, ..Patience::default() }
}

/// A welcome to somebody who has these pieces, the info dictionary and the layout.
pub(crate) fn welcome(link: u64, pieces: Bitfield) -> Welcome {
    Welcome {
        link: LinkId(link),
        layout: Some(layout()),
        info: Some(info()),
        pieces: Some(pieces),
        is_upload_only: false,
    }
}

/// A welcome while nothing is known of the bundle.
pub(crate) fn blind_welcome(link: u64) -> Welcome {
    Welcome { link: LinkId(link), layout: None, info: None, pieces: None, is_upload_only: false }
}

/// One agent's connections.
pub(crate) struct Host {
    pub(crate) peers: Peers,
    pub(crate) address: SocketAddr,
    events: mpsc::Receiver<Event>,
}

impl Host {
    pub(crate) fn new(name: u8) -> Self {
        Self::with(name, &settings(), Patience::default(), EVENTS_MAX)
    }

    pub(crate) fn with(name: u8, settings: &PeerSettings, patience: Patience, events_max: usize) -> Self {
        Self::at("127.0.0.1:0", name, settings, patience, events_max)
    }

    pub(crate) fn at(
        address: &str,
        name: u8,
        settings: &PeerSettings,
        patience: Patience,
        events_max: usize,
    ) -> Self {
        let listener = bind(address.parse().expect("an address")).expect("listens");
        let address = listener.local_addr().expect("an address");
        let (sender, events) = mpsc::channel(events_max);
        let peers = Peers::new(settings, patience, peer_id(name), Some(address.port()), sender);
        let accepting = peers.clone();
        tokio::spawn(async move { accepting.listen(listener).await });
        Self { peers, address, events }
    }

    pub(crate) async fn event(&mut self) -> Event {
        timeout(LIMIT, self.events.recv()).await.expect("something happens").expect("the host lives")
    }

    /// Whether nothing happens for a while.
    pub(crate) async fn is_left_alone(&mut self) -> bool {
        timeout(Duration::from_millis(200), self.events.recv()).await.is_err()
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        match self.event().await {
            Event::Hello(hello) => hello,
            other => panic!("a hello is expected: {other:?}"),
        }
    }

    /// Lets the next one in.
    pub(crate) async fn let_in(&mut self, welcome: Welcome) -> Peer {
        let Hello { peer, welcome: door, .. } = self.hello().await;
        door.send(welcome).expect("it is still there");
        peer
    }

    /// The next message of a kind that the test is about; what else is said is passed over.
    pub(crate) async fn heard<T>(&mut self, mut wanted: impl FnMut(&FromPeer) -> Option<T>) -> T {
        loop {
            if let Event::Messages { messages, .. } = self.event().await
                && let Some(found) = messages.iter().find_map(&mut wanted)
            {
                return found;
            }
        }
    }

    /// How the connection ends, whatever is said before.
    pub(crate) async fn end(&mut self) -> CloseReason {
        loop {
            if let Event::Closed { reason, .. } = self.event().await {
                return reason;
            }
        }
    }
}

/// Two hosts that have let each other in: the one that called, what it holds of the other, and the other way round.
pub(crate) async fn pair(
    mut caller: Host,
    callers: Welcome,
    mut called: Host,
    calleds: Welcome,
) -> (Host, Peer, Host, Peer) {
    caller.peers.dial(called.address, info_hash());
    let to_caller = called.let_in(calleds).await;
    let to_called = caller.let_in(callers).await;
    (caller, to_called, called, to_caller)
}

/// A peer of which the test says every byte.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    pub(crate) async fn connect(host: &Host) -> Self {
        let stream = TcpStream::connect(host.address).await.expect("connects");
        stream.set_nodelay(true).expect("an option");
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// A peer that the host has let in, and whose handshake it has answered.
    pub(crate) async fn let_in(host: &mut Host, features: Features, welcome: Welcome) -> (Self, Peer) {
        Self::let_in_as(peer_id(b'R'), host, features, welcome).await
    }

    /// The same for a peer of this name.
    pub(crate) async fn let_in_as(
        peer_id: PeerId,
        host: &mut Host,
        features: Features,
        welcome: Welcome,
    ) -> (Self, Peer) {
        let mut raw = Self::connect(host).await;
        raw.write(&Handshake { info_hash: info_hash(), peer_id, features }.encode()).await;
        let peer = host.let_in(welcome).await;
        raw.shaken().await;
        (raw, peer)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("is written");
    }

    pub(crate) async fn shake(&mut self, info_hash: InfoHash, features: Features) {
        self.write(&Handshake { info_hash, peer_id: peer_id(b'R'), features }.encode()).await;
    }

    /// The host's handshake.
    pub(crate) async fn shaken(&mut self) -> Handshake {
        let mut bytes = [0; HANDSHAKE_LEN];
        let read = timeout(LIMIT, self.stream.read_exact(&mut bytes)).await;
        read.expect("a handshake in time").expect("a handshake");
        Handshake::decode(&mut BytesMut::from(&bytes[..])).expect("a handshake").expect("a whole one")
    }

    pub(crate) async fn say(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        self.write(&bytes).await;
    }

    pub(crate) async fn say_extensions(&mut self, handshake: &ExtensionHandshake) {
        self.say(&Message::Extended { id: 0, payload: handshake.encode() }).await;
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Message {
        let decoder = Decoder::new(Limits::UNKNOWN);
        loop {
            if let Some(message) = decoder.decode(&mut self.buffer).expect("a message") {
                return message;
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.buffer)).await;
            assert_ne!(read.expect("a message in time").expect("a message"), 0, "the connection ended");
        }
    }

    /// The next message that is none of those that every connection begins with.
    pub(crate) async fn hear_more(&mut self) -> Message {
        loop {
            match self.hear().await {
                Message::HaveAll | Message::HaveNone | Message::Bitfield(_) | Message::Unchoke => {}
                Message::Extended { id: 0, .. } => {}
                other => return other,
            }
        }
    }

    /// Reads to the end; gives what came. A connection that is ended with something unread is reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = timeout(LIMIT, self.stream.read_to_end(&mut bytes)).await.expect("the connection ends");
        bytes
    }
}

/// Asks nothing of a channel but that it takes this.
pub(crate) fn tell(peer: &Peer, command: Command) {
    peer.send(command).expect("the connection lives");
}
