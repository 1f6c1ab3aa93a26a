//! What is kept of installs that ended, so that they can be explained later, without an agent.
//!
//! Each has a file in the state directory. Whoever reads them believes nothing: lists are as long as they are, but a file
//! is no longer than [`RECORD_LEN_MAX`], and texts are what some peer or package manager said.

mod keeping;

use pkgtorrent_protocol::SetDigest;
use pkgtorrent_protocol::report::{Fallback, FallbackReason, Ledger};
use serde::{Deserialize, Serialize};

pub use keeping::{RECORD_LEN_MAX, RECORDS_MAX, Records, RecordsError, read_all};

/// The version of the form. A reader passes over records of another one.
pub const VERSION: u32 = 1;

/// One install. Times are milliseconds since it began, unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Counts up within a state directory.
    pub number: u64,
    /// The set that was asked for, if a service was.
    pub set: Option<SetDigest>,
    /// The services that could be asked.
    pub services: Vec<String>,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took.
    pub took: u64,
    /// For how long nothing came although it could have: it was held back on purpose.
    pub waited: u64,
    /// How many packages were asked for.
    pub packages: u32,
    /// How many of them are in place.
    pub placed: u32,
    /// Where the bytes of those came from, as the command's last event says.
    pub bytes: Ledger,
    /// For how long at least one request to the origin was under way.
    pub origin_busy: u64,
    /// What came when.
    pub timeline: Timeline,
    /// The peers that brought most, and those that made trouble.
    pub peers: Vec<PeerRecord>,
    /// How many more peers brought something, and how much.
    pub other_peers: OtherPeers,
    /// When nothing came, and why.
    pub waits: Vec<WaitRecord>,
    /// How many more such times there were.
    pub waits_left_out: u32,
    /// What was decided meanwhile, the first and the last of it.
    pub decisions: Vec<DecisionRecord>,
    /// How many decisions between those were left out.
    pub decisions_left_out: u64,
    /// Why packages were left to the package manager.
    pub fallbacks: Vec<Fallback>,
    /// The packages that were left or took longest.
    pub slowest: Vec<PackageRecord>,
}

/// Bytes by source and time. What came of packages that were left to the package manager in the end is here too, and what had
/// come before the install began is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// How many seconds each number is for.
    pub seconds: u32,
    /// From the origin.
    pub origin: Vec<u64>,
    /// From hosts of the same site.
    pub near: Vec<u64>,
    /// From hosts of other sites.
    pub far: Vec<u64>,
    /// What was here.
    pub store: Vec<u64>,
}

/// One peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerRecord {
    /// Its address.
    pub address: String,
    /// What its program calls itself.
    pub client: String,
    /// It is in another site.
    pub is_far: bool,
    /// What it brought.
    pub bytes: u64,
    /// For how long it owed something, whether it brought any or not.
    pub owed: u64,
    /// How often it owed something for so long that others were asked.
    pub silences: u32,
    /// It sent wrong bytes.
    pub is_banned: bool,
    /// What it brought when, as in the timeline.
    pub timeline: Vec<u64>,
}

/// Peers that are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OtherPeers {
    /// How many.
    pub peers: u32,
    /// What they brought.
    pub bytes: u64,
}

/// A time in which nothing came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitRecord {
    /// From when.
    pub from: u64,
    /// Until when.
    pub to: u64,
    /// Why.
    pub why: Wait,
}

/// Why nothing comes, or no more than a little. What explains more stands further back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// All is here, and is being put into place.
    Placing,
    /// A service was asked where it is.
    Plan,
    /// A bundle's info dictionary is being read.
    Info,
    /// It is downloaded for another command.
    OtherInstall,
    /// Those that were asked bring nothing.
    Silence,
    /// Others fetch it first.
    FirstCopy,
    /// The mirror's lid is reached.
    Lid,
    /// A reason of a later version.
    #[default]
    #[serde(other)]
    Other,
}

impl Wait {
    /// Whether it is held back on purpose.
    #[must_use]
    pub fn is_on_purpose(self) -> bool {
        matches!(self, Self::FirstCopy | Self::Lid)
    }
}

/// A decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionRecord {
    /// When.
    pub at: u64,
    /// What, in words.
    pub what: String,
}

/// One package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageRecord {
    /// What to call it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When all of it was here, if it ever was.
    pub whole: Option<u64>,
    /// When it was in place, or left.
    pub over: u64,
    /// Where its bytes came from, if it is in place.
    pub bytes: Ledger,
    /// Why it was left to the package manager, if it was.
    pub left: Option<FallbackReason>,
}
