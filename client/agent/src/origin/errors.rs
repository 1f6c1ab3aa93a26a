//! What goes wrong between this host and the origin.

use std::io;
use std::path::PathBuf;

use pkgtorrent_protocol::metainfo::MetainfoError;
use pkgtorrent_protocol::{InfoHash, PackageDigest, SetDigest};

/// Settings with which nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The file with certificates cannot be read.
    #[error("ca_file {path:?}: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file has no certificates, or broken ones.
    #[error("ca_file {path:?}: {reason}")]
    NoCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy is none that can be used. Its URL is not repeated: there may be a password in it.
    #[error("proxy: {0}")]
    Proxy(String),
    /// The HTTP client cannot be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// Where something went wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct Trouble {
    /// What was asked for.
    pub url: String,
    /// What went wrong.
    pub reason: String,
}

/// Why a request brought nothing, or not all. The kind says what may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such thing there (404, 410). Another web seed may have it.
    #[error("{0}")]
    Missing(Trouble),
    /// Nobody can be talked to: no address, no connection, no trusted certificate.
    #[error("{0}")]
    Unreachable(Trouble),
    /// The answer is not one to this request, and asking again would bring the same.
    #[error("{0}")]
    Refused(Trouble),
    /// It went wrong on the way, and may go right another time.
    #[error("{0}")]
    Broken(Trouble),
}

/// Why a text is no service's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("service {text:?}: {reason}")]
pub struct ServiceUrlError {
    pub(super) text: String,
    pub(super) reason: String,
}

/// Why there is no plan, or none that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It could not be fetched.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What came is not a plan.
    #[error("{url}: not a plan: {reason}")]
    NotAPlan {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is in a form that came later.
    #[error("the plan has version {0}, which this program does not know")]
    Version(u32),
    /// It answers another question.
    #[error("the plan is for set {got}, asked for was {asked}")]
    OtherSet {
        /// The set that was asked for.
        asked: SetDigest,
        /// The set that the plan is for.
        got: SetDigest,
    },
    /// It names a package that the set does not have.
    #[error("the plan names package {index} of a set of {packages}")]
    NoSuchPackage {
        /// The index in the set.
        index: u32,
        /// How many packages the set has.
        packages: usize,
    },
    /// It calls a package unknown that nobody asked for.
    #[error("the plan calls {0} unknown, which was not asked for")]
    NotAsked(PackageDigest),
    /// It says two things about one package.
    #[error("the plan names {0} twice")]
    PackageTwice(PackageDigest),
    /// It says two things about one bundle.
    #[error("the plan names bundle {0} twice")]
    BundleTwice(InfoHash),
    /// It has a bundle of which nothing is to be taken.
    #[error("the plan wants nothing of bundle {0}")]
    EmptyBundle(InfoHash),
    /// A bundle's pieces have a length that none has.
    #[error(
        "bundle {info_hash} has pieces of {piece_len} bytes, which is none of the lengths that there are"
    )]
    PieceLen {
        /// The bundle.
        info_hash: InfoHash,
        /// The length of its pieces.
        piece_len: u32,
    },
    /// A bundle's info dictionary is too long, or empty.
    #[error("bundle {info_hash} has an info dictionary of {info_len} bytes")]
    InfoLen {
        /// The bundle.
        info_hash: InfoHash,
        /// The length of its info dictionary.
        info_len: u32,
    },
    /// A file has an index that none has.
    #[error("bundle {info_hash} has no file {file}")]
    NoSuchFile {
        /// The bundle.
        info_hash: InfoHash,
        /// The index in the info dictionary.
        file: u32,
    },
    /// It sends this host to where nobody allowed it to go.
    #[error("{what} {url:?}: {reason}")]
    Elsewhere {
        /// What the URL is for.
        what: &'static str,
        /// The URL.
        url: String,
        /// Why it is not used.
        reason: &'static str,
    },
    /// It has no web seed that may be used; what is wrong with those that it names.
    #[error("the plan names no web seed that may be used{}{}", if .0.is_empty() { "" } else { ": " }, .0.join(", "))]
    NoWebSeed(Vec<String>),
    /// A bundle's info dictionary is another one.
    #[error("{url}: its hash is not that of the bundle")]
    OtherInfo {
        /// What was asked for.
        url: String,
    },
    /// A bundle's info dictionary is none.
    #[error("{url}: {source}")]
    NotABundle {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        source: MetainfoError,
    },
    /// A bundle's info dictionary does not say what the plan says of it.
    #[error("{url}: its pieces are not as long as the plan says")]
    OtherPieceLen {
        /// What was asked for.
        url: String,
    },
}
