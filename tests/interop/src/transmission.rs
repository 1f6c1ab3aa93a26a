//! Transmission, as a daemon that its remote control commands.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::process::{self, Program, wait_for};
use tempfile::TempDir;

use crate::DOWNLOAD_LIMIT;

/// How long the daemon may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A running daemon.
#[derive(Debug)]
pub struct Transmission {
    daemon: Program,
    control_port: u16,
    // Dropped after the daemon, which writes there when it ends.
    _configuration: TempDir,
}

impl Transmission {
    /// Starts a daemon that talks to nobody of whom no tracker or web seed told it.
    #[must_use]
    pub fn start(log: &Path) -> Self {
        let configuration = tempfile::tempdir().expect("a directory for transmission");
        let control_port = process::free_port();
        let settings = format!(
            r#"{{
                "bind-address-ipv4": "127.0.0.1", "bind-address-ipv6": "::1", "peer-port": {},
                "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
                "port-forwarding-enabled": false, "rpc-enabled": true, "rpc-bind-address": "127.0.0.1",
                "rpc-port": {control_port}, "rpc-authentication-required": false, "rpc-whitelist-enabled": false
            }}"#,
            process::free_port()
        );
        fs::write(configuration.path().join("settings.json"), settings).expect("settings");
        let mut command = Command::new(process::installed("transmission-daemon"));
        command.args(["--foreground", "--log-debug", "--config-dir"]).arg(configuration.path());
        let daemon = Program::start(&mut command, log);
        let transmission = Self { daemon, control_port, _configuration: configuration };
        wait_for("answer from transmission-daemon", ANSWER_LIMIT, || {
            // The remote control exits 0 and says what is wrong when nobody answers.
            transmission.control(&["--session-info"]).contains("VERSION").then_some(())
        });
        transmission
    }

    /// Adds a torrent whose files are, or go to, below `directory`.
    pub fn add(&mut self, torrent: &Path, directory: &Path) {
        let torrent = torrent.to_str().expect("a path of UTF-8");
        let directory = directory.to_str().expect("a path of UTF-8");
        let answer = self.control(&["--add", torrent, "--download-dir", directory]);
        assert!(answer.contains("success"), "{answer}");
        assert!(self.daemon.ended().is_none(), "transmission-daemon runs");
    }

    /// Waits until the only torrent is complete.
    pub fn wait_complete(&self) {
        wait_for("complete download by transmission", DOWNLOAD_LIMIT, || {
            let information = self.control(&["--torrent", "1", "--info"]);
            let says = |text: &str| information.lines().any(|line| line.trim() == text);
            (says("Percent Done: 100%") && (says("State: Idle") || says("State: Seeding"))).then_some(())
        });
    }

    fn control(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(process::installed("transmission-remote"));
        command.arg(format!("127.0.0.1:{}", self.control_port)).args(arguments);
        let output = tempfile::NamedTempFile::new().expect("a file for an answer");
        let mut program = Program::start(&mut command, output.path());
        program.wait(ANSWER_LIMIT);
        program.output()
    }
}
