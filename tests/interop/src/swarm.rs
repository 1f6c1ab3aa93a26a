//! Swarms of foreign clients and our agents in which nobody gets a byte from the web seed but the agents that a test
//! lets.

use std::time::Duration;

use pkgtorrent_test_support::agent::{Fetching, assert_placed};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Agent, Server, ask};

use crate::foreign::{Foreign, Sharing};
use crate::mirror::{Home, Mirror};
use crate::on_disk::{Padding, lay_out};

/// How long a client may take to check its files and announce itself.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(30);

/// Agents listen where foreign clients do, and say in a failing test's log what was said.
const CONFIGURATION: &str = "listen = \"127.0.0.1:0\"\n";

/// A mirror, its home bundles, and a way to the service that has no web seed.
pub struct Swarm {
    // Clients end before the service, and before their directories go.
    peers_only: Server,
    homes: Vec<Home>,
    mirror: Mirror,
}

impl Default for Swarm {
    fn default() -> Self {
        Self::new()
    }
}

impl Swarm {
    /// Starts the service. Nobody shares anything yet.
    #[must_use]
    pub fn new() -> Self {
        let mirror = Mirror::start();
        let homes = mirror.homes();
        let service = mirror.service.addr();
        // The service is not even asked, so that what it has given out stays as it is.
        let peers_only = Server::start(move |request| match Part::of(request) {
            Part::Package => Answer::new(503, "no web seed today\n"),
            _ => proxy::pass_on(service, request),
        });
        Self { peers_only, homes, mirror }
    }

    /// An agent gets everything from the web seed, and shares it.
    #[must_use]
    pub fn seed(&self) -> Agent {
        let seed = self.agent();
        let _ = self.start_fetch(&seed, &self.mirror.service.url("/")).wait().all_placed();
        self.wait_for_peers("a complete peer", |(complete, _)| complete > 0);
        seed
    }

    /// A host that shares nothing yet.
    #[must_use]
    pub fn agent(&self) -> Agent {
        Agent::with_config(CONFIGURATION)
    }

    /// This agent begins to fetch everything; the web seed refuses it.
    #[must_use]
    pub fn start_from_peers(&self, agent: &Agent) -> Fetching {
        self.start_fetch(agent, &self.peers_only.url("/"))
    }

    fn start_fetch(&self, agent: &Agent, service: &str) -> Fetching {
        let mut command = agent.command(&["fetch", "--service", service]);
        command.env("RUST_LOG", "debug");
        agent.start(command, &agent.wants(&self.mirror.packages))
    }

    /// Waits until this agent has everything, and panics unless it is right and came from peers.
    pub fn expect_from_peers(&self, agent: &Agent, fetching: Fetching) {
        let bytes = fetching.wait().all_placed().bytes();
        assert_eq!((bytes.peers, bytes.origin), (self.mirror.package_bytes(), 0));
        for (package, want) in self.mirror.packages.iter().zip(agent.wants(&self.mirror.packages)) {
            assert_placed(package, &want.dest);
        }
    }

    /// This client shares every home bundle, with nothing to begin with.
    #[must_use]
    pub fn foreign(&self, client: Foreign) -> Vec<Sharing> {
        self.homes.iter().map(|home| client.share(home, self.mirror.path())).collect()
    }

    /// This client has every home bundle, as if it had downloaded it, and shares it.
    #[must_use]
    pub fn foreign_seed(&self, client: Foreign) -> Vec<Sharing> {
        for home in &self.homes {
            lay_out(&client.directory(home, self.mirror.path()), &home.bundle, &home.packages);
        }
        let sharing = self.foreign(client);
        self.wait_for_peers("a complete peer", |(complete, _)| complete > 0);
        sharing
    }

    /// Waits until a client has every home bundle, and panics unless they are right.
    pub fn expect_complete(&self, client: &mut [Sharing]) {
        for (sharing, home) in client.iter_mut().zip(&self.homes) {
            sharing.expect_all_of(home);
        }
    }

    /// Waits until the tracker knows so many peers of each home bundle.
    pub fn wait_for_members(&self, count: usize) {
        let count = u32::try_from(count).expect("a few");
        self.wait_for_peers("peers", |(complete, incomplete)| complete + incomplete >= count);
    }

    fn wait_for_peers(&self, what: &str, is_enough: impl Fn((u32, u32)) -> bool) {
        for home in &self.homes {
            wait_for(&format!("{what} of {}", home.info_hash), ANNOUNCE_LIMIT, || {
                is_enough(ask::scrape(self.mirror.service.addr(), home.info_hash)).then_some(())
            });
        }
    }

    /// How many bytes of packages the service has given out.
    #[must_use]
    pub fn served_bytes(&self) -> f64 {
        self.mirror.served_bytes()
    }

    /// The length of all home bundles, with their padding if it is asked for.
    #[must_use]
    pub fn len_with(&self, padding: Padding) -> u64 {
        match padding {
            Padding::Written => self.homes.iter().map(|home| home.bundle.layout().total_len()).sum(),
            Padding::LeftOut => self.mirror.package_bytes(),
        }
    }
}

/// How many bytes these agents have given to others.
#[must_use]
pub fn sent_by(agents: &[&Agent]) -> u64 {
    agents.iter().map(|agent| agent.status().expect("it shares").sent).sum()
}

/// A foreign client downloads all home bundles from our agents, from nobody else.
pub fn gives_to(client: Foreign) {
    let swarm = Swarm::new();
    let seed = swarm.seed();
    let served = swarm.served_bytes();
    let mut foreign = swarm.foreign(client);
    swarm.wait_for_members(2);
    // Who is complete calls nobody, and one of the clients neither: this agent does.
    let second = swarm.agent();
    swarm.expect_from_peers(&second, swarm.start_from_peers(&second));
    swarm.expect_complete(&mut foreign);
    assert_eq!(swarm.served_bytes(), served, "the web seed gave nothing");
    let sent = sent_by(&[&seed, &second]);
    let expected = swarm.len_with(client.padding());
    assert!(sent >= expected, "{sent} of {expected} bytes were sent by agents");
}

/// Our agent downloads everything from a foreign client.
pub fn takes_from(client: Foreign) {
    let swarm = Swarm::new();
    let served = swarm.served_bytes();
    let _seed = swarm.foreign_seed(client);
    let agent = swarm.agent();
    swarm.expect_from_peers(&agent, swarm.start_from_peers(&agent));
    assert_eq!(swarm.served_bytes(), served, "the web seed gave nothing");
}

/// One agent has everything, two others and these clients have nothing: all of them get it from each other.
pub fn all_get_it(clients: &[Foreign]) {
    let swarm = Swarm::new();
    let _seed = swarm.seed();
    let served = swarm.served_bytes();
    let mut foreign: Vec<Vec<Sharing>> = clients.iter().map(|client| swarm.foreign(*client)).collect();
    swarm.wait_for_members(1 + clients.len());
    let agents = [swarm.agent(), swarm.agent()];
    let fetching: Vec<Fetching> = agents.iter().map(|agent| swarm.start_from_peers(agent)).collect();
    for (agent, fetching) in agents.iter().zip(fetching) {
        swarm.expect_from_peers(agent, fetching);
    }
    for client in &mut foreign {
        swarm.expect_complete(client);
    }
    assert_eq!(swarm.served_bytes(), served, "the web seed gave nothing");
}
