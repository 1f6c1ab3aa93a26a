//! Cutting off clients that hold a connection on which nothing is being answered.
//!
//! actix's own timers end with the first request of a connection. After it, a client could spend for ever on the head of
//! its second request, or on the rest of a chunked body that nobody reads, as long as it sends a byte now and then.
//! Here each worker remembers its connections, and stops reading from those that were without an answer for too long.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use rustix::net::{Shutdown, shutdown};

/// How often connections are looked at, and how much later than at actix's own timers, which tell the client what is
/// wrong, they are cut off.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One connection of this worker.
pub(crate) struct Watched {
    /// A second handle, closed together with the connection: this is dropped when that is.
    socket: OwnedFd,
    answering: Cell<u32>,
    idle_since: Cell<Instant>,
}

/// While this lives, an answer is being made or sent.
pub(crate) struct Answering(Rc<Watched>);

thread_local! {
    static CONNECTIONS: RefCell<Vec<Weak<Watched>>> = const { RefCell::new(Vec::new()) };
}

impl Watched {
    /// Watches a connection of the worker that runs this; `timeout` is the same for all of a worker's connections.
    pub(crate) fn new(socket: impl AsFd, timeout: Duration) -> std::io::Result<Rc<Self>> {
        let watched = Rc::new(Self {
            socket: socket.as_fd().try_clone_to_owned()?,
            answering: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        });
        let is_first = CONNECTIONS.with_borrow_mut(|connections| {
            connections.push(Rc::downgrade(&watched));
            connections.len() == 1
        });
        if is_first {
            actix_web::rt::spawn(look_after(timeout));
        }
        Ok(watched)
    }

    /// Notes that an answer begins.
    pub(crate) fn answer(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering(Rc::clone(self))
    }

    /// Whether it is still worth watching.
    fn look(&self, timeout: Duration) -> bool {
        let is_idle = self.answering.get() == 0 && self.idle_since.get().elapsed() > timeout + LOOK_INTERVAL;
        if is_idle {
            // Only the reading ends: what is on its way to the client still arrives, and actix then closes.
            let _ = shutdown(&self.socket, Shutdown::Read);
        }
        !is_idle
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// Looks at this worker's connections until there are none.
async fn look_after(timeout: Duration) {
    let look = |connection: &Weak<Watched>| connection.upgrade().is_some_and(|watched| watched.look(timeout));
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let is_empty = CONNECTIONS.with_borrow_mut(|connections| {
            connections.retain(look);
            connections.is_empty()
        });
        if is_empty {
            return;
        }
    }
}

/// A body that ends its answer when it has been handed over.
pub(crate) struct AnsweringBody<B> {
    body: Pin<Box<B>>,
    _answering: Option<Answering>,
}

impl<B> AnsweringBody<B> {
    /// Keeps `answering` for as long as `body`.
    pub(crate) fn new(body: B, answering: Option<Answering>) -> Self {
        Self { body: Box::pin(body), _answering: answering }
    }
}

impl<B: MessageBody> MessageBody for AnsweringBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_mut().poll_next(cx)
    }
}
