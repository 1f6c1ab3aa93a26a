//! aria2.

use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::{self, Program};

use crate::DOWNLOAD_LIMIT;

fn command(torrent: &Path, directory: &Path) -> Command {
    let mut command = Command::new(process::installed("aria2c"));
    command
        .args(["--no-conf", "--interface=127.0.0.1", "--file-allocation=none", "--allow-overwrite=true"])
        .args(["--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false"])
        .args(["--bt-enable-lpd=false", "--summary-interval=0", "--console-log-level=info"])
        .arg(format!("--listen-port={}", process::free_port()))
        .arg(format!("--dir={}", directory.display()))
        .arg(format!("--torrent-file={}", torrent.display()));
    command
}

/// Downloads into `directory`.
pub fn download(torrent: &Path, directory: &Path) {
    let mut command = command(torrent, directory);
    command.arg("--seed-time=0");
    Program::start(&mut command, &directory.with_extension("log")).succeed(DOWNLOAD_LIMIT);
}

/// Checks what is in `directory` and seeds it until dropped.
#[must_use]
pub fn seed(torrent: &Path, directory: &Path) -> Program {
    let mut command = command(torrent, directory);
    // Transmission takes no loopback address from a tracker, so it is aria2 that must hear of a peer and call it.
    command.args(["--check-integrity=true", "--seed-ratio=0.0", "--bt-tracker-interval=1"]);
    Program::start(&mut command, &directory.with_extension("log"))
}
