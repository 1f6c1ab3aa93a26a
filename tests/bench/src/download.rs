//! One download by the real dnf or dnf5, on a host that has nothing yet: by itself, or through an agent.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use pkgtorrent_test_support::process::{Program, built, wait_for};
use pkgtorrent_test_support::{Host, Manager};

use crate::data::rpms::Rpms;

/// The plugin that measures within dnf: its start and its reading of metadata are the same on both sides, and not ours.
const TIMER: &str = include_str!("download_timer.py");

/// How long an agent may take until it listens.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// How a host gets its packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// dnf's own download; the shim is not there.
    Dnf,
    /// Through the shim, with an agent that runs already.
    RunningAgent,
    /// Through the shim, which has to start an agent.
    NewAgent,
}

/// A fresh host, ready for one download.
#[derive(Debug)]
pub(crate) struct Downloader<'a> {
    // Before the host, whose directory it works in.
    agent: Option<Program>,
    host: Host,
    manager: Manager,
    by: By,
    rpms: &'a Rpms,
}

impl<'a> Downloader<'a> {
    /// A host that has these packages' repository at `server`, which is also the service.
    pub(crate) fn new(manager: Manager, rpms: &'a Rpms, server: &str, by: By) -> anyhow::Result<Self> {
        let host = Host::of(manager).repository("bench", &format!("http://{server}{}", rpms.url_path()));
        if manager == Manager::Dnf4 {
            let output = host.path("download-seconds");
            host.write("plugins/download_timer.py", TIMER);
            host.write(
                "etc/plugins/download_timer.conf",
                &format!("[main]\nenabled = 1\noutput = {}\n", output.display()),
            );
        }
        let host = match by {
            By::Dnf => host,
            By::RunningAgent | By::NewAgent => host.agent(&format!("http://{server}/")),
        };
        let mut downloader = Self { agent: None, host, manager, by, rpms };
        if by == By::RunningAgent {
            downloader.start_agent()?;
        }
        Ok(downloader)
    }

    /// Ends its agent, so that the next host has the machine for itself.
    pub(crate) fn rest(mut self) -> Host {
        self.agent = None;
        self.host
    }

    fn start_agent(&mut self) -> anyhow::Result<()> {
        let state = self.host.path("agent");
        fs::create_dir_all(&state).with_context(|| format!("creating {}", state.display()))?;
        let mut command = Command::new(built("pkgtorrent"));
        command.arg("--state-dir").arg(&state).arg("agent");
        self.agent = Some(Program::start(&mut command, &self.host.path("agent-output")));
        let socket = state.join("agent.sock");
        wait_for("agent that listens", AGENT_LIMIT, || UnixStream::connect(&socket).ok());
        Ok(())
    }

    /// The process id of the agent that this host was given.
    pub(crate) fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Program::pid)
    }

    /// Downloads all of the packages. Gives the time from the call of dnf's download function to its return; of dnf5, by how
    /// much longer it takes than when all packages are there.
    ///
    /// The host stays as it is until it is dropped, which is better not done before all hosts have been measured: some
    /// file systems are slow to make new files just after others were removed.
    pub(crate) fn download(&self) -> anyhow::Result<Duration> {
        let mut arguments = vec!["install", "--downloadonly"];
        arguments.extend(self.rpms.names().iter().map(String::as_str));
        let outcome = self.host.dnf(&arguments).succeeded();
        self.check(&outcome.output)?;
        if self.manager == Manager::Dnf5 {
            let again = self.host.dnf(&arguments).succeeded();
            return Ok(outcome.duration.saturating_sub(again.duration));
        }
        let path = self.host.path("download-seconds");
        let seconds = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let seconds = seconds.trim().parse().with_context(|| format!("{seconds:?} is no time"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// All bytes must be there, and must have come in the way that is measured: dnf does what a shim fails to do.
    fn check(&self, output: &str) -> anyhow::Result<()> {
        let (mut packages, mut bytes) = (0, 0);
        for entry in fs::read_dir(self.host.package_cache("bench")).context("dnf's cache")? {
            packages += 1;
            bytes += entry?.metadata()?.len();
        }
        ensure!(
            (packages, bytes) == (self.rpms.names().len(), self.rpms.bytes()),
            "dnf has {packages} packages with {bytes} bytes:\n{output}"
        );
        if self.by != By::Dnf {
            let all = format!("pkgtorrent: {packages} of {packages} packages");
            ensure!(output.contains(&all), "dnf downloaded by itself:\n{output}");
        }
        Ok(())
    }
}
