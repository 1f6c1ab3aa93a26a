//! aria2 with a torrent and its web seed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use pkgtorrent_test_support::process::installed;

use super::{Completion, Foreign, PEER_PORT, in_bundle};
use crate::client::Download;
use crate::origin::Origin;
use crate::wanted::Wanted;

/// What aria2 runs once it has everything: it says so itself only in a log that would cost it time to write.
const HOOK: &str = "#!/bin/sh\necho complete\n";

/// Starts a host's download, which goes on sharing.
pub(crate) fn start(origin: &Origin, wanted: &Wanted, directory: &Path) -> anyhow::Result<Box<dyn Download>> {
    let hook = directory.with_extension("hook");
    fs::write(&hook, HOOK).with_context(|| format!("writing {}", hook.display()))?;
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).context("a hook that can be run")?;
    let mut command = Command::new(installed("aria2c"));
    command
        .args(["--no-conf", "--file-allocation=none", "--summary-interval=0", "--console-log-level=error"])
        .args(["--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false"])
        .args(["--bt-enable-lpd=false", "--seed-ratio=0.0"])
        .arg(format!("--listen-port={PEER_PORT}"))
        .arg(format!("--dir={}", directory.display()))
        .arg(format!("--on-bt-download-complete={}", hook.display()))
        .arg(format!("--torrent-file={}", origin.torrent(wanted)?.display()));
    Ok(Foreign::start(&mut command, directory.to_owned(), Completion::Says("complete\n"), in_bundle))
}
