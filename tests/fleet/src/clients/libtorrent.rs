//! libtorrent, through its Python module and a small script.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::network::Station;
use crate::origin::Origin;
use crate::wanted::Wanted;

/// Distributions build the module for the system's own python3; another may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("libtorrent_client.py");

/// The client with its arguments: it says `ready` when it begins, and `complete` when everything is on disk.
#[must_use]
pub fn command(torrent: &Path, directory: &Path, address: SocketAddrV4) -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT]).arg(torrent).arg(directory).arg(address.to_string());
    command
}

/// Starts a host's download, which goes on sharing.
pub(crate) fn start(
    host: &Station,
    origin: &Origin,
    wanted: &Wanted,
    directory: &Path,
) -> anyhow::Result<Box<dyn Download>> {
    let address = SocketAddrV4::new(host.address(), PEER_PORT);
    let mut command = command(origin.torrent(wanted)?, directory, address);
    Ok(Foreign::start(&mut command, directory.to_owned(), Completion::Says("complete\n"), in_bundle))
}
