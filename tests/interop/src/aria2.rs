//! aria2.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pkgtorrent_test_support::process::{self, Program, wait_for};

use crate::DOWNLOAD_LIMIT;

/// What aria2 runs once it has everything: in its own words that is hard to tell from other news.
const HOOK: &str = "#!/bin/sh\necho aria2 is complete\n";

const COMPLETE: &str = "aria2 is complete";

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

/// Starts a client that checks what is in `directory`, downloads the rest, and shares until dropped.
#[must_use]
pub fn start(torrent: &Path, directory: &Path) -> Program {
    let hook = directory.with_extension("hook");
    fs::write(&hook, HOOK).expect("a hook");
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).expect("a hook that can be run");
    let mut command = command(torrent, directory);
    // Transmission takes no loopback address from a tracker, so it is aria2 that must hear of a peer and call it.
    command.args(["--check-integrity=true", "--seed-ratio=0.0", "--bt-tracker-interval=1"]);
    command.arg(format!("--on-bt-download-complete={}", hook.display()));
    Program::start(&mut command, &directory.with_extension("log"))
}

/// Waits until the client has everything.
pub fn wait_complete(client: &mut Program) {
    wait_for("complete download by aria2", DOWNLOAD_LIMIT, || {
        assert!(client.ended().is_none(), "aria2 ended: {}", client.output());
        client.output().lines().any(|line| line == COMPLETE).then_some(())
    });
}
