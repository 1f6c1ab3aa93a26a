//! What runs at the origin.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pkgtorrent_protocol::SetDigest;
use pkgtorrent_protocol::metainfo::Metainfo;
use pkgtorrent_test_support::process::{Program, wait_for};
use pkgtorrent_test_support::{Launch, Service, ask};

use crate::client::Client;
use crate::clients::{PEER_PORT, libtorrent, rqbit};
use crate::lines::Rate;
use crate::network::{FAR_NETWORK, NEAR_NETWORK, Station};
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
    WEB_SEED_METRIC,
    "pkgtorrent_mirror_bytes_total",
];

const WEB_SEED_METRIC: &str = "pkgtorrent_webseed_bytes_total";

/// The origin's programs, ready for a crowd. Dropping it ends them.
pub(crate) struct Origin {
    address: SocketAddr,
    /// Each set's torrent.
    torrents: Vec<(SetDigest, PathBuf)>,
    seeds: Vec<Program>,
    service: Option<Service>,
    nginx: Option<Nginx>,
}

impl Origin {
    /// Starts what the hosts' client needs, with its files in `directory`. To be called inside the origin's namespace.
    ///
    /// Where hosts want different sets, the service has not read the packages: a set of all of them would give them the
    /// same home. Clients of torrents have one for each set. Where there are two sites, the service is told so.
    pub(crate) fn start(
        client: Client,
        station: &Station,
        sites: bool,
        wanted: &Wanted,
        sets: &[Wanted],
        directory: &Path,
        lid: Option<Rate>,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((station.address(), PORT));
        let (torrents, seeds) = (Vec::new(), Vec::new());
        let mut origin = Self { address, torrents, seeds, service: None, nginx: None };
        if client == Client::Http {
            origin.nginx = Some(Nginx::start(wanted.root(), address)?);
            return Ok(origin);
        }
        let mut launch = Launch::new(wanted.root(), &directory.join("state")).listen(&address.to_string());
        let mut config = String::new();
        if sites {
            let sites = format!(r#"sites = {{ near = ["{NEAR_NETWORK}"], far = ["{FAR_NETWORK}"] }}"#);
            config.push_str(&format!("{sites}\norigin_site = \"near\"\n"));
        }
        if let Some(lid) = lid {
            let mbit = 8.0 * lid.bytes_per_second() / 1e6;
            config.push_str(&format!("origin.max_rate = \"{mbit} Mbit/s\"\n"));
        }
        if !config.is_empty() {
            launch = launch.config(&config);
        }
        origin.service = Some(launch.start());
        // As in a fleet where somebody has had these packages: the service has read them.
        let read = if sets.is_empty() { std::slice::from_ref(wanted) } else { sets };
        for set in read.iter().filter(|_| sets.is_empty() || client != Client::Pkgtorrent) {
            let digest = set.set()?;
            if origin.torrents.iter().any(|(known, _)| *known == digest) {
                continue;
            }
            let plan = ask::post_set(address, &set.digests());
            anyhow::ensure!(plan.unknown.is_empty(), "{} packages are unknown", plan.unknown.len());
            if client != Client::Pkgtorrent {
                let bytes = ask::set_torrent(address, plan.set);
                let directory = directory.join(digest.to_string());
                fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
                let torrent = origin.share(client, station.address(), set, &directory, &bytes)?;
                origin.torrents.push((digest, torrent));
            }
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
    ) -> anyhow::Result<PathBuf> {
        let path = directory.join("set.torrent");
        let (mut metainfo, bundle) = Metainfo::parse(torrent).context("the set's torrent")?;
        if client != Client::Aria2 {
            metainfo.web_seeds.clear();
        }
        fs::write(&path, metainfo.encode().context("a torrent")?).context("writing a torrent")?;
        let files = directory.join("seed");
        // No more sets than hosts, of which there are some dozens.
        let seed_address = SocketAddrV4::new(seed_address, PEER_PORT + self.seeds.len() as u16);
        let mut command = match client {
            Client::Libtorrent => libtorrent::command(&path, &files, seed_address),
            Client::SuperSeeding => {
                let mut command = libtorrent::command(&path, &files, seed_address);
                command.arg("super-seeding");
                command
            }
            Client::Rqbit => rqbit::command(&path, &files, seed_address),
            Client::Pkgtorrent | Client::Http | Client::Aria2 => return Ok(path),
        };
        wanted.lay_out(&files, &bundle)?;
        let mut seed = Program::start(&mut command, &files.with_extension("log"));
        wait_for("seed in the swarm", SEED_LIMIT, || {
            assert!(seed.ended().is_none(), "the seed ended: {}", seed.output());
            (ask::scrape(self.address, metainfo.info_hash()) == (1, 0)).then_some(())
        });
        self.seeds.push(seed);
        Ok(path)
    }

    /// Where it is asked for packages, as a URL has it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A set's torrent.
    pub(crate) fn torrent(&self, wanted: &Wanted) -> anyhow::Result<&Path> {
        let set = wanted.set()?;
        let torrent = self.torrents.iter().find(|(of, _)| *of == set);
        Ok(&torrent.context("this origin has no torrent of the set")?.1)
    }

    /// What the service has sent to its clients. To be called inside the origin's namespace.
    pub(crate) fn application_bytes(&self) -> Option<u64> {
        let service = self.service.as_ref()?;
        Some(SENT_METRICS.iter().map(|metric| service.metric(metric)).sum::<f64>() as u64)
    }

    /// What the service's web seed has sent. To be called inside the origin's namespace.
    pub(crate) fn web_seed_bytes(&self) -> Option<u64> {
        Some(self.service.as_ref()?.metric(WEB_SEED_METRIC) as u64)
    }

    /// The processor time that its programs have used.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let service = self.service.as_ref().map(Service::pid);
        let nginx = self.nginx.as_ref().map(Nginx::pid);
        let seeds = self.seeds.iter().map(Program::pid);
        service.into_iter().chain(nginx).chain(seeds).map(usage::cpu_seconds).sum()
    }
}
