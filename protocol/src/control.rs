//! What passes between a package manager's shim and `pkgtorrent fetch`: one request, then one event a line.

use serde::{Deserialize, Serialize};

use crate::digest::PackageDigest;

/// The version of the forms in this module.
pub const VERSION: u32 = 1;

/// The longest request that is read: a large set with long URLs and destinations.
pub const FETCH_REQUEST_LEN_MAX: usize = 64 << 20;

/// What a shim writes to the standard input of `fetch`. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// [`VERSION`].
    pub version: u32,
    /// The whole transaction's packages. Events name them by their index in this list.
    pub packages: Vec<FetchPackage>,
    /// Space that the manager will need beside the packages' own, so that a store never takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Reserve>,
}

/// Space that the package manager will need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// A path on the file system in question: where the packages will be installed.
    pub path: String,
    /// How much of it.
    pub bytes: u64,
}

/// One package that the manager is about to download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPackage {
    /// What to call it in messages.
    pub name: String,
    /// Where the manager would fetch it. It only says which service to ask.
    pub url: String,
    /// Its digest from the repository's metadata.
    pub digest: PackageDigest,
    /// Its size in bytes.
    pub size: u64,
    /// Where the manager will look for it.
    pub dest: String,
}

/// Where bytes came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Bytes from other hosts.
    pub peers: u64,
    /// Bytes from the service's web seeds.
    pub origin: u64,
    /// Bytes that this host had already.
    pub store: u64,
}

/// Where a package would come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlannedSource {
    /// It is in place.
    Destination,
    /// This host's store has it.
    Store,
    /// Hosts share it in a bundle, which the origin has too.
    Bundle,
    /// The service does not have it: it is left to the package manager.
    Unknown,
}

impl PlannedSource {
    /// Whether the package would be placed.
    #[must_use]
    pub fn is_known(self) -> bool {
        self != Self::Unknown
    }

    fn name(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Store => "store",
            Self::Bundle => "bundle",
            Self::Unknown => "unknown",
        }
    }
}

/// What `fetch` writes to its standard output, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum FetchEvent {
    /// This many bytes of a package are here.
    Progress {
        /// The package.
        index: usize,
        /// Bytes so far.
        done: u64,
    },
    /// A package is held back on purpose: the shim's clock starts anew.
    Waiting {
        /// The package.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A package is in place.
    Placed {
        /// The package.
        index: usize,
        /// Where its bytes came from.
        from: Sources,
    },
    /// A package is left to the manager.
    Failed {
        /// The package.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Where a package would come from, says `fetch --dry-run`.
    Planned {
        /// The package.
        index: usize,
        /// Where from.
        from: PlannedSource,
        /// Hosts that have all of its bundle.
        complete: u32,
        /// Hosts that have some of it.
        partial: u32,
    },
    /// The last event.
    Done {
        /// How many packages are in place.
        placed: usize,
        /// How many are left to the manager.
        failed: usize,
        /// Where all bytes came from.
        bytes: Sources,
    },
}

impl FetchEvent {
    /// The event as one line for a shim that has no JSON parser: its name and its fields in the order in which they are
    /// declared, between tabs. A reason has no tab and no line break in it.
    #[must_use]
    pub fn to_line(&self) -> String {
        let plain = |reason: &str| reason.replace(|sign: char| sign.is_control(), " ");
        let sources = |Sources { peers, origin, store }: &Sources| format!("{peers}\t{origin}\t{store}");
        match self {
            Self::Progress { index, done } => format!("progress\t{index}\t{done}"),
            Self::Waiting { index, reason } => format!("waiting\t{index}\t{}", plain(reason)),
            Self::Placed { index, from } => format!("placed\t{index}\t{}", sources(from)),
            Self::Failed { index, reason } => format!("failed\t{index}\t{}", plain(reason)),
            Self::Planned { index, from, complete, partial } => {
                format!("planned\t{index}\t{}\t{complete}\t{partial}", from.name())
            }
            Self::Done { placed, failed, bytes } => format!("done\t{placed}\t{failed}\t{}", sources(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_contract_says() {
        let from = Sources { peers: 1, origin: 2, store: 3 };
        for (event, text) in [
            (FetchEvent::Progress { index: 0, done: 7 }, r#"{"event":"progress","index":0,"done":7}"#),
            (
                FetchEvent::Waiting { index: 1, reason: "a lease".into() },
                r#"{"event":"waiting","index":1,"reason":"a lease"}"#,
            ),
            (
                FetchEvent::Placed { index: 2, from },
                r#"{"event":"placed","index":2,"from":{"peers":1,"origin":2,"store":3}}"#,
            ),
            (
                FetchEvent::Failed { index: 3, reason: "gone".into() },
                r#"{"event":"failed","index":3,"reason":"gone"}"#,
            ),
            (
                FetchEvent::Planned { index: 4, from: PlannedSource::Bundle, complete: 5, partial: 6 },
                r#"{"event":"planned","index":4,"from":"bundle","complete":5,"partial":6}"#,
            ),
            (
                FetchEvent::Done { placed: 4, failed: 5, bytes: from },
                r#"{"event":"done","placed":4,"failed":5,"bytes":{"peers":1,"origin":2,"store":3}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).expect("encodes"), text);
            assert_eq!(serde_json::from_str::<FetchEvent>(text).expect("parses"), event);
        }
    }

    #[test]
    fn events_as_lines_have_their_fields_between_tabs() {
        let from = Sources { peers: 1, origin: 2, store: 3 };
        for (event, line) in [
            (FetchEvent::Progress { index: 0, done: 7 }, "progress\t0\t7"),
            (FetchEvent::Waiting { index: 1, reason: "a lease".into() }, "waiting\t1\ta lease"),
            (FetchEvent::Placed { index: 2, from }, "placed\t2\t1\t2\t3"),
            (FetchEvent::Failed { index: 3, reason: "a\tb\r\nc\u{1b}".into() }, "failed\t3\ta b  c "),
            (
                FetchEvent::Planned { index: 4, from: PlannedSource::Store, complete: 5, partial: 6 },
                "planned\t4\tstore\t5\t6",
            ),
            (FetchEvent::Done { placed: 4, failed: 5, bytes: from }, "done\t4\t5\t1\t2\t3"),
        ] {
            assert_eq!(event.to_line(), line);
        }
    }

    #[test]
    fn a_request_is_read_whatever_else_it_says() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            r#"{{"version":1,"later":true,"packages":[{{"name":"a","url":"http://x/a.rpm","digest":"{digest}","size":5,"dest":"/a","arch":"noarch"}}]}}"#
        );
        let request: FetchRequest = serde_json::from_str(&text).expect("parses");
        assert_eq!(request.packages[0].size, 5);
    }
}
