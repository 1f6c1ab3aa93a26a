//! aria2 with a torrent and its web seed.

use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::installed;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::origin::Origin;

/// Starts a host's download, which goes on sharing.
pub(crate) fn start(origin: &Origin, directory: &Path) -> anyhow::Result<Box<dyn Download>> {
    let mut command = Command::new(installed("aria2c"));
    command
        .args(["--no-conf", "--file-allocation=none", "--summary-interval=0", "--console-log-level=notice"])
        .args(["--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false"])
        .args(["--bt-enable-lpd=false", "--seed-ratio=0.0"])
        .arg(format!("--listen-port={PEER_PORT}"))
        .arg(format!("--dir={}", directory.display()))
        .arg(format!("--torrent-file={}", origin.torrent()?.display()));
    let completion = Completion::Says("Download complete");
    Ok(Foreign::start(&mut command, directory.to_owned(), completion, in_bundle))
}
