//! What the API says, as types: its document is made from them. Bytes are bytes and times are seconds since 1970, unless a
//! name says otherwise.

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::{self, PackageSpread};

/// Everything at a glance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Overview {
    /// How the service itself is.
    pub(crate) service: Health,
    /// All live swarms in numbers.
    pub(crate) swarms: SwarmTotals,
    /// What hosts have told; none where no accounts are kept.
    pub(crate) fleet: Option<accounts::Overview>,
}

/// All live swarms in numbers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SwarmTotals {
    /// Swarms with peers.
    pub(crate) live: usize,
    /// Peers that have everything, one for each swarm that they are in.
    pub(crate) complete: u64,
    /// Peers that do not yet.
    pub(crate) incomplete: u64,
}

/// How the service itself is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Health {
    /// The program's version.
    pub(crate) version: &'static str,
    /// For how many seconds it has been running.
    pub(crate) uptime: u64,
    /// Whether the first scan of the root is done.
    pub(crate) ready: bool,
    /// The directory that it serves.
    pub(crate) root: String,
    /// Packages that are listed and have a file.
    pub(crate) packages: usize,
    /// Their bytes.
    pub(crate) package_bytes: u64,
    /// Packages that are listed and have no file of that size.
    pub(crate) missing: usize,
    /// Files that are not what is listed, and are not shared.
    pub(crate) damaged: usize,
    /// Files that are being read or wait for it.
    pub(crate) readings: usize,
    /// Bundles that are known.
    pub(crate) bundles: usize,
    /// How many repositories there are.
    pub(crate) repositories_total: usize,
    /// The first of them.
    pub(crate) repositories: Vec<Repository>,
}

/// A repository below the root.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Repository {
    /// Its directory below the root, with a slash before it; none for packages outside of any repository.
    pub(crate) directory: Option<String>,
    /// How many packages it lists.
    pub(crate) packages: usize,
}

/// A list of live swarms.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Swarms {
    /// How many are live.
    pub(crate) live: usize,
    /// How many of them are what was searched for.
    pub(crate) matching: usize,
    /// How many of those stand before the first one here.
    pub(crate) offset: usize,
    /// Those that were asked for.
    pub(crate) swarms: Vec<Swarm>,
}

/// The hosts that share one bundle.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Swarm {
    /// The bundle's name on the wire.
    #[schema(example = "0123456789abcdef0123456789abcdef01234567")]
    pub(crate) info_hash: String,
    /// The file name of its largest package.
    pub(crate) largest: String,
    /// How many packages it has.
    pub(crate) packages: usize,
    /// The bytes of all of them.
    pub(crate) bytes: u64,
    /// How many pieces it has.
    pub(crate) pieces: u32,
    /// Peers that have everything.
    pub(crate) complete: u32,
    /// Peers that do not yet.
    pub(crate) incomplete: u32,
    /// How many have become complete since the service started.
    pub(crate) completed: u64,
    /// How many pieces have left the mirror, as far as hosts have said.
    pub(crate) first_copies: u32,
    /// How many pieces one host each is fetching from the mirror now.
    pub(crate) leased: u32,
}

/// A bundle, seen closely.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Bundle {
    /// The same as in a list.
    pub(crate) swarm: Swarm,
    /// The bytes of a piece.
    pub(crate) piece_len: u32,
    /// Whether packages live in it; else it is a whole set, made for a client of another make.
    pub(crate) is_home: bool,
    /// Its peers, the site with the most of them first.
    pub(crate) sites: Vec<SitePeers>,
    /// All pieces in their order, neighbours taken together so that there are at most 1024 cells.
    pub(crate) cells: Vec<Cell>,
    /// How many packages stand before the first one here.
    pub(crate) offset: usize,
    /// Its packages that were asked for, in the order of their digests.
    pub(crate) packages: Vec<BundledPackage>,
}

/// The peers of a swarm that are in one site.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SitePeers {
    /// The site's name; none for hosts that are in no site.
    pub(crate) site: Option<String>,
    /// Peers that have everything.
    pub(crate) complete: u32,
    /// Peers that do not yet.
    pub(crate) incomplete: u32,
}

/// Some neighbouring pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Cell {
    /// The first of them.
    pub(crate) first: u32,
    /// How many they are.
    pub(crate) pieces: u32,
    /// How many of them no host has.
    pub(crate) absent: u32,
    /// How many of these one host is fetching now.
    pub(crate) leased: u32,
    /// How many hosts have the rarest of them, at least.
    pub(crate) hosts: u32,
}

/// A package in a bundle.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BundledPackage {
    /// Its SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    /// Its file name.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its first piece.
    pub(crate) first_piece: u32,
    /// How many pieces it has.
    pub(crate) pieces: u32,
}

/// A list of packages that lie below the root.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Packages {
    /// How many there are.
    pub(crate) total: usize,
    /// How many of them are what was searched for.
    pub(crate) matching: usize,
    /// How many of those stand before the first one here.
    pub(crate) offset: usize,
    /// Those that were asked for, in the order of their paths.
    pub(crate) packages: Vec<ListedPackage>,
}

/// A package that a repository lists.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ListedPackage {
    /// The digest by which it is listed, with its algorithm.
    #[schema(example = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    pub(crate) digest: String,
    /// Its path below the root, with a slash before it.
    pub(crate) path: String,
    /// Its size.
    pub(crate) bytes: u64,
}

/// One package.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Package {
    /// The digest that was asked for, with its algorithm.
    pub(crate) digest: String,
    /// Its SHA-256, in hexadecimal; none if it is listed by another digest and nobody has read it yet.
    pub(crate) sha256: Option<String>,
    /// Its file name.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Where it lies below the root, the first of many places; nothing if it is gone from there.
    pub(crate) paths: Vec<String>,
    /// The swarm in which it is shared, if anybody has asked for it.
    pub(crate) home: Option<Swarm>,
    /// How it spread, if it was installed lately.
    pub(crate) spread: Option<PackageSpread>,
}

/// Why there is no other answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// What is wrong, and where.
    pub(crate) error: String,
}
