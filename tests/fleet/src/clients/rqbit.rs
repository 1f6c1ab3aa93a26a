//! librqbit, through a program that is built beside the workspace.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::built;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::network::Station;
use crate::origin::Origin;

/// The client with its arguments.
pub(crate) fn command(torrent: &Path, directory: &Path, address: Ipv4Addr) -> Command {
    let mut command = Command::new(built("pkgtorrent-rqbit"));
    command.arg(torrent).arg(directory).arg(format!("{address}:{PEER_PORT}"));
    command
}

/// Starts a host's download, which goes on sharing.
pub(crate) fn start(host: &Station, origin: &Origin, directory: &Path) -> anyhow::Result<Box<dyn Download>> {
    let mut command = command(origin.torrent()?, directory, host.address());
    Ok(Foreign::start(&mut command, directory.to_owned(), Completion::Says("complete\n"), in_bundle))
}
