//! librqbit, through a program that is built beside the workspace.

use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::{self, Program, wait_for};

use crate::DOWNLOAD_LIMIT;

/// Starts a client that checks what is in `directory`, downloads the rest, and shares until dropped.
#[must_use]
pub fn start(torrent: &Path, directory: &Path) -> Program {
    let mut command = Command::new(process::built("pkgtorrent-rqbit"));
    command.arg(torrent).arg(directory).arg(format!("127.0.0.1:{}", process::free_port()));
    Program::start(&mut command, &directory.with_extension("log"))
}

/// Waits until the client has everything.
pub fn wait_complete(client: &mut Program) {
    wait_for("complete download by librqbit", DOWNLOAD_LIMIT, || {
        assert!(client.ended().is_none(), "librqbit's program ended: {}", client.output());
        client.output().lines().any(|line| line == "complete").then_some(())
    });
}
