//! What passes over the agent's socket: one JSON object a line, both ways.
//!
//! *Participants*: the agent, and one of its host's commands (`fetch`, `status`, `store`, `agent stop`). A connection
//! carries one command. The command speaks first with [`Request::Hello`]; the agent answers with [`Answer::Hello`] or
//! [`Answer::Refused`], and the command goes on.
//!
//! Unknown fields are ignored on both sides, and [`Request::Stop`] means the same in every version, so that a newer
//! program can end an older agent that it cannot talk to.
//!
//! A package's open file goes along with the bytes of the line that names it ([`Answer::Whole`], [`Request::Add`]).

use serde::{Deserialize, Serialize};

use crate::control::Sources;
use crate::digest::{PackageDigest, Sha256Digest};
use crate::identity::InfoHash;
use crate::report::{InstallReport, Ledger};
use crate::set::SetDigest;

/// The version of the forms in this module.
pub const VERSION: u32 = 1;

/// The oldest version that this program still gets on with.
pub const VERSION_OLDEST: u32 = 1;

/// The longest line that either side reads: the largest set, each package of which takes some 220 bytes.
pub const LINE_LEN_MAX: usize = 8 << 20;

/// How many packages the agent passes before the command has said of the first what became of it. Open files in a
/// socket count against the sender's limit of open files, which is 1,024 where nobody raised it.
pub const PASSED_MAX: usize = 64;

/// The agent says something at least this often, in seconds, while a command waits, so that an agent that hangs is told
/// from one that has nothing new.
pub const ALIVE_INTERVAL: u64 = 2;

/// One package that a transaction wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Its digest from the repository's metadata.
    pub digest: PackageDigest,
    /// Its size in bytes.
    pub size: u64,
    /// Which of the request's services knows it.
    pub service: usize,
    /// What to call it in logs.
    #[serde(default)]
    pub name: String,
}

/// Space that the package manager needs for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The file system's device number.
    pub device: u64,
    /// How much of it.
    pub bytes: u64,
    /// Whether it is for copies of the packages themselves, which cost nothing where the file system can share blocks.
    pub copies: bool,
}

/// What a command says to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// The first line.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// [`VERSION_OLDEST`].
        oldest: u32,
    },
    /// These packages are wanted. Answered by [`Answer::Whole`] or [`Answer::Failed`] for each, then [`Answer::End`].
    Fetch {
        /// The services to ask, as base URLs.
        services: Vec<String>,
        /// The packages. Answers name them by their index in this list.
        wants: Vec<Want>,
        /// What must stay free for the package manager.
        #[serde(default)]
        needs: Vec<Need>,
    },
    /// The package that was passed is no longer needed: it is in place, or its place was no good.
    Taken {
        /// The package.
        index: usize,
        /// Why it is not in place, if it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// What was passed does not match its digest.
    Rejected {
        /// The package.
        index: usize,
    },
    /// Answered by [`Answer::Status`].
    Status,
    /// End. Answered by [`Answer::End`] once nothing more is written.
    Stop,
    /// Take a copy of the file that is passed along. Answered by [`Answer::Added`] or [`Answer::Failed`].
    Add {
        /// What to call it in answers: counts up from zero within a connection.
        index: usize,
        /// Its digest if the caller knows it, by any algorithm: a file that is there already is not read then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<PackageDigest>,
    },
    /// Answered by an [`Answer::Stored`] for each package, then [`Answer::End`].
    List,
    /// Read every package again and drop what does not match. Answered like [`Self::List`].
    Verify,
}

/// One package of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPackage {
    /// Its identity.
    pub identity: Sha256Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Seconds since somebody wanted it.
    pub wanted_ago: u64,
    /// Why it was dropped, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// One package that is being downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadStatus {
    /// What to call it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// How much of it is here and verified.
    pub done: u64,
}

/// One install that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstallStatus {
    /// The set that was asked for, if a service was.
    pub set: Option<SetDigest>,
    /// Milliseconds since it began.
    pub took: u64,
    /// How many packages were asked for.
    pub packages: u32,
    /// How many of them are in place.
    pub placed: u32,
    /// What came so far.
    pub bytes: Ledger,
    /// What comes in a second by now.
    pub rates: Ledger,
    /// The peers that bring most.
    pub peers: Vec<PeerStatus>,
}

/// One peer of an install.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    /// Its address.
    pub address: String,
    /// What its program calls itself.
    pub client: String,
    /// It is in another site.
    pub is_far: bool,
    /// What it brought.
    pub bytes: u64,
    /// What it brings in a second by now.
    pub rate: u64,
}

/// A bundle of which other hosts get something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStatus {
    /// Its name among peers.
    pub info_hash: InfoHash,
    /// How many packages of it are given.
    pub packages: usize,
    /// How many packages it has.
    pub of: usize,
    /// How many peers of it there are connections to.
    pub peers: usize,
    /// For how many seconds it is shared, if nobody asks for it again.
    pub until: u64,
    /// Whether anything is given now: the service or the time of day may be against it.
    pub gives: bool,
}

/// Bytes both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
}

/// What an agent has and does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// Its program's version.
    pub program: String,
    /// Its process id.
    pub pid: u32,
    /// The user that it runs as.
    pub user: String,
    /// Its state directory.
    pub state_dir: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// Packages in the store.
    pub packages: u64,
    /// Bytes in the store, half-downloaded packages included.
    pub bytes: u64,
    /// The most bytes that the store may have.
    pub bytes_max: u64,
    /// Where the bytes of this run came from.
    pub received: Sources,
    /// How many bytes other hosts got.
    #[serde(default)]
    pub sent: u64,
    /// The bytes of this run, those of peers by whether they are in this host's site.
    pub ledger: Ledger,
    /// The install that ended last.
    pub last_install: Option<InstallReport>,
    /// The installs that go on.
    pub installs: Vec<InstallStatus>,
    /// The bundles of which other hosts get something.
    pub seeds: Vec<BundleStatus>,
    /// What else it said to other hosts, and they to it.
    #[serde(default)]
    pub messages: Traffic,
    /// How many hosts it is connected with.
    #[serde(default)]
    pub peers: usize,
    /// The port on which other hosts reach it, if they do.
    #[serde(default)]
    pub port: Option<u16>,
    /// Seconds since another host last connected to this one, if any did.
    #[serde(default)]
    pub called_ago: Option<u64>,
    /// How many of [`Self::peers`] connected to this host.
    #[serde(default)]
    pub peers_inbound: usize,
    /// Bytes that other hosts get in a second at most; zero if they get nothing now.
    pub upload_limit: Option<u64>,
    /// What is being downloaded.
    pub downloads: Vec<DownloadStatus>,
    /// What was decided lately, the oldest first: who was asked, why something waited, when the origin was fallen back to.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// How many commands wait for packages.
    pub waiting: usize,
    /// Seconds until it ends by itself, if nobody asks for anything.
    pub ends_in: u64,
}

/// One decision of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Milliseconds since then.
    pub ago: u64,
    /// What, in words.
    pub what: String,
}

/// What the agent says to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The agent's first line.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// [`VERSION_OLDEST`].
        oldest: u32,
        /// Its program's version.
        program: String,
    },
    /// The command will not be done; nothing follows.
    Refused {
        /// Why.
        reason: String,
    },
    /// Nothing new.
    Alive,
    /// This many bytes of a package are here.
    Progress {
        /// The package.
        index: usize,
        /// Bytes so far.
        done: u64,
    },
    /// A package is held back on purpose.
    Waiting {
        /// The package.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A package is whole; its open file goes along.
    Whole {
        /// The package.
        index: usize,
        /// Where its bytes came from.
        from: Sources,
    },
    /// A package cannot be had.
    Failed {
        /// The package.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A file is in the store.
    Added {
        /// Which.
        index: usize,
        /// Its identity.
        identity: Sha256Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// One package of the store.
    Stored(StoredPackage),
    /// The agent.
    Status(Box<AgentStatus>),
    /// The last line.
    End,
}
