//! libtorrent, through its Python module and a small script.

use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::{self, Program, wait_for};

use crate::DOWNLOAD_LIMIT;

/// Distributions build the module for the system's own python3; another may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("libtorrent_client.py");

/// Starts a client that downloads into `directory`, or checks what is there, and then seeds until it is ended.
#[must_use]
pub fn start(torrent: &Path, directory: &Path) -> Program {
    let module = Command::new(PYTHON).args(["-c", "import libtorrent"]).status();
    assert!(
        module.is_ok_and(|status| status.success()),
        "libtorrent's Python module is not installed: run `scripts/install-deps test`"
    );
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT]).arg(torrent).arg(directory).arg(process::free_port().to_string());
    Program::start(&mut command, &directory.with_extension("log"))
}

/// Waits until the client has everything and has let go of its files.
pub fn wait_complete(client: &mut Program) {
    wait_for("complete download by libtorrent", DOWNLOAD_LIMIT, || {
        assert!(client.ended().is_none(), "libtorrent's script ended: {}", client.output());
        client.output().lines().any(|line| line == "complete").then_some(())
    });
}

/// Downloads into `directory`.
pub fn download(torrent: &Path, directory: &Path) {
    let mut client = start(torrent, directory);
    wait_complete(&mut client);
    assert!(client.end(), "libtorrent ends when asked to");
}
