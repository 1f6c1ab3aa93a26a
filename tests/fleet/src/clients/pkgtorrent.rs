//! Our own agents.

use std::fs;

use anyhow::{Context, bail, ensure};
use pkgtorrent_protocol::control::FetchEvent;
use pkgtorrent_test_support::Agent;
use pkgtorrent_test_support::agent::Fetching;

use crate::client::{Download, Told};
use crate::network::Station;
use crate::origin::Origin;
use crate::wanted::{Wanted, WantedPackage};

/// The port on which agents listen for each other.
const PORT: u16 = 7071;

/// Where a host's package manager wants its packages.
const CACHE: &str = "cache";

/// A host whose `fetch` starts an agent, which stays to share.
struct AgentDownload {
    // Before the agent, in whose directory it is.
    fetching: Fetching,
    agent: Agent,
}

/// Starts a host's download.
pub(crate) fn start(host: &Station, origin: &Origin, wanted: &Wanted) -> anyhow::Result<Box<dyn Download>> {
    let agent = Agent::new();
    let cache = agent.path(CACHE);
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let (service, listen) = (format!("http://{}", origin.address()), format!("{}:{PORT}", host.address()));
    let command = agent.command(&["fetch", "--service", &service, "--listen", &listen]);
    let fetching = agent.start(command, &wanted.request(&cache));
    Ok(Box::new(AgentDownload { fetching, agent }))
}

impl AgentDownload {
    /// The agent's process. The state directory is this host's alone, so the file is believed.
    fn agent_pid(&self) -> Option<u32> {
        fs::read_to_string(self.agent.state_dir().join("agent.pid")).ok()?.trim().parse().ok()
    }
}

impl Download for AgentDownload {
    fn is_complete(&mut self) -> anyhow::Result<bool> {
        match self.fetching.program().ended() {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                let events = self.fetching.events();
                let failed = events.iter().find(|event| matches!(event, FetchEvent::Failed { .. }));
                bail!("fetch ended with {status}, first {failed:?}: {}", self.agent.log());
            }
        }
    }

    fn pids(&mut self) -> Vec<u32> {
        self.agent_pid().into_iter().chain([self.fetching.program().pid()]).collect()
    }

    fn kill(&mut self) {
        self.agent.kill9();
        self.fetching.program().kill9();
    }

    fn check(self: Box<Self>, wanted: &Wanted) -> anyhow::Result<Option<Told>> {
        let fetched = self.fetching.wait();
        let Some(FetchEvent::Done { placed, bytes, .. }) = fetched.events.last() else {
            bail!("fetch gave no sum: {fetched:?}");
        };
        ensure!(*placed == wanted.packages().len(), "{placed} packages are placed");
        let file_of = |package: &WantedPackage| package.file_name.clone().into();
        wanted.check(&self.agent.path(CACHE), file_of)?;
        let status = self.agent.status().context("the agent has ended")?;
        Ok(Some(Told { from: *bytes, messages: status.messages }))
    }
}
