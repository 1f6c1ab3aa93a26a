//! One connection to a peer: its socket, its clock and its [`Conversation`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use pkgtorrent_protocol::wire::Message;
use pkgtorrent_swarm::LinkId;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Sleep, sleep_until};

use super::conversation::{Conversation, Heard};
use super::event::{CloseReason, Command, Event};
use super::outbox::SLICES_MAX;
use super::peers::Peers;

/// How much is read at once from a peer that has sent little lately, and from one that has sent much. The first is one
/// block; beyond the second a read costs no less.
const READ_LEN_MIN: usize = 16 << 10;
const READ_LEN_MAX: usize = 128 << 10;

/// How much is read and written at once where there is a limit, so that all connections come to their turn.
const LIMITED_LEN: usize = 16 << 10;

/// How much is written at once where there is none.
const WRITE_LEN_MAX: usize = 64 << 10;

/// One connection whose handshakes are done.
pub(super) struct Connection {
    peers: Peers,
    link: LinkId,
    conversation: Conversation,
    stream: TcpStream,
    /// What has arrived and is no whole message yet. Without memory while nothing has.
    buffer: BytesMut,
    read_len: usize,
    commands: mpsc::Receiver<Command>,
    /// What the engine had no room for yet. While there is any nothing is read, so that these are few.
    events: VecDeque<Event>,
    read_at: Instant,
    write_at: Instant,
    heard_at: Instant,
    said_at: Instant,
    /// Held for as long as the connection is.
    _room: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        peers: Peers,
        link: LinkId,
        conversation: Conversation,
        stream: TcpStream,
        buffer: BytesMut,
        commands: mpsc::Receiver<Command>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        Self {
            peers,
            link,
            conversation,
            stream,
            buffer,
            read_len: READ_LEN_MIN,
            commands,
            events: VecDeque::new(),
            read_at: now,
            write_at: now,
            heard_at: now,
            said_at: now,
            _room: room,
        }
    }

    /// Runs until either side has enough, and says why.
    pub(super) async fn run(mut self) {
        let reason = match self.go_on().await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        let (events, link) = (self.peers.shared().events.clone(), self.link);
        // What came before still counts.
        let waiting = std::mem::take(&mut self.events);
        // The socket is closed, and its place free, before the engine knows.
        drop(self);
        for event in waiting.into_iter().chain([Event::Closed { link, reason }]) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    async fn go_on(&mut self) -> Result<std::convert::Infallible, CloseReason> {
        // What came right behind the handshake.
        self.hear_all(Instant::now())?;
        let mut alarm = std::pin::pin!(sleep_until(self.wake_at().into()));
        loop {
            // A peer that sends without a pause must not keep the engine, and all others, from their turn.
            tokio::task::coop::consume_budget().await;
            let now = Instant::now();
            self.tick(now)?;
            self.conversation.fill_outbox();
            set_alarm(alarm.as_mut(), self.wake_at());
            let is_heard = self.events.is_empty();
            let can_read = is_heard && self.read_at <= now;
            let can_write = is_heard && self.write_at <= now && self.conversation.outbox.is_due(now);
            tokio::select! {
                command = self.commands.recv() => self.obey_all(command)?,
                told = tell_next(&self.peers, &mut self.events), if !is_heard => told?,
                ready = self.stream.readable(), if can_read => { ready?; self.read()?; }
                ready = self.stream.writable(), if can_write => { ready?; self.write()?; }
                () = &mut alarm => {}
            }
        }
    }

    /// When to look again although nothing happened.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        // Only limits are in the future; what is due already is waited for by other means.
        let limits = [self.read_at, self.write_at].into_iter().filter(|at| *at > now);
        let patience = self.peers.shared().patience;
        let quiet = [self.heard_at + patience.silence, self.said_at + patience.keep_alive];
        let all = limits.chain(quiet).chain(self.conversation.wake_at().filter(|at| *at > now));
        all.min().unwrap_or(now + patience.keep_alive)
    }

    fn tick(&mut self, now: Instant) -> Result<(), CloseReason> {
        let patience = self.peers.shared().patience;
        // A peer that is not listened to while the engine is behind is not the silent one.
        if !self.events.is_empty() {
            self.heard_at = now;
        }
        if self.heard_at + patience.silence <= now {
            return Err(CloseReason::Silent);
        }
        if self.said_at + patience.keep_alive <= now {
            self.said_at = now;
            self.conversation.outbox.say(&Message::KeepAlive);
        }
        let mut heard = Heard::default();
        self.conversation.tick(now, &mut heard);
        self.tell(heard);
        Ok(())
    }

    fn obey_all(&mut self, first: Option<Command>) -> Result<(), CloseReason> {
        let (now, mut heard) = (Instant::now(), Heard::default());
        self.conversation.obey(first.ok_or(CloseReason::Unwanted)?, now, &mut heard)?;
        while let Ok(command) = self.commands.try_recv() {
            self.conversation.obey(command, now, &mut heard)?;
        }
        self.tell(heard);
        Ok(())
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let is_limited = self.peers.shared().download.is_limited();
        let most = if is_limited { LIMITED_LEN } else { self.read_len };
        self.buffer.reserve(most);
        let len = match self.stream.try_read_buf(&mut (&mut self.buffer).limit(most)) {
            Ok(0) => return Err(CloseReason::ByPeer),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.let_go_of_buffer();
                return Ok(());
            }
            Err(error) if is_end(&error) => return Err(CloseReason::ByPeer),
            Err(error) => return Err(error.into()),
        };
        if len == self.read_len {
            self.read_len = (self.read_len * 2).min(READ_LEN_MAX);
        } else if len < self.read_len / 4 {
            self.read_len = (self.read_len / 2).max(READ_LEN_MIN);
        }
        let now = Instant::now();
        self.heard_at = now;
        self.read_at = self.peers.shared().download.spend(len, now);
        self.hear_all(now)?;
        self.let_go_of_buffer();
        Ok(())
    }

    /// An idle connection has no buffer.
    fn let_go_of_buffer(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Everything that is whole in the buffer.
    fn hear_all(&mut self, now: Instant) -> Result<(), CloseReason> {
        let (mut heard, before) = (Heard::default(), self.buffer.len());
        let result = loop {
            match self.conversation.next(&mut self.buffer) {
                Ok(Some(message)) => {
                    if let Err(reason) = self.conversation.hear(message, now, &mut heard) {
                        break Err(reason);
                    }
                }
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        self.peers.count_received(before - self.buffer.len() - heard.blocks_len());
        // What came before an error was right.
        self.tell(heard);
        result
    }

    fn write(&mut self) -> Result<(), CloseReason> {
        let is_limited = self.peers.shared().upload.is_limited();
        let outbox = &mut self.conversation.outbox;
        outbox.make_ready(if is_limited { LIMITED_LEN } else { WRITE_LEN_MAX });
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.slices(&mut slices);
        let len = match self.stream.try_write_vectored(&slices[..count]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_end(&error) => return Err(CloseReason::ByPeer),
            Err(error) => return Err(error.into()),
        };
        let (now, mut heard) = (Instant::now(), Heard::default());
        self.said_at = now;
        self.write_at = self.peers.shared().upload.spend(len, now);
        self.peers.count_sent(self.conversation.wrote(len, &mut heard));
        self.tell(heard);
        Ok(())
    }

    /// Tells the engine, now if it has room.
    fn tell(&mut self, heard: Heard) {
        let link = self.link;
        if !heard.sent.is_empty() {
            self.events.push_back(Event::Sent { link, blocks: heard.sent });
        }
        if !heard.messages.is_empty() {
            self.events.push_back(Event::Messages { link, messages: heard.messages });
        }
        if let Some(result) = heard.info {
            self.events.push_back(Event::Info { link, result });
        }
        while !self.events.is_empty()
            && let Ok(room) = self.peers.shared().events.try_reserve()
            && let Some(event) = self.events.pop_front()
        {
            room.send(event);
        }
    }
}

/// Waits until the engine has room, and tells it the next event.
async fn tell_next(peers: &Peers, events: &mut VecDeque<Event>) -> Result<(), CloseReason> {
    let room = peers.shared().events.reserve().await.map_err(|_| CloseReason::Unwanted)?;
    if let Some(event) = events.pop_front() {
        room.send(event);
    }
    Ok(())
}

/// Whether this is how the other side's end shows.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Sets the alarm, unless it rings before: then it is set again when it has.
fn set_alarm(alarm: Pin<&mut Sleep>, at: Instant) {
    let at = at.into();
    if alarm.deadline() > at || alarm.is_elapsed() {
        alarm.reset(at);
    }
}
