//! Two of our agents. The test takes the packages from the receiving one itself, as a command would, so that nothing is
//! placed while it is measured.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use pkgtorrent_agent::control::client::Connection;
use pkgtorrent_protocol::control::Sources;
use pkgtorrent_protocol::socket::{Answer, Request, Want};
use pkgtorrent_test_support::Service;
use pkgtorrent_test_support::process::{Program, built, wait_for};
use tempfile::TempDir;

use super::Exchange;
use crate::bench::Bench;
use crate::data::packages::Package;

/// How long an agent may take until it listens.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// The least share that comes from the other agent: more from the mirror would be the mirror's figure.
const SHARE_MIN: f64 = 0.99;

/// A seed and its service.
pub(crate) struct Seeded<'a> {
    bench: &'a Bench,
    service: &'a Service,
    packages: &'a [Package],
    seed: Agent,
}

impl<'a> Seeded<'a> {
    /// Has an agent fetch the packages from the service, which it then gives to others.
    pub(crate) fn start(
        bench: &'a Bench,
        service: &'a Service,
        packages: &'a [Package],
    ) -> anyhow::Result<Self> {
        let seed = Agent::start(bench)?;
        seed.fetch(service, packages)?;
        Ok(Self { bench, service, packages, seed })
    }

    /// Has a new agent fetch them from the seed.
    ///
    /// The clock runs from the request to the last package's being whole: the plan, the info dictionary, the first
    /// connection, the hash of each piece and the digest of each package are in it.
    pub(crate) fn exchange(&self) -> anyhow::Result<Exchange> {
        let receiver = Agent::start(self.bench)?;
        let mut from = Sources::default();
        let exchange =
            Exchange::watch(self.packages, self.seed.program.pid(), receiver.program.pid(), || {
                from = receiver.fetch(self.service, self.packages)?;
                Ok(())
            })?;
        receiver.stop()?;
        let share = from.peers as f64 / (from.peers + from.origin) as f64;
        ensure!(share >= SHARE_MIN, "only {:.1} % came from the seed", share * 100.0);
        Ok(exchange)
    }
}

/// An agent that has nothing yet.
struct Agent {
    program: Program,
    state: PathBuf,
    _directory: TempDir,
}

impl Agent {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let directory = bench.fresh_state()?;
        let state = directory.path().join("state");
        let mut command = Command::new(built("pkgtorrent"));
        // A second one finds the port busy and takes another.
        command.arg("--state-dir").arg(&state).args(["agent", "--listen", "127.0.0.1:7071"]);
        let program = Program::start(&mut command, &directory.path().join("output"));
        let socket = state.join("agent.sock");
        wait_for("agent that listens", AGENT_LIMIT, || UnixStream::connect(&socket).ok());
        Ok(Self { program, state, _directory: directory })
    }

    /// Has it fetch these packages and says where they came from.
    fn fetch(&self, service: &Service, packages: &[Package]) -> anyhow::Result<Sources> {
        let mut connection = Connection::connect(&self.state).context("connecting to an agent")?;
        let wants = packages.iter().map(|package| Want {
            digest: package.package_digest(),
            size: package.size,
            service: 0,
            name: package.file_name().to_owned(),
        });
        let services = vec![service.url("/pkgtorrent/v1/")];
        connection.send(&Request::Fetch { services, wants: wants.collect(), needs: Vec::new() })?;
        let mut sum = Sources::default();
        loop {
            match connection.next()?.0 {
                Answer::Whole { index, from } => {
                    sum.peers += from.peers;
                    sum.origin += from.origin;
                    connection.send(&Request::Taken { index, failed: None })?;
                }
                Answer::Failed { reason, .. } => bail!("an agent could not fetch a package: {reason}"),
                Answer::End => return Ok(sum),
                _ => {}
            }
        }
    }

    /// Ends it in good order, so that nobody is sent to it any more.
    fn stop(&self) -> anyhow::Result<()> {
        Connection::connect(&self.state)?.stop().context("stopping an agent")
    }
}
