//! The agent's end of its socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use pkgtorrent_protocol::socket::{Answer, Request, VERSION, VERSION_OLDEST};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::wire::{self, Lines};
use crate::engine::{ANSWERS_MAX, Caller, Event, Outgoing, SessionId};
use crate::user::Callers;

/// The most commands at once; further ones wait in the kernel. A host has one package manager at a time, and each of
/// these may have files in flight.
const CONNECTIONS_MAX: usize = 64;

/// How long a command may take to say hello, or to read what it was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait when a connection cannot be accepted, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts commands for as long as it is polled, of those who may ask at that moment.
pub async fn listen(listener: UnixListener, callers: watch::Receiver<Callers>, events: mpsc::Sender<Event>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut next_session = 0;
    // Whoever takes all descriptors must not fill the log as well.
    let mut is_short = false;
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                is_short = false;
                let session = SessionId(next_session);
                next_session += 1;
                let (callers, events) = (callers.borrow().clone(), events.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, session, &callers, &events).await {
                        tracing::debug!("a command's connection: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_short, true) {
                    tracing::warn!("accepting a connection: {error}; not told again until it works");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one command until either side has enough.
pub async fn serve(
    stream: UnixStream,
    session: SessionId,
    callers: &Callers,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    let caller = Caller { uid: stream.peer_cred()?.uid() };
    if !callers.may_ask(caller.uid) {
        tracing::warn!("user {} may not ask this agent", caller.uid);
        let reason = format!("user {} may not ask this agent (see allowed_users)", caller.uid);
        return write(&stream, &Answer::Refused { reason }, None).await;
    }
    let mut lines = Lines::new();
    let greeting = tokio::time::timeout(PATIENCE, read(&stream, &mut lines));
    match greeting.await.map_err(|_| io::ErrorKind::TimedOut)?? {
        // Which of both is too old, and what is to be done, is for the command to say.
        Some((Request::Hello { .. }, _)) => {}
        Some(_) => {
            let reason = "the first line must be a hello".to_owned();
            return write(&stream, &Answer::Refused { reason }, None).await;
        }
        None => return Ok(()),
    }
    let program = env!("CARGO_PKG_VERSION").to_owned();
    write(&stream, &Answer::Hello { version: VERSION, oldest: VERSION_OLDEST, program }, None).await?;
    let (answers, queue) = mpsc::channel(ANSWERS_MAX);
    if events.send(Event::Connected { session, caller, answers }).await.is_err() {
        return Ok(());
    }
    let result = tokio::select! {
        result = ask(&stream, lines, session, events) => result,
        result = answer(&stream, queue) => result,
    };
    let _ = events.send(Event::Closed { session }).await;
    result
}

/// Takes what the command asks to the engine.
async fn ask(
    stream: &UnixStream,
    mut lines: Lines,
    session: SessionId,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    while let Some((request, file)) = read(stream, &mut lines).await? {
        if events.send(Event::Asked { session, request, file }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes what the engine answers to the command.
async fn answer(stream: &UnixStream, mut queue: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    while let Some(Outgoing { answer, file }) = queue.recv().await {
        let writing = write(stream, &answer, file.map(OwnedFd::from));
        tokio::time::timeout(PATIENCE, writing).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}

/// The next request, and the file that came along; `None` once the command has closed its end.
async fn read(stream: &UnixStream, lines: &mut Lines) -> io::Result<Option<(Request, Option<OwnedFd>)>> {
    loop {
        if let Some(next) = lines.next::<Request>()? {
            return Ok(Some(next));
        }
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || wire::receive(stream, lines)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes one answer; its file goes along with its first byte.
async fn write(stream: &UnixStream, answer: &Answer, mut file: Option<OwnedFd>) -> io::Result<()> {
    let line = wire::encode(answer)?;
    let mut left = line.as_slice();
    while !left.is_empty() {
        stream.writable().await?;
        let sent =
            stream.try_io(Interest::WRITABLE, || wire::send(stream, left, file.as_ref().map(AsFd::as_fd)));
        match sent {
            Ok(sent) => {
                left = &left[sent..];
                file = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
