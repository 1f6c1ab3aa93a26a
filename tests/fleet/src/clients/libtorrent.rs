//! libtorrent, through its Python module and a small script.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::network::Station;
use crate::origin::Origin;

/// Distributions build the module for the system's own python3; another may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("libtorrent_client.py");

/// The client with its arguments: it says `ready` when it begins, and `complete` when everything is on disk.
#[must_use]
pub fn command(torrent: &Path, directory: &Path, address: Ipv4Addr) -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT]).arg(torrent).arg(directory).arg(format!("{address}:{PEER_PORT}"));
    command
}

/// Starts a host's download, which goes on sharing.
pub(crate) fn start(host: &Station, origin: &Origin, directory: &Path) -> anyhow::Result<Box<dyn Download>> {
    let mut command = command(origin.torrent()?, directory, host.address());
    Ok(Foreign::start(&mut command, directory.to_owned(), Completion::Says("complete\n"), in_bundle))
}
