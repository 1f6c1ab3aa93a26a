//! What is said on one connection: everything but the socket and the clock.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pkgtorrent_protocol::wire::{
    Bitfield, Block, Decoder, EXTENSION_HANDSHAKE_ID, ExtensionHandshake, Features, HANDSHAKE_LEN, Limits,
    Message, MetadataMessage, OUR_METADATA_ID, OUR_UPLOAD_ONLY_ID,
};
use pkgtorrent_protocol::{InfoHash, PeerId};

use super::block_len::BlockLen;
use super::event::{CloseReason, Command, FromPeer, Welcome};
use super::info::{InfoError, InfoFetch, InfoServer};
use super::outbox::Outbox;
use super::possession::{Possession, Said};

/// How many requests of one peer wait at most, as the extension handshake says: 8 MiB in blocks of 16 KiB, more than any
/// line to one peer holds at once.
pub const REQUESTS_MAX: usize = 512;

/// Our name and version.
const CLIENT: &str = concat!("pkgtorrent ", env!("CARGO_PKG_VERSION"));

/// What came of hearing and obeying, for the engine.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) messages: Vec<FromPeer>,
    pub(super) sent: Vec<Block>,
    pub(super) info: Option<Result<Bytes, InfoError>>,
}

impl Heard {
    /// How many bytes of blocks have come.
    pub(super) fn blocks_len(&self) -> usize {
        let blocks = self.messages.iter().map(|message| match message {
            FromPeer::Block { data, .. } => data.len(),
            _ => 0,
        });
        blocks.sum()
    }
}

/// Both sides of one connection.
#[derive(Debug)]
pub(super) struct Conversation {
    info_hash: InfoHash,
    info_patience: Duration,
    features: Features,
    decoder: Decoder,
    possession: Possession,
    /// Whether the bundle is known: before, nothing can be asked of us.
    is_known: bool,
    /// What it asked for and has got neither sent nor rejected.
    asked: HashSet<Block>,
    /// Of what we ask for.
    block_len: BlockLen,
    pub(super) outbox: Outbox,
    server: Option<InfoServer>,
    fetch: Option<InfoFetch>,
    theirs: Theirs,
}

/// What the peer's extension handshakes have said.
#[derive(Debug, Default)]
struct Theirs {
    has_come: bool,
    metadata_id: Option<u8>,
    upload_only_id: Option<u8>,
}

/// How a connection begins, beside its [`Welcome`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// The bundle.
    pub(super) info_hash: InfoHash,
    /// Who the peer is.
    pub(super) peer_id: PeerId,
    /// What both sides can do.
    pub(super) features: Features,
    /// Where the peer is.
    pub(super) peer_ip: IpAddr,
    /// The port on which we listen.
    pub(super) port: Option<u16>,
    /// How long an info dictionary is waited for.
    pub(super) info_patience: Duration,
    /// Our handshake, if it was not sent yet.
    pub(super) handshake: Option<[u8; HANDSHAKE_LEN]>,
}

impl Conversation {
    /// A conversation, with our first words ready to be sent.
    pub(super) fn new(start: Start, welcome: Welcome) -> Self {
        let layout = welcome.layout.as_deref();
        let mut conversation = Self {
            info_hash: start.info_hash,
            info_patience: start.info_patience,
            features: start.features,
            decoder: Decoder::new(layout.map_or(Limits::UNKNOWN, Limits::of)),
            possession: Possession::new(layout.map(pkgtorrent_protocol::BundleLayout::pieces)),
            is_known: layout.is_some(),
            asked: HashSet::new(),
            block_len: BlockLen::of(start.peer_id, welcome.layout.clone()),
            outbox: Outbox::default(),
            server: welcome.info.map(InfoServer::new),
            fetch: None,
            theirs: Theirs::default(),
        };
        conversation.outbox.begin(start.handshake.as_ref().map_or(&[], |handshake| &handshake[..]));
        conversation.say_what_is_here(welcome.pieces.as_ref());
        let metadata_size = conversation.server.as_ref().and_then(InfoServer::len);
        conversation.say_extensions(&ExtensionHandshake {
            metadata_id: Some(OUR_METADATA_ID),
            upload_only_id: Some(OUR_UPLOAD_ONLY_ID),
            metadata_size,
            port: start.port,
            requests_max: Some(REQUESTS_MAX as u32),
            upload_only: Some(welcome.is_upload_only),
            client: Some(CLIENT.to_owned()),
            your_ip: Some(start.peer_ip),
        });
        // Everybody may ask; whom to answer first is the swarm's decision.
        conversation.outbox.say(&Message::Unchoke);
        conversation
    }

    /// The first message, which the fast extension wants to be one of three.
    fn say_what_is_here(&mut self, pieces: Option<&Bitfield>) {
        let here = pieces.filter(|pieces| !pieces.is_empty());
        match (here, self.features.fast) {
            (Some(pieces), true) if pieces.is_complete() => self.outbox.say(&Message::HaveAll),
            (Some(pieces), _) => self.outbox.say(&Message::Bitfield(pieces.to_bytes())),
            (None, true) => self.outbox.say(&Message::HaveNone),
            (None, false) => {}
        }
    }

    fn say_extensions(&mut self, handshake: &ExtensionHandshake) {
        if self.features.extended {
            self.outbox.say(&Message::Extended { id: EXTENSION_HANDSHAKE_ID, payload: handshake.encode() });
        }
    }

    /// The next message of what has arrived, if it is whole.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, CloseReason> {
        Ok(self.decoder.decode(buffer)?)
    }

    /// The peer says something.
    pub(super) fn hear(
        &mut self,
        message: Message,
        now: Instant,
        heard: &mut Heard,
    ) -> Result<(), CloseReason> {
        match message {
            // Bundles need neither advice nor exceptions from choking: we choke nobody.
            Message::KeepAlive | Message::Suggest(_) | Message::AllowedFast(_) | Message::Unknown(_) => {}
            Message::Choke => heard.messages.push(FromPeer::Choke),
            Message::Unchoke => heard.messages.push(FromPeer::Unchoke),
            Message::Interested => heard.messages.push(FromPeer::Interested(true)),
            Message::NotInterested => heard.messages.push(FromPeer::Interested(false)),
            Message::Have(piece) => self.hear_have(piece, heard),
            Message::Bitfield(bits) => self.hear_has(Said::Bits(bits), heard)?,
            Message::HaveAll => self.hear_has(Said::Everything, heard)?,
            Message::HaveNone => self.hear_has(Said::Nothing, heard)?,
            Message::Request(block) => self.hear_request(block, heard)?,
            Message::Cancel(block) => self.hear_cancel(block, heard),
            Message::Reject(block) => heard.messages.push(FromPeer::Reject(self.block_len.wanted(block))),
            Message::Piece { piece, begin, data } => {
                let data = self.block_len.cut(piece, begin, data);
                heard.messages.push(FromPeer::Block { piece, begin, data });
            }
            Message::Extended { id: EXTENSION_HANDSHAKE_ID, payload } => {
                self.hear_extensions(&payload, heard)?;
            }
            Message::Extended { id: OUR_METADATA_ID, payload } => self.hear_metadata(&payload, now, heard)?,
            Message::Extended { id: OUR_UPLOAD_ONLY_ID, payload } => {
                let is_upload_only = payload.first().is_some_and(|flag| *flag != 0);
                heard.messages.push(FromPeer::UploadOnly(is_upload_only));
            }
            Message::Extended { .. } => {}
        }
        self.go_on_with_info(heard);
        self.check_room()
    }

    fn hear_have(&mut self, piece: u32, heard: &mut Heard) {
        if !self.possession.got(piece) {
            return;
        }
        match heard.messages.last_mut() {
            Some(FromPeer::Have(pieces)) => pieces.push(piece),
            _ => heard.messages.push(FromPeer::Have(vec![piece])),
        }
    }

    fn hear_has(&mut self, said: Said, heard: &mut Heard) -> Result<(), CloseReason> {
        heard.messages.extend(self.possession.said(said)?.map(FromPeer::Has));
        Ok(())
    }

    fn hear_request(&mut self, block: Block, heard: &mut Heard) -> Result<(), CloseReason> {
        if self.asked.contains(&block) {
            return Ok(());
        }
        if self.is_known && self.asked.len() < REQUESTS_MAX {
            self.asked.insert(block);
            heard.messages.push(FromPeer::Request(block));
        } else if self.features.fast {
            self.outbox.say(&Message::Reject(block));
        } else if self.is_known {
            return Err(CloseReason::TooManyRequests);
        }
        Ok(())
    }

    fn hear_cancel(&mut self, block: Block, heard: &mut Heard) {
        // What is on its way is the answer; to all else there is one here and now, whoever has the block at the moment.
        if self.outbox.is_on_its_way(block) || !self.asked.remove(&block) {
            return;
        }
        if self.features.fast {
            self.outbox.say(&Message::Reject(block));
        }
        if self.outbox.cancel(block) {
            heard.sent.push(block);
        }
        heard.messages.push(FromPeer::Cancel(block));
    }

    fn hear_extensions(&mut self, payload: &[u8], heard: &mut Heard) -> Result<(), CloseReason> {
        let said = ExtensionHandshake::decode(payload)?;
        let theirs = &mut self.theirs;
        theirs.has_come = true;
        // An id of zero takes an extension back.
        let merge = |old: Option<u8>, new: Option<u8>| new.or(old).filter(|id| *id != 0);
        theirs.metadata_id = merge(theirs.metadata_id, said.metadata_id);
        theirs.upload_only_id = merge(theirs.upload_only_id, said.upload_only_id);
        if let (Some(len), Some(_)) = (said.metadata_size, theirs.metadata_id) {
            heard.messages.push(FromPeer::HasInfo(len));
        }
        heard.messages.extend(said.upload_only.map(FromPeer::UploadOnly));
        heard.messages.extend(said.client.map(FromPeer::Client));
        Ok(())
    }

    fn hear_metadata(&mut self, payload: &Bytes, now: Instant, heard: &mut Heard) -> Result<(), CloseReason> {
        match MetadataMessage::decode(payload)? {
            Some(MetadataMessage::Request(piece)) => {
                let answer = match &mut self.server {
                    Some(server) => server.asked(piece),
                    None => Some(MetadataMessage::Reject(piece)),
                };
                if let Some(answer) = answer {
                    self.say_metadata(&answer);
                }
            }
            Some(MetadataMessage::Data { piece, info_len, data }) => {
                let put = self.fetch.as_mut().map(|fetch| fetch.put(piece, info_len, &data, now));
                if let Some(Err(error)) = put {
                    self.end_fetch(Err(error), heard);
                }
            }
            Some(MetadataMessage::Reject(_)) => self.end_fetch(Err(InfoError::NotGiven), heard),
            None => {}
        }
        Ok(())
    }

    fn say_metadata(&mut self, message: &MetadataMessage) {
        if let Some(id) = self.theirs.metadata_id {
            self.outbox.say(&Message::Extended { id, payload: message.encode() });
        }
    }

    fn end_fetch(&mut self, result: Result<Bytes, InfoError>, heard: &mut Heard) {
        if self.fetch.take().is_some() {
            heard.info = Some(result);
        }
    }

    /// Asks for what is missing of the info dictionary, and ends with it when nothing is.
    fn go_on_with_info(&mut self, heard: &mut Heard) {
        let Some(mut fetch) = self.fetch.take() else { return };
        if fetch.is_whole() {
            heard.info = Some(fetch.finish());
            return;
        }
        let gives_none =
            !self.features.extended || (self.theirs.has_come && self.theirs.metadata_id.is_none());
        if gives_none {
            heard.info = Some(Err(InfoError::NotGiven));
            return;
        }
        if self.theirs.metadata_id.is_some() {
            while let Some(message) = fetch.ask() {
                self.say_metadata(&message);
            }
        }
        self.fetch = Some(fetch);
    }

    /// The engine wants something.
    pub(super) fn obey(
        &mut self,
        command: Command,
        now: Instant,
        heard: &mut Heard,
    ) -> Result<(), CloseReason> {
        match command {
            Command::Interested(true) => self.outbox.say(&Message::Interested),
            Command::Interested(false) => self.outbox.say(&Message::NotInterested),
            Command::Request(blocks) => {
                for block in blocks {
                    self.outbox.say(&Message::Request(self.block_len.asked(block)));
                }
            }
            Command::Cancel(block) => self.outbox.say(&Message::Cancel(self.block_len.asked(block))),
            Command::Have(pieces) => pieces.into_iter().for_each(|piece| self.outbox.have(piece, now)),
            // Nobody waits any more for what was cancelled meanwhile.
            Command::Block { block, data } => match self.asked.contains(&block) {
                true => self.outbox.send(block, data),
                false => heard.sent.push(block),
            },
            Command::Reject(block) => {
                if self.asked.remove(&block) && self.features.fast {
                    self.outbox.say(&Message::Reject(block));
                }
            }
            Command::UploadOnly(is_upload_only) => self.say_upload_only(is_upload_only),
            Command::Bundle { layout, info } => {
                self.decoder.set_limits(Limits::of(&layout));
                self.block_len.learn(&layout);
                self.is_known = true;
                let server = InfoServer::new(info);
                let metadata_size = server.len();
                self.server = Some(server);
                self.say_extensions(&ExtensionHandshake { metadata_size, ..ExtensionHandshake::default() });
                heard.messages.extend(self.possession.learn(layout.pieces())?.map(FromPeer::Has));
            }
            Command::FetchInfo { len } => {
                match InfoFetch::new(self.info_hash, len, self.info_patience, now) {
                    Ok(fetch) => self.fetch = Some(fetch),
                    Err(error) => heard.info = Some(Err(error)),
                }
                self.go_on_with_info(heard);
            }
        }
        self.check_room()
    }

    fn say_upload_only(&mut self, is_upload_only: bool) {
        match self.theirs.upload_only_id {
            Some(id) => {
                let payload = Bytes::from(vec![u8::from(is_upload_only)]);
                self.outbox.say(&Message::Extended { id, payload });
            }
            None => self.say_extensions(&ExtensionHandshake {
                upload_only: Some(is_upload_only),
                ..ExtensionHandshake::default()
            }),
        }
    }

    /// A peer that makes us say ever more, and does not read it, is given up.
    fn check_room(&self) -> Result<(), CloseReason> {
        if self.outbox.is_overfull() { Err(CloseReason::NotReading) } else { Ok(()) }
    }

    /// Has what waits for room in the outbox put into it, before something is written.
    pub(super) fn fill_outbox(&mut self) {
        if self.outbox.is_idle()
            && let Some(message) = self.server.as_mut().and_then(InfoServer::next)
        {
            self.say_metadata(&message);
        }
    }

    /// So many bytes were written. Says how many of them were no block's.
    pub(super) fn wrote(&mut self, len: usize, heard: &mut Heard) -> usize {
        let before = heard.sent.len();
        let messages_len = self.outbox.wrote(len, &mut heard.sent);
        for block in &heard.sent[before..] {
            self.asked.remove(block);
        }
        messages_len
    }

    /// When the clock matters next to what is said.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let fetch = self.fetch.as_ref().map(InfoFetch::deadline);
        [fetch, self.outbox.due_at()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant, heard: &mut Heard) {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.deadline() <= now) {
            self.end_fetch(Err(InfoError::TooSlow), heard);
        }
    }
}
