//! What a crowd is made of.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use pkgtorrent_protocol::control::Sources;
use pkgtorrent_protocol::socket::Traffic;

use crate::clients;
use crate::network::Station;
use crate::origin::Origin;
use crate::wanted::{Wanted, WantedPackage};

/// A program that downloads packages, and how the origin has them for it.
///
/// Equal for all: the packages, the lines, that every host starts with nothing, and that the clock of a host runs from
/// the start of its program until it has everything. The service has read the packages before and is everybody's tracker.
///
/// Not equal: ours starts two processes, checks every package's digest and places it, which is a second copy on disk,
/// while the others are done when the last piece is checked. libtorrent runs in a Python interpreter, whose start of a
/// tenth of a second and whose memory count. Padding is asked for by aria2 and librqbit. HTTP needs no hashing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Our agents.
    Pkgtorrent,
    /// curl with as many connections at once as package managers and our agents have, and nginx.
    Http,
    /// aria2 with the set's torrent and its web seed.
    Aria2,
    /// libtorrent, with a seed of its own kind at the origin.
    Libtorrent,
    /// The same with a seed that gives each piece out once (BEP 16).
    SuperSeeding,
    /// librqbit, with a seed of its own kind at the origin.
    Rqbit,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pkgtorrent, Self::Http, Self::Aria2, Self::Libtorrent, Self::SuperSeeding, Self::Rqbit];

    /// Starts a host's download into its own directory. To be called inside the host's namespace.
    pub(crate) fn start(
        self,
        host: &Station,
        origin: &Origin,
        wanted: &Wanted,
        directory: &Path,
    ) -> anyhow::Result<Box<dyn Download>> {
        match self {
            Self::Pkgtorrent => clients::pkgtorrent::start(host, origin, wanted),
            Self::Http => clients::http::start(origin, wanted, directory),
            Self::Aria2 => clients::aria2::start(origin, wanted, directory),
            Self::Libtorrent | Self::SuperSeeding => {
                clients::libtorrent::start(host, origin, wanted, directory)
            }
            Self::Rqbit => clients::rqbit::start(host, origin, wanted, directory),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pkgtorrent => "pkgtorrent",
            Self::Http => "nginx + parallel HTTP",
            Self::Aria2 => "aria2, torrent + web seed",
            Self::Libtorrent => "libtorrent, plain seed",
            Self::SuperSeeding => "libtorrent, super-seeding",
            Self::Rqbit => "librqbit, plain seed",
        })
    }
}

impl FromStr for Client {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "pkgtorrent" => Self::Pkgtorrent,
            "http" => Self::Http,
            "aria2" => Self::Aria2,
            "libtorrent" => Self::Libtorrent,
            "super-seeding" => Self::SuperSeeding,
            "rqbit" => Self::Rqbit,
            _ => bail!("there is no client {name:?}"),
        })
    }
}

/// One host's download. Dropping it ends its processes.
pub(crate) trait Download: Send {
    /// Whether everything is there. Fails when it never will be.
    fn is_complete(&mut self) -> anyhow::Result<bool>;

    /// The processes that work for it.
    fn pids(&mut self) -> Vec<u32>;

    /// Ends them as a power cut would.
    fn kill(&mut self);

    /// Fails unless the packages that are there now are the mirror's. Says what only it knows, if it does.
    fn check(self: Box<Self>, wanted: &Wanted) -> anyhow::Result<Option<Told>>;
}

/// What our own hosts say of a download.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Where the packages' bytes came from.
    pub from: Sources,
    /// What they said to other hosts and heard from them, beside blocks of packages.
    pub messages: Traffic,
}

impl Told {
    pub(crate) fn add(&mut self, other: &Self) {
        self.from.peers += other.from.peers;
        self.from.origin += other.from.origin;
        self.from.store += other.from.store;
        self.messages.sent += other.messages.sent;
        self.messages.received += other.messages.received;
    }
}

/// Where a client puts a package, below its directory.
pub(crate) type FileOf = fn(&WantedPackage) -> PathBuf;
