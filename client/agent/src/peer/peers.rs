//! What all connections share: who may connect, how many, and how fast.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use pkgtorrent_protocol::socket::Traffic;
use pkgtorrent_protocol::{InfoHash, PeerId, networks};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::dialler;
use super::event::Event;
use super::throttle::Throttle;
use crate::settings::PeerSettings;

/// How many connections may be made to us at once that have not said yet who they are. They cost a descriptor each, for
/// at most [`Patience::handshake`]; a crowd that starts in the same second says it within milliseconds.
const STRANGERS_MAX: usize = 64;

/// How long peers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to be made. A host that is there answers in the same second, and a lost packet is sent again
    /// after one and after three.
    pub dial: Duration,
    /// For a peer to say who it is.
    pub handshake: Duration,
    /// For anything at all. Peers say at least every two minutes that they are there.
    pub silence: Duration,
    /// Until we say that we are.
    pub keep_alive: Duration,
    /// For the next piece of an info dictionary that a peer says it has.
    pub info: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(120),
            keep_alive: Duration::from_secs(60),
            info: Duration::from_secs(5),
        }
    }
}

/// Everything that connections to peers share.
#[derive(Debug, Clone)]
pub struct Peers(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) own: PeerId,
    /// The port on which we listen, if we do.
    pub(super) port: Option<u16>,
    networks: Vec<IpNet>,
    pub(super) patience: Patience,
    pub(super) strangers: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    pub(super) upload: Throttle,
    pub(super) download: Throttle,
    pub(super) events: mpsc::Sender<Event>,
    /// Bytes that were no block's.
    messages_sent: AtomicU64,
    messages_received: AtomicU64,
}

impl Peers {
    /// No connections yet of the agent with this name, which listens on this port, if it does. What comes of them goes
    /// to `events`, a channel for [`super::EVENTS_MAX`].
    #[must_use]
    pub fn new(
        settings: &PeerSettings,
        patience: Patience,
        own: PeerId,
        port: Option<u16>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self(Arc::new(Shared {
            own,
            port,
            networks: settings.networks.clone(),
            patience,
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            connections: Arc::new(Semaphore::new(settings.connections_max)),
            upload: Throttle::new(settings.upload_limit),
            download: Throttle::new(settings.download_limit),
            events,
            messages_sent: AtomicU64::new(0),
            messages_received: AtomicU64::new(0),
        }))
    }

    /// Calls a peer. [`Event::Hello`] or [`Event::Unreachable`] follows; neither if the engine drops the hello.
    pub fn dial(&self, address: SocketAddr, info_hash: InfoHash) {
        tokio::spawn(dialler::dial(self.clone(), address, info_hash));
    }

    /// From now on so many bytes a second may be sent; zero for as many as there are.
    pub fn limit_upload(&self, rate: u64) {
        self.0.upload.limit(rate);
    }

    /// From now on so many may be taken.
    pub fn limit_download(&self, rate: u64) {
        self.0.download.limit(rate);
    }

    /// Whether there may be one connection more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.0.connections.available_permits() > 0
    }

    /// All that has passed over connections but blocks and the handshakes of others.
    #[must_use]
    pub fn messages(&self) -> Traffic {
        let (sent, received) = (&self.0.messages_sent, &self.0.messages_received);
        Traffic { sent: sent.load(Ordering::Relaxed), received: received.load(Ordering::Relaxed) }
    }

    pub(super) fn count_sent(&self, messages_len: usize) {
        self.0.messages_sent.fetch_add(messages_len as u64, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, messages_len: usize) {
        self.0.messages_received.fetch_add(messages_len as u64, Ordering::Relaxed);
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Whether a host at this address, in its one form, may be a peer.
    pub(super) fn may_be_peer(&self, ip: IpAddr) -> bool {
        networks::contain(&self.0.networks, ip)
    }

    /// Room for one connection for as long as this is held.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.connections).try_acquire_owned().ok()
    }
}
