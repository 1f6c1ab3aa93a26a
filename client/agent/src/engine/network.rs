//! Connections to other hosts: what they say is told to the swarm, and what the swarm decides is told to them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::wire::Block;
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_swarm::{Action, BundleId, Event as SwarmEvent, LinkId, PartReason};

use super::Engine;
use super::bundles::Bundle;
use super::connections::links_max;
use super::installs::Giver;
use crate::peer::{
    CloseReason, Command, Event as PeerEvent, FromPeer, Hello, Known, Peer, Peers, Verdict, Welcome,
};

/// How many peers of one bundle are remembered to be called when others cannot be reached: more than the tracker names
/// at once.
const CANDIDATES_MAX: usize = 64;

/// How the names of our own program's peers begin, in any version.
const OWN_MAKE: &[u8] = b"-PT";

/// How many peers are remembered that sent wrong bytes. Who is forgotten and lies again is banned again.
const BANNED_MAX: usize = 1024;

/// How many hosts that hung up are remembered.
const HUNG_UP_MAX: usize = 50;

/// When a host that hung up is called again. Of hosts that start at once, one may be named to the others before it has
/// heard of the bundle itself.
const CALL_AGAIN: Duration = Duration::from_millis(500);

/// Whom this agent is connected with.
pub(super) struct Network {
    /// Makes connections.
    pub(super) peers: Peers,
    pub(super) id: PeerId,
    /// Where other hosts reach this one; none when nothing listens.
    pub(super) port: Option<u16>,
    known: Known,
    pub(super) links: HashMap<LinkId, Link>,
    /// How many there may be of them, of all bundles together.
    pub(super) links_max: usize,
    /// Who is being called, and for which bundle.
    dialling: HashSet<(InfoHash, SocketAddr)>,
    /// Who could be called next.
    candidates: HashMap<BundleId, Vec<SocketAddr>>,
    /// Who hung up, and when to call again; at most [`HUNG_UP_MAX`].
    hung_up: VecDeque<(Instant, InfoHash, SocketAddr)>,
    pub(super) banned: VecDeque<(IpAddr, PeerId)>,
    /// The connection that the swarm is being told of, as it has just ended.
    parting: Option<(LinkId, BundleId, SocketAddr)>,
    /// When another host last connected to this one.
    pub(super) called: Option<Instant>,
    next: u64,
    /// What is to be said once everything has been decided that follows from an event.
    outbox: Vec<(LinkId, Command)>,
}

pub(super) struct Link {
    peer: Peer,
    peer_id: PeerId,
    info_hash: InfoHash,
    pub(super) bundle: BundleId,
    address: SocketAddr,
    /// It is in another site, as the swarm was told.
    is_far: bool,
    client: String,
    /// We made it.
    pub(super) is_dialled: bool,
    /// The swarm knows of it: the bundle's layout is known.
    is_linked: bool,
    is_unchoked: bool,
    /// It will ask for nothing.
    is_upload_only: bool,
    /// It needs something that is here.
    pub(super) is_interested: bool,
    has_info: bool,
}

impl Network {
    pub(super) fn new(peers: Peers, id: PeerId, port: Option<u16>, connections_max: usize) -> Self {
        Self {
            peers,
            id,
            port,
            known: Known::new(id),
            links: HashMap::new(),
            links_max: links_max(connections_max),
            dialling: HashSet::new(),
            candidates: HashMap::new(),
            hung_up: VecDeque::new(),
            banned: VecDeque::new(),
            parting: None,
            called: None,
            next: 0,
            outbox: Vec::new(),
        }
    }

    /// Queues a command. Requests and haves that follow one another go as one.
    pub(super) fn say(&mut self, link: LinkId, command: Command) {
        let last = self.outbox.iter_mut().rev().find(|(to, _)| *to == link);
        match (last.map(|(_, last)| last), command) {
            (Some(Command::Request(blocks)), Command::Request(more)) => blocks.extend(more),
            (Some(Command::Have(pieces)), Command::Have(more)) => pieces.extend(more),
            (_, command) => self.outbox.push((link, command)),
        }
    }

    pub(super) fn links_of(&self, bundle: BundleId) -> impl Iterator<Item = (&LinkId, &Link)> {
        self.links.iter().filter(move |(_, link)| link.bundle == bundle)
    }

    fn is_banned(&self, address: SocketAddr, peer_id: PeerId) -> bool {
        // Several agents may be on one machine, and say so by their ports and names only.
        let is_same_host = |ip: &IpAddr| !ip.is_loopback() && *ip == address.ip();
        self.banned.iter().any(|(ip, id)| *id == peer_id || is_same_host(ip))
    }

    /// The bundle that a connection is for, or was until just now.
    pub(super) fn bundle_of(&self, link: LinkId) -> Option<BundleId> {
        let parting = || self.parting.filter(|(parting, ..)| *parting == link).map(|(_, bundle, _)| bundle);
        self.links.get(&link).map(|link| link.bundle).or_else(parting)
    }

    /// Who is at the other end of a connection, or was until just now.
    pub(super) fn address_of(&self, link: LinkId) -> Option<SocketAddr> {
        let parting = || self.parting.filter(|(parting, ..)| *parting == link).map(|(.., address)| address);
        self.links.get(&link).map(|link| link.address).or_else(parting)
    }

    /// What a peer's program calls itself.
    pub(super) fn client_of(&self, link: LinkId) -> &str {
        self.links.get(&link).map_or("", |link| &link.client)
    }

    /// A peer as messages name it.
    pub(super) fn name_of(&self, link: LinkId) -> String {
        match (self.address_of(link), self.client_of(link)) {
            (None, _) => String::new(),
            (Some(address), "") => address.to_string(),
            (Some(address), client) => format!("{address} ({client})"),
        }
    }
}

impl Link {
    /// Who gives over it.
    pub(super) fn giver(&self) -> Giver {
        Giver { address: self.address, is_far: self.is_far }
    }
}

impl Engine {
    /// Something happened on a connection.
    pub(super) fn peer_said(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Hello(hello) => self.meet(hello),
            PeerEvent::Unreachable { address, info_hash, error } => {
                tracing::debug!("{address}: no connection: {error}");
                self.network.dialling.remove(&(info_hash, address));
                if error.is_hang_up() && self.network.hung_up.len() < HUNG_UP_MAX {
                    self.network.hung_up.push_back((Instant::now() + CALL_AGAIN, info_hash, address));
                }
                if let Some(&id) = self.bundle_ids.get(&info_hash) {
                    self.call(id);
                }
            }
            PeerEvent::Messages { link, messages } => {
                for message in messages {
                    self.heard(link, message);
                }
            }
            PeerEvent::Sent { link, blocks } => {
                for block in blocks {
                    self.given(link, block);
                }
            }
            PeerEvent::Info { link, result } => self.info_came(link, result),
            PeerEvent::Closed { link, reason } => self.closed_link(link, &reason),
        }
    }

    /// Hears of hosts that share a bundle, and calls as many as there should be.
    pub(super) fn dial(&mut self, id: BundleId, addresses: &[SocketAddr]) {
        let candidates = self.network.candidates.entry(id).or_default();
        // What is heard last is tried first.
        candidates.retain(|address| !addresses.contains(address));
        candidates.extend(addresses.iter().rev().take(CANDIDATES_MAX));
        let forgotten = candidates.len().saturating_sub(CANDIDATES_MAX);
        candidates.drain(..forgotten);
        self.call(id);
    }

    /// Calls hosts that there is no connection to, until this host has made enough of its own.
    fn call(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        let info_hash = bundle.info_hash;
        let connected: HashSet<SocketAddr> =
            self.network.links_of(id).map(|(_, link)| link.address).collect();
        let own = self.network.links_of(id).filter(|(_, link)| link.is_dialled).count();
        let dialling = self.network.dialling.iter().filter(|(of, _)| *of == info_hash).count();
        let mut room = self.dialled_max().saturating_sub(own + dialling);
        while room > 0
            && let Some(address) = self.network.candidates.get_mut(&id).and_then(Vec::pop)
        {
            // A plan may name one host many times.
            if !connected.contains(&address) && self.network.dialling.insert((info_hash, address)) {
                self.network.peers.dial(address, info_hash);
                room -= 1;
            }
        }
    }

    /// Calls those again that hung up, where this host still needs something and has found nobody else: in a crowd there
    /// are others, and who is refused because the two are connected already need not be asked again.
    pub(super) fn dial_again(&mut self) {
        let now = Instant::now();
        while let Some(&(at, info_hash, address)) = self.network.hung_up.front()
            && at <= now
        {
            self.network.hung_up.pop_front();
            let Some(&id) = self.bundle_ids.get(&info_hash) else { continue };
            let is_lonely = self.network.links_of(id).next().is_none();
            let has_plans = self.bundles.get(&id).is_some_and(|bundle| !bundle.joining.is_empty());
            if is_lonely && (has_plans || self.swarm.needed_len(id) > 0) {
                self.dial(id, &[address]);
            }
        }
    }

    /// Somebody is at the other end of a new connection.
    fn meet(&mut self, hello: Hello) {
        if hello.is_dialled {
            self.network.dialling.remove(&(hello.info_hash, hello.address));
        } else if !hello.address.ip().is_loopback() {
            // Who comes from this very host shows nothing about the way to it.
            self.network.called = Some(Instant::now());
        }
        let Some(&id) = self.bundle_ids.get(&hello.info_hash) else { return self.called_for_unknown() };
        // Who gives nothing calls others, and is called by nobody.
        let is_of_use = hello.is_dialled || self.gives(id);
        if !is_of_use || self.network.is_banned(hello.address, hello.peer_id) || !self.make_room_for_link(id)
        {
            return;
        }
        let link = LinkId(self.network.next);
        self.network.next += 1;
        match self.network.known.meet(hello.info_hash, hello.peer_id, link, hello.is_dialled) {
            Verdict::Keep => {}
            Verdict::KeepInsteadOf(old) => self.drop_link(old),
            Verdict::Refuse => return self.call(id),
        }
        let Some(bundle) = self.bundles.get(&id) else { return };
        let layout = bundle.info.as_ref().map(|info| std::sync::Arc::new(info.layout().clone()));
        let is_linked = layout.is_some();
        let welcome = Welcome {
            link,
            layout,
            info: bundle.info_bytes.clone(),
            pieces: self.swarm.served(id).filter(|_| self.gives(id)).cloned(),
            is_upload_only: is_linked && self.swarm.needed_len(id) == 0 && bundle.joining.is_empty(),
        };
        let Hello { info_hash, peer_id, address, peer, .. } = hello;
        tracing::debug!("{address}: connected for {info_hash}");
        let new = Link {
            peer,
            peer_id,
            info_hash,
            bundle: id,
            address,
            is_far: false,
            client: String::new(),
            is_dialled: hello.is_dialled,
            is_linked,
            is_unchoked: false,
            is_interested: false,
            is_upload_only: false,
            has_info: false,
        };
        self.network.links.insert(link, new);
        // Who has gone meanwhile is closed in the usual way.
        let _ = hello.welcome.send(welcome);
        if is_linked {
            self.tell_linked(link, id);
        }
    }

    fn tell_linked(&mut self, link: LinkId, bundle: BundleId) {
        self.tell_swarm(SwarmEvent::Linked { link, bundle });
        if self.network.links.get(&link).is_some_and(|link| !link.peer_id.0.starts_with(OWN_MAKE)) {
            self.tell_swarm(SwarmEvent::Foreign { link });
        }
        let Some(to) = self.network.links.get_mut(&link) else { return };
        let is_far = |bundle: &Bundle| bundle.is_far(to.address.ip());
        if self.bundles.get(&bundle).is_some_and(is_far) {
            to.is_far = true;
            self.tell_swarm(SwarmEvent::Far { link });
        }
    }

    /// A bundle's layout is known: so are its links to the swarm.
    pub(super) fn link_bundle(&mut self, id: BundleId) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        let (Some(info), Some(bytes)) = (bundle.info.clone(), bundle.info_bytes.clone()) else { return };
        let waiting: Vec<LinkId> =
            self.network.links_of(id).filter(|(_, link)| !link.is_linked).map(|(link, _)| *link).collect();
        for link in waiting {
            let layout = std::sync::Arc::new(info.layout().clone());
            self.network.say(link, Command::Bundle { layout, info: bytes.clone() });
            let said = self.network.links.get_mut(&link).map(|link| {
                link.is_linked = true;
                (link.is_unchoked, link.is_upload_only)
            });
            self.tell_linked(link, id);
            let (is_unchoked, is_upload_only) = said.unwrap_or_default();
            self.tell_swarm(SwarmEvent::UploadOnly { link, is_upload_only });
            if is_unchoked {
                self.tell_swarm(SwarmEvent::Unchoked { link });
            }
            // What came before the layout was known.
            let served = self.swarm.served(id).filter(|_| self.gives(id));
            let served = served.map(|pieces| pieces.iter().collect()).unwrap_or_default();
            self.network.say(link, Command::Have(served));
        }
        self.flush();
    }

    /// A link of this bundle that can give its info dictionary.
    pub(super) fn link_with_info(&self, id: BundleId) -> Option<LinkId> {
        self.network.links_of(id).find(|(_, link)| link.has_info).map(|(id, _)| *id)
    }

    fn heard(&mut self, id: LinkId, message: FromPeer) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let bundle = link.bundle;
        match message {
            FromPeer::HasInfo(len) => {
                link.has_info = true;
                return self.info_offered(bundle, id, len);
            }
            FromPeer::Client(name) => {
                link.client = name;
                return;
            }
            FromPeer::Unchoke => link.is_unchoked = true,
            FromPeer::Choke => link.is_unchoked = false,
            FromPeer::Interested(is_interested) => link.is_interested = is_interested,
            FromPeer::UploadOnly(is_upload_only) => link.is_upload_only = is_upload_only,
            _ => {}
        }
        if !link.is_linked {
            return;
        }
        let event = match message {
            FromPeer::Has(pieces) => SwarmEvent::Has { link: id, pieces },
            FromPeer::Have(pieces) => SwarmEvent::Have { link: id, pieces },
            FromPeer::Choke => SwarmEvent::Choked { link: id },
            FromPeer::Unchoke => SwarmEvent::Unchoked { link: id },
            FromPeer::Request(block) if !self.gives(bundle) => {
                return self.network.say(id, Command::Reject(block));
            }
            FromPeer::Request(block) => SwarmEvent::Asked { link: id, block },
            FromPeer::Cancel(block) => SwarmEvent::AskCancelled { link: id, block },
            FromPeer::Reject(block) => SwarmEvent::Rejected { link: id, block },
            FromPeer::Block { piece, begin, data } => {
                // A frame's length is a u32, and so is that of its data.
                let block = Block { piece, begin, len: data.len() as u32 };
                return self.block_came(bundle, id, block, data);
            }
            FromPeer::UploadOnly(is_upload_only) => SwarmEvent::UploadOnly { link: id, is_upload_only },
            FromPeer::Interested(_) | FromPeer::HasInfo(_) | FromPeer::Client(_) => return,
        };
        self.tell_swarm(event);
    }

    /// The swarm's decisions about links, as commands.
    pub(super) fn act_on_link(&mut self, action: &Action) {
        match *action {
            Action::Ask { link, block } => self.network.say(link, Command::Request(vec![block])),
            Action::CancelAsk { link, block } => self.network.say(link, Command::Cancel(block)),
            Action::Interest { link, is_interested } => {
                self.network.say(link, Command::Interested(is_interested));
            }
            Action::Have { link, piece } if self.gives_on(link) => {
                self.network.say(link, Command::Have(vec![piece]));
            }
            Action::Reject { link, block } => self.network.say(link, Command::Reject(block)),
            Action::Part { link, reason } => self.part(link, reason),
            // The others are about pieces and files.
            _ => {}
        }
    }

    fn part(&mut self, id: LinkId, reason: PartReason) {
        if let Some(link) = self.network.links.get(&id) {
            let (address, client) = (link.address, &link.client);
            if let PartReason::Liar { .. } = reason {
                tracing::warn!("{address} ({client}) is banned: {reason}");
                if self.network.banned.len() == BANNED_MAX {
                    self.network.banned.pop_front();
                }
                self.network.banned.push_back((address.ip(), link.peer_id));
            } else {
                tracing::debug!("{address} ({client}): parting: {reason}");
            }
        }
        let bundle = self.network.bundle_of(id);
        self.forget_link(id);
        if let Some(bundle) = bundle.filter(|_| reason == PartReason::Spent) {
            self.call(bundle);
        }
    }

    /// Says what was queued. A connection that takes no more is over.
    pub(super) fn flush(&mut self) {
        let mut lost = Vec::new();
        for (link, command) in std::mem::take(&mut self.network.outbox) {
            if let Some(to) = self.network.links.get(&link)
                && to.peer.send(command).is_err()
            {
                lost.push(link);
            }
        }
        for link in lost {
            self.drop_link(link);
        }
    }

    fn closed_link(&mut self, id: LinkId, reason: &CloseReason) {
        if let Some(link) = self.network.links.get(&id) {
            tracing::debug!("{} ({}): {reason}", link.address, link.client);
            self.drop_link(id);
        }
    }

    pub(super) fn drop_link(&mut self, id: LinkId) {
        let bundle = self.network.bundle_of(id);
        let parting = self.network.links.get(&id).map(|link| (id, link.bundle, link.address));
        if self.forget_link(id) {
            self.network.parting = parting;
            self.tell_swarm(SwarmEvent::LinkGone { link: id });
            self.network.parting = None;
        }
        if let Some(bundle) = bundle {
            self.info_is_not_given(bundle, id);
            if self.swarm.needed_len(bundle) > 0 {
                self.call(bundle);
            }
        }
    }

    /// Ends a connection. True if there was one.
    fn forget_link(&mut self, id: LinkId) -> bool {
        let Some(link) = self.network.links.remove(&id) else { return false };
        self.network.known.part(link.info_hash, link.peer_id, id);
        true
    }

    /// A bundle is left, and with it its links.
    pub(super) fn drop_links_of(&mut self, id: BundleId) {
        let links: Vec<LinkId> = self.network.links_of(id).map(|(link, _)| *link).collect();
        for link in links {
            self.forget_link(link);
        }
        self.network.candidates.remove(&id);
    }

    /// Ends a bundle's connections; who is needed is called again when the tracker has named them.
    pub(super) fn hang_up(&mut self, id: BundleId) {
        let links: Vec<LinkId> = self.network.links_of(id).map(|(link, _)| *link).collect();
        for link in links {
            self.drop_link(link);
        }
    }

    /// Whether who is at the other end gets anything.
    fn gives_on(&self, link: LinkId) -> bool {
        self.network.bundle_of(link).is_some_and(|bundle| self.gives(bundle))
    }

    /// Tells all peers of a bundle whether this host will ask for anything.
    pub(super) fn tell_upload_only(&mut self, id: BundleId, is_upload_only: bool) {
        let links: Vec<LinkId> = self.network.links_of(id).map(|(link, _)| *link).collect();
        for link in links {
            self.network.say(link, Command::UploadOnly(is_upload_only));
        }
    }

    /// How many hosts there is a connection to.
    pub(super) fn peers_connected(&self) -> usize {
        self.peers_of(|_| true)
    }

    /// How many of them have connected to this one.
    pub(super) fn peers_inbound(&self) -> usize {
        self.peers_of(|link| !link.is_dialled)
    }

    fn peers_of(&self, counts: impl Fn(&&Link) -> bool) -> usize {
        let peers: HashSet<PeerId> =
            self.network.links.values().filter(counts).map(|link| link.peer_id).collect();
        peers.len()
    }
}
