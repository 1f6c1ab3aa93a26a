//! The service as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::{self, Connection, Request};
use crate::process::{Program, built, wait_for};

/// How long the service may take until it listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// How long its first scan of a test's repositories may take.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How the service is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    root: PathBuf,
    state: PathBuf,
    listen: Vec<String>,
    config: Option<String>,
}

impl Launch {
    /// On a free port of 127.0.0.1, without a configuration file.
    #[must_use]
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { root: root.into(), state: state.into(), listen: Vec::new(), config: None }
    }

    /// On this address as well, instead of the usual one; `[::1]:0` takes a free port.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen.push(address.into());
        self
    }

    /// With this configuration file (TOML).
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// Starts the service and waits until its first scan is done.
    #[must_use]
    pub fn start(self) -> Service {
        let service = self.start_unready();
        service.wait_until_ready();
        service
    }

    /// Starts the service and waits only until it listens.
    #[must_use]
    pub fn start_unready(mut self) -> Service {
        if self.listen.is_empty() {
            self.listen.push("127.0.0.1:0".into());
        }
        let directory = tempfile::tempdir().expect("a directory for the service's log");
        if let Some(config) = &self.config {
            fs::write(directory.path().join("config.toml"), config).expect("a configuration is written");
        }
        let (program, addresses) = self.spawn(directory.path(), 1);
        Service { launch: self, directory, program, addresses, starts: 1 }
    }

    /// The command line, for tests of what is refused at the start.
    #[must_use]
    pub fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(built("pkgtorrent-service"));
        command.arg("--root").arg(&self.root).arg("--state").arg(&self.state);
        for address in &self.listen {
            command.args(["--listen", address]);
        }
        if self.config.is_some() {
            command.arg("--config").arg(directory.join("config.toml"));
        }
        command
    }

    fn spawn(&self, directory: &Path, start: u32) -> (Program, Vec<SocketAddr>) {
        let stdout = directory.join(format!("stdout-{start}"));
        let mut command = self.command(directory);
        let mut program = Program::start_with_stdout(&mut command, &directory.join("log"), &stdout);
        let addresses = wait_for("`listening on` from pkgtorrent-service", LISTEN_LIMIT, || {
            assert!(program.ended().is_none(), "pkgtorrent-service ended at its start");
            let text = fs::read_to_string(&stdout).unwrap_or_default();
            let addresses: Vec<SocketAddr> = text.lines().filter_map(listening_on).collect();
            (addresses.len() == self.listen.len() && text.ends_with('\n')).then_some(addresses)
        });
        (program, addresses)
    }
}

fn listening_on(line: &str) -> Option<SocketAddr> {
    address(line.strip_prefix("listening on http://")?.strip_suffix('/')?)
}

fn watched_at(line: &str) -> Option<SocketAddr> {
    address(line.strip_prefix("watched at http://")?.strip_suffix("/pkgtorrent/")?)
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}")))
}

/// The running service. Dropping it ends it; a failing test shows its log.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    // Before the directory, so that a failing test can still show the log in it.
    program: Program,
    directory: TempDir,
    addresses: Vec<SocketAddr>,
    starts: u32,
}

impl Service {
    /// The service for the repositories below `root`, in the usual way.
    #[must_use]
    pub fn start(root: &Path, state: &Path) -> Self {
        Launch::new(root, state).start()
    }

    /// The first address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses on which it listens, in the order of the command line.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first address of those who watch over it.
    ///
    /// # Panics
    /// If its configuration names none.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        let said = fs::read_to_string(self.directory.path().join(format!("stdout-{}", self.starts)));
        let said = said.expect("the service's output");
        said.lines().find_map(watched_at).expect("`watched at` in the service's output")
    }

    /// The URL of `path`, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it has logged so far, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.output()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.program.ended().is_none()
    }

    /// Waits until `/healthz` says that the first scan is done.
    pub fn wait_until_ready(&self) {
        wait_for("200 from /healthz", READY_LIMIT, || {
            let response = Connection::open(self.addr()).and_then(|mut c| c.send(&Request::get("/healthz")));
            response.is_ok_and(|response| response.status == 200).then_some(())
        });
    }

    /// The sum of a metric over all its labels; zero while it is not there.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(self.addr(), "/metrics").expect_status(200).text();
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']))
            .map(|rest| {
                let value = rest.rsplit(' ').next().unwrap_or_default();
                value.parse::<f64>().unwrap_or_else(|e| panic!("{name}{rest}: {e}"))
            })
            .sum()
    }

    /// Ends it as a crash would. [`Self::restart`] brings it back.
    pub fn kill9(&mut self) {
        self.program.kill9();
    }

    /// Asks it to end. Returns whether it did within the usual grace, without force.
    pub fn stop(&mut self) -> bool {
        self.program.end()
    }

    /// Starts it again with the same state, configuration and addresses, ports too. What is still running is asked
    /// to end first.
    pub fn restart(&mut self) {
        self.restart_unready();
        self.wait_until_ready();
    }

    /// As [`Self::restart`], but waits only until it listens.
    pub fn restart_unready(&mut self) {
        self.program.end();
        self.starts += 1;
        self.launch.listen = self.addresses.iter().map(ToString::to_string).collect();
        (self.program, self.addresses) = self.launch.spawn(self.directory.path(), self.starts);
    }

    /// Replaces the configuration file; the next start reads it.
    pub fn set_config(&mut self, toml: &str) {
        fs::write(self.directory.path().join("config.toml"), toml).expect("a configuration is written");
        self.launch.config = Some(toml.into());
    }
}
