//! What runs at the origin.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pkgtorrent_protocol::metainfo::Metainfo;
use pkgtorrent_test_support::process::{Program, wait_for};
use pkgtorrent_test_support::{Launch, Service, ask};

use crate::client::Client;
use crate::clients::{libtorrent, rqbit};
use crate::network::Station;
use crate::nginx::Nginx;
use crate::usage;
use crate::wanted::Wanted;

/// Where nginx or the service listens: nothing else has the origin's address.
const PORT: u16 = 80;

/// How long a seed may take to check its files and announce itself.
const SEED_LIMIT: Duration = Duration::from_secs(60);

/// What the service counts that it sends to agents: plans, info dictionaries, answers to announces, and packages.
const SENT_METRICS: [&str; 5] = [
    "pkgtorrent_plan_bytes_total",
    "pkgtorrent_info_bytes_total",
    "pkgtorrent_announce_bytes_total",
    "pkgtorrent_webseed_bytes_total",
    "pkgtorrent_mirror_bytes_total",
];

/// The origin's programs, ready for a crowd. Dropping it ends them.
pub(crate) struct Origin {
    address: SocketAddr,
    torrent: Option<PathBuf>,
    seed: Option<Program>,
    service: Option<Service>,
    nginx: Option<Nginx>,
}

impl Origin {
    /// Starts what the hosts' client needs, with its files in `directory`. To be called inside the origin's namespace.
    pub(crate) fn start(
        client: Client,
        station: &Station,
        wanted: &Wanted,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((station.address(), PORT));
        let mut origin = Self { address, torrent: None, seed: None, service: None, nginx: None };
        if client == Client::Http {
            origin.nginx = Some(Nginx::start(wanted.root(), address)?);
            return Ok(origin);
        }
        let launch = Launch::new(wanted.root(), &directory.join("state")).listen(&address.to_string());
        origin.service = Some(launch.start());
        // As in a fleet where somebody has had these packages: the service has read them.
        let plan = ask::post_set(address, &wanted.digests());
        anyhow::ensure!(plan.unknown.is_empty(), "{} packages are unknown", plan.unknown.len());
        if client != Client::Pkgtorrent {
            let bytes = ask::set_torrent(address, plan.set);
            origin.share(client, station.address(), wanted, directory, &bytes)?;
        }
        Ok(origin)
    }

    /// Writes the torrent down and starts a seed, for clients that do not take the service's web seed.
    fn share(
        &mut self,
        client: Client,
        seed_address: Ipv4Addr,
        wanted: &Wanted,
        directory: &Path,
        torrent: &[u8],
    ) -> anyhow::Result<()> {
        let path = directory.join("set.torrent");
        let (mut metainfo, bundle) = Metainfo::parse(torrent).context("the set's torrent")?;
        if client != Client::Aria2 {
            metainfo.web_seeds.clear();
        }
        fs::write(&path, metainfo.encode().context("a torrent")?).context("writing a torrent")?;
        let files = directory.join("seed");
        let mut command = match client {
            Client::Libtorrent => libtorrent::command(&path, &files, seed_address),
            Client::SuperSeeding => {
                let mut command = libtorrent::command(&path, &files, seed_address);
                command.arg("super-seeding");
                command
            }
            Client::Rqbit => rqbit::command(&path, &files, seed_address),
            Client::Pkgtorrent | Client::Http | Client::Aria2 => {
                self.torrent = Some(path);
                return Ok(());
            }
        };
        wanted.lay_out(&files, &bundle)?;
        let mut seed = Program::start(&mut command, &files.with_extension("log"));
        wait_for("seed in the swarm", SEED_LIMIT, || {
            assert!(seed.ended().is_none(), "the seed ended: {}", seed.output());
            (ask::scrape(self.address, metainfo.info_hash()) == (1, 0)).then_some(())
        });
        (self.seed, self.torrent) = (Some(seed), Some(path));
        Ok(())
    }

    /// Where it is asked for packages, as a URL has it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The set's torrent.
    pub(crate) fn torrent(&self) -> anyhow::Result<&Path> {
        self.torrent.as_deref().context("this origin has no torrent")
    }

    /// What the service has sent to its clients. To be called inside the origin's namespace.
    pub(crate) fn application_bytes(&self) -> Option<u64> {
        let service = self.service.as_ref()?;
        Some(SENT_METRICS.iter().map(|metric| service.metric(metric)).sum::<f64>() as u64)
    }

    /// The processor time that its programs have used.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let service = self.service.as_ref().map(Service::pid);
        let nginx = self.nginx.as_ref().map(Nginx::pid);
        let seed = self.seed.as_ref().map(Program::pid);
        [service, nginx, seed].into_iter().flatten().map(usage::cpu_seconds).sum()
    }
}
