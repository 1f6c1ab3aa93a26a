//! Everything that can happen to the engine, in one closed list.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pkgtorrent_protocol::announce::BatchAnswer;
use pkgtorrent_protocol::socket::{Answer, Request};
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_swarm::{BundleId, Outcome, RequestId};
use tokio::sync::{mpsc, oneshot};

use super::announcing::Asked;
use super::giving::ReadBlock;
use super::pieces::Assembled;
use crate::origin::{CheckedPlan, Http, Info, PlanError};
use crate::settings::Settings;
use crate::store::{Added, Digests, Partial, StoreError};

/// One connection of a command, counted up over the agent's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user, as the kernel says.
    pub uid: u32,
}

/// One line to a command, and the file that goes along.
#[derive(Debug)]
pub struct Outgoing {
    /// The line.
    pub answer: Answer,
    /// The open file.
    pub file: Option<File>,
}

impl From<Answer> for Outgoing {
    fn from(answer: Answer) -> Self {
        Self { answer, file: None }
    }
}

/// One plan that a service was asked for, counted up over the agent's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PlanId(pub(crate) u64);

/// What became of a package whose pieces were all right.
#[derive(Debug)]
pub(crate) enum Sealed {
    /// Its digest is its identity, and its file is in the store now.
    Whole(Digests),
    /// Its digest is another.
    Mismatch,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Event {
    /// A command that may ask has said hello.
    Connected {
        /// The connection.
        session: SessionId,
        /// Who it is.
        caller: Caller,
        /// Where answers go.
        answers: mpsc::Sender<Outgoing>,
    },
    /// A command asks.
    Asked {
        /// The connection.
        session: SessionId,
        /// What.
        request: Request,
        /// The file that came along.
        file: Option<OwnedFd>,
    },
    /// The configuration was read again.
    Reloaded {
        /// What it comes to.
        settings: Box<Settings>,
        /// What reaches services and web seeds as it says.
        http: Http,
    },
    /// A collector asks for the metrics.
    Measured {
        /// Where they go.
        answer: oneshot::Sender<String>,
    },
    /// A connection is over.
    Closed {
        /// The connection.
        session: SessionId,
    },
    /// A task of the engine has something to say.
    Task(TaskEvent),
}

/// What the engine's own tasks tell it.
#[derive(Debug)]
pub struct TaskEvent(pub(crate) Task);

#[derive(Debug)]
pub(crate) enum Task {
    /// A service has answered, or has not.
    Planned { plan: PlanId, result: Result<Box<CheckedPlan>, PlanError>, took: Duration },
    /// A bundle's info dictionary is here, or is not.
    Informed { bundle: BundleId, service: String, result: Result<Info, PlanError>, took: Duration },
    /// A bundle's info dictionary that came from a peer was read.
    InfoRead { bundle: BundleId, result: Result<Info, PlanError> },
    /// A tracker has answered, or has not.
    Announced { asked: Asked, result: Result<BatchAnswer, PlanError> },
    /// A piece from peers was checked.
    Assembled(Assembled),
    /// A block for a peer was read.
    Read(ReadBlock),
    /// What an earlier run left of a package was read: these of its pieces are right.
    Resumed { partial: Partial, result: io::Result<Vec<u32>> },
    /// Pieces arrived, of a package that begins with this piece of this bundle; those that are right were written. The
    /// second of each pair says whether it was.
    Arrived { request: RequestId, partial: Partial, at: (BundleId, u32), pieces: Vec<(u32, bool)> },
    /// A piece cannot be written.
    Unwritable { request: RequestId, error: io::Error },
    /// A request is over.
    Ended { request: RequestId, outcome: Outcome, reason: Option<String> },
    /// All of a package was read again.
    Sealed { partial: Partial, result: io::Result<Sealed> },
    /// A command's file is in the store, or is not.
    Added { session: SessionId, index: usize, result: Result<Added, StoreError> },
    /// What a command rejected was read again: whether it is right.
    Judged { session: SessionId, index: usize, identity: Sha256Digest, result: io::Result<bool> },
    /// A package of the store was read again.
    Checked { session: SessionId, identity: Sha256Digest, result: io::Result<bool> },
}

impl From<Task> for Event {
    fn from(task: Task) -> Self {
        Self::Task(TaskEvent(task))
    }
}

/// What a digest that a command asked for has to do with an identity.
pub(crate) fn is_alias(digest: &PackageDigest) -> bool {
    digest.identity().is_none()
}
