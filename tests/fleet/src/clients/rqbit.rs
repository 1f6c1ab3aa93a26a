//! librqbit, through a program that is built beside the workspace.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::built;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::network::Station;
use crate::origin::Origin;
use crate::wanted::Wanted;

/// The client with its arguments.
pub(crate) fn command(torrent: &Path, directory: &Path, address: SocketAddrV4) -> Command {
    let mut command = Command::new(built("pkgtorrent-rqbit"));
    command.arg(torrent).arg(directory).arg(address.to_string());
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
